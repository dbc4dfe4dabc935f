"""Make what the services of a deployment tell each other in confidence, once; what is there already stays.

``python make_secrets.py FOLDER [GROUP]``: a folder for each circle of readers, a file a secret, ``connections.json``
for Airflow's local filesystem backend.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

#: The group of the users ``postgres`` and ``redis`` in their official images.
SERVERS_GROUP = 999
#: Who makes them reads them, as all of Airflow does; PostgreSQL and Redis read theirs as members of that group.
_OWNERS, _GROUPS = 0o400, 0o440


def make(folder: Path, group: int = SERVERS_GROUP) -> None:
    """Write what is missing.

    :param folder: exists; each of its folders is mounted by those services only that need it.
    :param group: of PostgreSQL's and Redis's files; one that the caller is in.
    """
    for name in ("postgres", "redis"):
        _write(folder / name / "password", secrets.token_urlsafe(32), _GROUPS, group)
    for name in ("airflow/api", "servers/jwt", "admin/password"):
        _write(folder / name, secrets.token_urlsafe(32))
    _write(folder / "airflow/fernet", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    server = f"likepion:{(folder / 'postgres/password').read_text()}@postgres:5432"
    _write(folder / "airflow/metadata_url", f"postgresql+psycopg2://{server}/airflow")
    _write(folder / "airflow/results_url", f"db+postgresql+psycopg2://{server}/airflow")
    _write(folder / "airflow/broker_url", f"redis://:{(folder / 'redis/password').read_text()}@redis:6379/0")
    _write(folder / "airflow/connections.json", json.dumps({"likepion_journal": f"postgres://{server}/journal"}))


def _write(path: Path, text: str, mode: int = _OWNERS, group: int = -1) -> None:
    """Write a file that nobody else could read at any time, whole or not at all."""
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        os.fchown(file.fileno(), -1, group)
        os.fchmod(file.fileno(), mode)
    partial.rename(path)


if __name__ == "__main__":
    make(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
