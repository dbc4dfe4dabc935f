"""Make what the services of a deployment tell each other in confidence, once; what is there already stays.

``python make_secrets.py FOLDER``: a file a secret, and ``connections.json`` for Airflow's local filesystem backend.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
from pathlib import Path

NAMES = ("postgres", "redis", "jwt", "api", "admin")


def make(folder: Path) -> None:
    """Write what is missing.

    :param folder: exists; nobody but the services mounts it.
    """
    for name in NAMES:
        _write(folder / name, secrets.token_urlsafe(32))
    _write(folder / "fernet", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    server = f"likepion:{(folder / 'postgres').read_text()}@postgres:5432"
    _write(folder / "metadata_url", f"postgresql+psycopg2://{server}/airflow")
    _write(folder / "results_url", f"db+postgresql+psycopg2://{server}/airflow")
    _write(folder / "broker_url", f"redis://:{(folder / 'redis').read_text()}@redis:6379/0")
    _write(folder / "connections.json", json.dumps({"likepion_journal": f"postgres://{server}/journal"}))


def _write(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text)
        # PostgreSQL and Redis read theirs under users of their own.
        path.chmod(0o444)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
