"""A private PostgreSQL server for tests, where the machine has one installed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from likepion_provider.cli.local import free_port


def server_binaries() -> Path | None:
    """Where ``initdb`` is; None where PostgreSQL's server is not installed."""
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in candidates if (each / "initdb").exists()), None)


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server.

    :param url: its SQLAlchemy URL, with ``{database}`` to be filled in.
    :param restart: stops it, which ends every connection, and starts it again at the same port.
    """

    url: str
    restart: Callable[[], None]


@contextlib.contextmanager
def postgres(binaries: Path) -> Iterator[str]:
    """A server on 127.0.0.1 with an empty cluster, removed at the end.

    :return: its SQLAlchemy URL, with ``{database}`` to be filled in.
    """
    with postgres_server(binaries) as server:
        yield server.url


@contextlib.contextmanager
def postgres_server(binaries: Path) -> Iterator[Server]:
    """:func:`postgres`, with a handle on the server."""
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
        control = ("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options)
        run(*control, "start")
        try:
            url = f"postgresql+psycopg://likepion@127.0.0.1:{port}/{{database}}"
            yield Server(url, lambda: run(*control, "-m", "fast", "restart"))
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
