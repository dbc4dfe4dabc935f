"""``likepion`` from a shell, beside a real Airflow: what it finds there, what it leaves alone, what it prints where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from likepion_provider.cli.local import airflow_environment

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Airflow with a connection in its database, and a setting that it warns about."""
    home = tmp_path_factory.mktemp("commands")
    run = _shell(home)
    assert run("airflow", "db", "migrate").returncode == 0
    extra = json.dumps({"platform": "podfetch", "domain": "my-site.example"})
    connection = ("likepion_platform_my_site_example", "--conn-type", "http", "--conn-host", "http://127.0.0.1:9")
    assert run("airflow", "connections", "add", *connection, "--conn-extra", extra).returncode == 0
    return home


@pytest.fixture
def shell(home: Path) -> Shell:
    return _shell(home)


def _shell(home: Path) -> Shell:
    environment = airflow_environment(home, home, 9)
    # An option that has moved: each process warns of it, more than once.
    environment["AIRFLOW__CORE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home}/airflow.db"

    def run(*command: str, **fields: str) -> subprocess.CompletedProcess[str]:
        path = Path(sys.executable).parent / command[0]
        said = {f"LIKEPION_TRY_{name.upper()}": value for name, value in fields.items()}
        return subprocess.run(
            [path, *command[1:]], env=os.environ | environment | said, capture_output=True, text=True, timeout=120
        )

    return run


def test_a_connection_in_airflows_database_is_found_and_answers_stand_alone(shell: Shell) -> None:
    found = shell("likepion", "platforms", "check", "my-site.example")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[:2] == [
        "my-site.example is served by podfetch (PodFetch)",
        "  address      http://127.0.0.1:9",
    ]
    assert "sql_alchemy_conn" in found.stderr, "Airflow warns, where it is in nobody's way"
    (row,) = json.loads(shell("likepion", "platforms", "check", "--json", "my-site.example").stdout)
    assert (row["name"], row["address"], row["login"]) == ("podfetch", "http://127.0.0.1:9", None)
    assert len(json.loads(shell("likepion", "platforms", "list", "--json").stdout)) > 10


def test_a_login_that_nobody_answers_is_not_said_to_be_tried_again(shell: Shell) -> None:
    found = shell("likepion", "platforms", "check", "--login", "my-site.example", username="a", password="canary-pw")
    assert found.returncode == 1
    assert "no answer from http://127.0.0.1:9" in found.stdout
    assert "Look whether the network and the address are right, and run it again." in found.stdout
    assert "by itself" not in found.stdout
    assert "canary" not in found.stdout + found.stderr


@pytest.mark.parametrize(
    "command", [("journal", "list"), ("journal", "managers"), ("journal", "check"), ("group", "backfill", "abcd")]
)
def test_a_command_that_reads_makes_no_journal(shell: Shell, home: Path, command: tuple[str, ...]) -> None:
    found = shell("likepion", *command)
    assert (found.returncode, found.stdout) == (1, "")
    assert f"there is no journal {home}/likepion_journal.db. Name it by --url" in found.stderr
    assert not (home / "likepion_journal.db").exists()
