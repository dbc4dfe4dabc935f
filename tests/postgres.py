"""A private PostgreSQL server for tests, where the machine has one installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from likepion_provider.cli.local import free_port


def server_binaries() -> Path | None:
    """Where ``initdb`` is; None where PostgreSQL's server is not installed."""
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in candidates if (each / "initdb").exists()), None)


@contextlib.contextmanager
def postgres(binaries: Path) -> Iterator[str]:
    """A server on 127.0.0.1 with an empty cluster, removed at the end.

    :return: its SQLAlchemy URL, with ``{database}`` to be filled in.
    """
    # The server refuses to run as root; Debian's package brings a user for it.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="likepion-postgres-") as name:
        folder, port = Path(name), free_port()
        if as_user:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)

        def run(program: str, *arguments: str) -> None:
            command = [*as_user, str(binaries / program), *arguments]
            subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120)

        data = str(folder / "data")
        run("initdb", "-D", data, "-U", "likepion", "--auth=trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://likepion@127.0.0.1:{port}/{{database}}"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
