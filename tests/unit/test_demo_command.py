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


def test_states_are_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"state": None}, {"state": "running"}, {"state": None}]
    airflow = AirflowApi("http://127.0.0.1:9", tmp_path)
    monkeypatch.setattr(airflow, "call", lambda *_: {"task_instances": rows})
    assert airflow.task_states("run") == {"not yet scheduled": 2, "running": 1}


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
