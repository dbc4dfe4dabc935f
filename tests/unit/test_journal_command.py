"""``likepion journal``: which manager a command is about, and what is said of all of them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from likepion_provider.cli import main
from likepion_provider.cli.group import _only_dag
from likepion_provider.errors import BadRequest
from likepion_provider.journal import Journal, open_journal
from likepion_provider.models import PostAccount, SecondaryTask
from tests import MANAGER

STAGING = "https://staging.example"
AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'journal.db'}"


@pytest.fixture
def command(url: str, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``likepion journal`` on a journal: its status and what it said."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["journal", "--url", url, *arguments])
        return status, *capsys.readouterr()

    return run


def fill(url: str, manager: str, links: int) -> Journal:
    """A manager with one account, whose id is every manager's."""
    journal = open_journal(url, manager)
    key = PostAccount("post", "account")
    journal.managers.begin_run(f"dag-of-{links}", AT)
    journal.submissions.note([SecondaryTask(key.account_id, key.request_id, "group", "tide.example")], "run", AT)
    journal.links.prepare(key, [(str(number), f"{manager}/{number}") for number in range(links)], AT)
    return journal


def test_the_only_manager_need_not_be_named(url: str, command: Command) -> None:
    fill(url, MANAGER, 3)
    status, said, _ = command("list")
    assert (status, said.splitlines()[-1]) == (0, "3 links")


def test_with_several_nothing_is_guessed(url: str, command: Command) -> None:
    fill(url, MANAGER, 3)
    fill(url, STAGING, 2)
    status, said, complaint = command("list")
    assert (status, said) == (1, "")
    assert f"the journal knows {MANAGER}, {STAGING}" in complaint
    assert "--conn-id" in complaint
    assert command("--manager", f"{STAGING}/", "list")[1].splitlines()[-1] == "2 links"
    assert f"{STAGING}/0" in command("--manager", STAGING, "show", "account")[1]
    assert MANAGER not in command("--manager", STAGING, "show", "account")[1]


@pytest.mark.parametrize("named", [("--manager", "https://nowhere.example"), ("--conn-id", "elsewhere")])
def test_a_manager_that_the_journal_does_not_know_is_no_empty_list(
    url: str, command: Command, named: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {"conn_type": "likepion", "host": "https://nowhere.example"}
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", json.dumps(elsewhere))
    fill(url, MANAGER, 3)
    status, _, complaint = command(*named, "list")
    assert status == 1
    assert f"knows no manager https://nowhere.example; it knows {MANAGER}" in complaint
    assert command("managers")[1].endswith("1 manager\n")


def test_a_connection_names_its_manager(url: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SECOND", json.dumps({"conn_type": "likepion", "host": "Staging.example"}))
    fill(url, MANAGER, 3)
    fill(url, STAGING, 2)
    assert command("--conn-id", "second", "list")[1].splitlines()[-1] == "2 links"
    status, _, complaint = command("--conn-id", "no_such", "list")
    assert (status, "there is no Airflow connection 'no_such'" in complaint) == (1, True)


def test_managers_are_told_with_what_they_have(url: str, command: Command) -> None:
    fill(url, MANAGER, 3)
    fill(url, STAGING, 2)
    assert command("managers")[1].splitlines() == [
        f"{MANAGER}  1 account, 3 links, last used 2026-01-01 00:00:00Z  dag-of-3",
        f"{STAGING}  1 account, 2 links, last used 2026-01-01 00:00:00Z  dag-of-2",
        "2 managers",
    ]


def test_a_manager_is_renamed_once(url: str, command: Command) -> None:
    fill(url, MANAGER, 3)
    assert command("rename-manager", MANAGER, STAGING)[0] == 0
    assert command("--manager", STAGING, "list")[1].splitlines()[-1] == "3 links"
    status, _, complaint = command("rename-manager", MANAGER, STAGING)
    assert (status, f"It knows {STAGING}" in complaint) == (1, True)
    fill(url, MANAGER, 1)
    status, _, complaint = command("rename-manager", STAGING, MANAGER)
    assert (status, "has accounts of" in complaint) == (1, True)


def test_an_account_and_a_group_are_named_by_what_a_person_has(url: str, command: Command) -> None:
    journal = fill(url, MANAGER, 3)
    for name in ("anh", "bao"):
        key = PostAccount("post", str(uuid.uuid4()))
        task = SecondaryTask(key.account_id, "post", f"eb1167b3-{name}", "tide.example", username=name)
        journal.submissions.note([task], "run", AT)
        journal.links.prepare(key, [("guid", f"https://tide.example/{name}")], AT)
    assert [line.split()[2] for line in command("list", "--group", "eb1167b3-a")[1].splitlines()[:-1]] == [
        "https://tide.example/anh"
    ]
    assert "/bao" in command("list", "--account", "bao@")[1]
    assert f"  account {key.account_id}  " in command("show", key.account_id[:8])[1]
    for ask in (("list", "--group", "eb1167b3"), ("list", "--account", "nobody"), ("show", str(uuid.uuid4()))):
        status, said, complaint = command(*ask)
        assert (status, said) == (1, ""), ask
        assert re.search(
            "fits several groups of the journal: eb1167b3-anh .*eb1167b3-bao|anh@tide.example|has never seen account",
            complaint,
        )
    status, said, complaint = command("list", "--group", str(uuid.uuid4()))
    assert (status, said, "has never seen group" in complaint) == (1, "", True)


def test_the_journal_that_is_read_is_named_beside_the_answer(url: str, command: Command) -> None:
    fill(url, MANAGER, 1)
    _, said, beside = command("list", "--json")
    assert beside == f"journal: {url.removeprefix('sqlite:///')}\n"
    (link,) = json.loads(said)
    assert (link["key"]["account_id"], link["state"], link["url"]) == ("account", "prepared", f"{MANAGER}/0")
    (known,) = json.loads(command("managers", "--json")[1])
    assert (known["address"], known["accounts"], known["links"]) == (MANAGER, 1, 1)
    assert all(each["ok"] for each in json.loads(command("check", "--json")[1]))


@pytest.mark.parametrize(
    "wrong", [["list", "--limit", "0"], ["list", "--limit=-5"], ["settle", "--is-there", "--", "-1"]]
)
def test_a_number_out_of_bounds_is_refused(
    url: str, command: Command, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(*wrong)
    assert "is not a whole number, from 1" in capsys.readouterr().err


def test_a_journal_is_made_by_no_command_that_reads_it(url: str, command: Command) -> None:
    for asked in (["list"], ["managers"], ["show", "account"], ["settling"], ["check"]):
        status, said, complaint = command(*asked)
        assert (status, said, "there is no journal" in complaint) == (1, "", True), asked
    assert not Path(url.removeprefix("sqlite:///")).exists()


def test_the_dag_of_a_backfill_is_clear_or_asked_for() -> None:
    assert _only_dag(()) == _only_dag(("other", "likepion_podcast_secondary")) == "likepion_podcast_secondary"
    assert _only_dag(("staging",)) == "staging"
    with pytest.raises(BadRequest, match="one, two work for this manager"):
        _only_dag(("one", "two"))
