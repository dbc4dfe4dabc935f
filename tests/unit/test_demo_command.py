"""``likepion demo``, without its servers: what a person reads, a slow answer, an impatient Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from likepion_provider.cli import demo, main
from likepion_provider.cli.local import AirflowApi

#: Waits as the demo does, and cleans up for a while.
IMPATIENT = """
import contextlib, signal, time
from likepion_provider.cli import demo

@contextlib.contextmanager
def servers():
    try:
        yield
    finally:
        print("cleaning up", flush=True)
        time.sleep(1)
        print("clean", flush=True)

for number in demo._ENDING:
    signal.signal(number, demo._interrupt)
with contextlib.suppress(KeyboardInterrupt), servers():
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_port_that_is_none_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--port", "99999"])
    assert "'99999' is not a whole number, from 0 to 65535" in capsys.readouterr().err


def test_an_answer_that_is_late_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    answers = iter(["running", httpx.ReadTimeout("30 s"), "success"])

    class Airflow:
        def state(self, _: str) -> str:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        def task_states(self, _: str) -> Counter[str]:
            return Counter(["success", "success"])

    assert demo._follow(Airflow(), "run") == "success"  # type: ignore[arg-type]
    assert capsys.readouterr().out == "Tasks     2 success\n"


class Manager:
    """A sandbox's door, with two accounts that are well and the three that were made for trouble."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.rows = {"accounts": {"a1": 22, "a2": 5, "a5": 3}, "duplicates": []}
        self.client = httpx.Client(base_url="http://manager", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path} {request.content.decode()}".strip())
        groups = {"a1": "well", "a2": "well", "a3": "rough", "a4": "rough", "a5": "rough"}
        accounts = [
            {"account_id": key, "group_id": group, "username": f"pod{key}", "domain": "tide.example"}
            for key, group in groups.items()
        ]
        posts = [
            {"request_id": "p1", "group_id": "well", "status": "running"},
            {"request_id": "p2", "group_id": "rough", "status": "pending"},
        ]
        if request.url.path.endswith("/log"):
            return httpx.Response(200, json={"events": [{"kind": "pull"}]})
        if request.url.path.endswith("/rows"):
            return httpx.Response(200, json=self.rows)
        return httpx.Response(200, json={"accounts": accounts, "posts": posts})


class Airflow:
    """Two runs that end at once."""

    def __init__(self, manager: Manager, outcomes: dict[str, str], state: str = "success") -> None:
        self._manager, self._outcomes, self._states = manager, outcomes, {"first": state, "second": "failed"}

    def switch_on(self) -> str:
        self._manager.asked.append("switched on")
        return "first"

    def trigger(self, _: object) -> str:
        self._manager.asked.append("triggered")
        return "second"

    def state(self, run_id: str) -> str:
        return self._states[run_id]

    def task_states(self, _: str) -> Counter[str]:
        return Counter(["success"])

    def summary(self, _: str) -> dict[str, object]:
        if not self._outcomes:
            request = httpx.Request("GET", "http://airflow")
            raise httpx.HTTPStatusError("404", request=request, response=httpx.Response(404, request=request))
        told = {"group_id": "rough", "label": "", "message": "Words", "remedy": "Do this."}
        return {"accounts": [told | {"account_id": each, "outcome": out} for each, out in self._outcomes.items()]}


AS_MADE = {"a3": "failed", "a4": "needs_person", "a5": "unknown"}


def test_the_accounts_that_were_made_for_trouble_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    manager = Manager()
    assert demo._run_twice(Airflow(manager, AS_MADE), manager.client)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert "2 of 2 accounts delivered, 27 links, 0 URLs stored twice." in out
    assert "needs person   0\n          Words. Do this.\n" in out
    assert [each.partition(" {")[0] for each in manager.asked][:6] == [
        "GET /sandbox/state",
        "switched on",
        "GET /sandbox/log",
        "POST /sandbox/faults",
        "PATCH /sandbox/posts/p2",
        "triggered",
    ]


@pytest.mark.parametrize(
    ("rows", "outcomes", "state"),
    [
        ({"accounts": {"a1": 22}}, AS_MADE, "success"),
        ({"duplicates": [{}]}, AS_MADE, "success"),
        ({}, AS_MADE, "failed"),
        ({}, AS_MADE | {"a5": "failed"}, "success"),
        ({}, AS_MADE | {"a1": "unknown"}, "success"),
        ({}, {}, "success"),
    ],
)
def test_what_did_not_come_out_as_it_must_is_no_success(
    rows: dict[str, object], outcomes: dict[str, str], state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = Manager()
    manager.rows |= rows  # type: ignore[arg-type]
    assert not demo._run_twice(Airflow(manager, outcomes, state), manager.client)  # type: ignore[arg-type]
    assert "of 2 accounts delivered" in capsys.readouterr().out


def test_states_are_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"state": None}, {"state": "running"}, {"state": None}]
    airflow = AirflowApi("http://127.0.0.1:9", tmp_path)
    monkeypatch.setattr(airflow, "call", lambda *_: {"task_instances": rows})
    assert airflow.task_states("run") == {"not yet scheduled": 2, "running": 1}


@pytest.mark.parametrize("statuses", [[200], [500, 200], [500, 409]])
def test_a_run_is_triggered_once_however_busy_airflows_database_is(
    statuses: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    airflow, asked = AirflowApi("http://127.0.0.1:9", tmp_path), []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            return httpx.Response(200, json={})
        asked.append(json.loads(request.content)["dag_run_id"])
        return httpx.Response(statuses[len(asked) - 1], json={})

    monkeypatch.setattr(airflow, "_client", httpx.Client(base_url="http://a", transport=httpx.MockTransport(answer)))
    run_id = airflow.trigger({})
    assert asked == [run_id] * len(statuses)


def test_a_second_ctrl_c_does_not_end_the_clean_up() -> None:
    command = [sys.executable, "-c", IMPATIENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        started.send_signal(signal.SIGINT)
        lines = [started.stdout.readline() for _ in range(3)]
        assert lines[2] == "cleaning up\n", lines
        started.send_signal(signal.SIGINT)
        assert started.stdout.read() == "clean\n"
    assert started.returncode == 0


def test_a_server_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise httpx.ReadTimeout("timed out")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "_show", fail)
    monkeypatch.setattr(demo, "signal", SimpleNamespace(signal=lambda *_: None))
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "likepion_podcast_secondary.py").write_text(json.dumps("airflow dag"))
    assert main(["demo", "--once"]) == 1
    assert capsys.readouterr().err == (
        "likepion: a server of the demo did not answer (ReadTimeout: timed out). Run it again.\n"
    )
