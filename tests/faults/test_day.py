"""A few hours of the simulated day."""

from __future__ import annotations

from pathlib import Path

from tests.faults.day import IMPORT, REPORT, Day, Run, judged


def test_hours_of_trouble_are_told_as_they_are_and_deliver_everything_once(tmp_path: Path) -> None:
    day = Day(tmp_path, accounts=60, groups=6, ticks=48, seed=7)
    day.play()
    assert day.told == []
    assert day.lost() == []
    assert (len(day.manager.duplicates()), day.parked()) == (0, 0)
    assert 0 < sum(run.is_red for run in day.runs) < len(day.runs)
    assert sum(run.is_cleared for run in day.runs) == 3


def test_reports_that_mislead_are_noticed() -> None:
    def run(state: str, **summary: object) -> Run:
        made = Run("run", "scheduled", {}, None, states={(REPORT, -1): state, (IMPORT, 0): "success"})
        made.xcoms[REPORT, "summary", -1] = summary
        return made

    account = {"account_id": "a", "outcome": "failed", "message": "wrong password", "remedy": "Correct it."}
    told = run("failed", accounts=[account])
    told.error = "1 account needs attention: wrong password. Correct it."
    assert judged(told) == []
    idle = run("failed", accounts=[account | {"remedy": "Nothing to do: a later run goes on."}])
    idle.error = told.error
    assert "without something to do" in judged(idle)[0]
    assert judged(run("failed"))[0] == "red without a word"
    assert "green over" in judged(run("success", accounts=[account]))[0]
    assert "badly written" in judged(run("success", text="1 accounts delivered."))[0]
