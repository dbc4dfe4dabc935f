"""What a process prints, whoever prints it, at its descriptors."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from likepion_provider.hooks import output
from likepion_provider.hooks.output import _mask_record, output_masked
from likepion_provider.masking import hide, masked

SECRET = "canary-pä ss\"w'ord-7"


def _in_pieces() -> None:
    for byte in SECRET.encode():
        os.write(1, bytes([byte]))
    os.write(1, b"\n")


def _by_a_child() -> None:
    subprocess.run([sys.executable, "-c", "import sys; print(sys.argv[1])", SECRET], check=True)


def _by_a_thread() -> None:
    thread = threading.Thread(target=os.write, args=(2, SECRET.encode()))
    thread.start()
    thread.join()


def _by_a_handler() -> None:
    with open(os.dup(2), "w", encoding="utf-8") as stream:  # noqa: PTH123 - a descriptor, not a path
        handler = logging.StreamHandler(stream)
        handler.emit(logging.LogRecord("x", 40, "x", 1, "by a handler %r", (SECRET,), None))


WAYS: list[Callable[[], object]] = [
    _in_pieces,
    _by_a_child,
    _by_a_thread,
    _by_a_handler,
    lambda: os.write(2, b"\xff\xfe" + SECRET.encode() + b"\xff no end"),
    lambda: os.write(1, (("x" * 100_000) + SECRET + "\n").encode() * 3),
]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_gets_out_unmasked_and_the_descriptors_are_given_back(
    way: Callable[[], object], capfd: pytest.CaptureFixture[str]
) -> None:
    before = [os.fstat(descriptor)[:3] for descriptor in (1, 2)], threading.active_count(), _open_descriptors()
    with output_masked():
        hide([SECRET])
        os.write(1, b"first\n")
        way()
        os.write(1, b"last")
    printed = "".join(capfd.readouterr())
    assert "canary" not in printed
    assert "***" in printed
    assert printed.startswith("first\n")
    assert "last" in printed
    assert masked(SECRET) == SECRET, "forgotten at the end"
    assert (
        [os.fstat(descriptor)[:3] for descriptor in (1, 2)],
        threading.active_count(),
        _open_descriptors(),
    ) == before


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no path is wanted


def test_bytes_that_are_no_text_come_out_as_they_went_in(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with output_masked():
        hide([SECRET])
        os.write(1, bytes(range(256)) * 300)
    assert capfdbinary.readouterr().out == bytes(range(256)) * 300


def test_a_line_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MOST_LINE_BYTES", 1000)
    # A file of its own: capfd empties what it has read, and would lose what comes meanwhile.
    out, stdout = tmp_path / "out", os.dup(1)
    with out.open("wb") as file:
        os.dup2(file.fileno(), 1)
    try:
        with output_masked():
            os.write(1, b"x" * 50_000)
            until_s = time.monotonic() + 30
            while out.stat().st_size < 1000 and time.monotonic() < until_s:
                time.sleep(0.01)
            assert out.stat().st_size >= 1000, "it was held back"
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def test_what_cannot_be_masked_is_left_out(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with output_masked():
        with monkeypatch.context() as patch:
            patch.setattr(output, "masked", lambda _: 1 / 0)
            os.write(1, b"a canary\n")
            output._active.flush()  # type: ignore[union-attr] # there is one
        os.write(1, b"afterwards\n")
    printed = capfd.readouterr().out
    assert "canary" not in printed
    assert printed.endswith("afterwards\n")


@pytest.mark.parametrize("weak", ["level", "info", "event", "timestamp", "2026", "exc_value", "1234"])
def test_a_record_stays_a_record_whatever_word_is_a_secret(weak: str) -> None:
    hide([weak, SECRET])
    record = {
        "timestamp": "2026-11-29T00:00:00Z",
        "level": "info",
        "event": f"words {SECRET}",
        "logger": "likepion",
        SECRET: {"deep": [SECRET, 1234, None, True]},
        "exception": [{"exc_value": SECRET, "frames": [{"lineno": 1234, "name": "f"}]}],
    }
    shown = json.loads(_mask_record(json.dumps(record).encode() + b"\n"))
    assert (shown["timestamp"], shown["level"]) == (record["timestamp"], "info")
    assert shown["exception"] == [{"exc_value": "***", "frames": [{"lineno": 1234, "name": "f"}]}]
    assert "canary" not in json.dumps(shown)
    assert shown["***"]["deep"][2:] == [None, True]


def test_what_is_no_record_is_masked_as_text() -> None:
    hide([SECRET])
    for line in (f"no JSON {SECRET}\n", f"[{json.dumps(SECRET)}]\n"):
        assert b"canary" not in _mask_record(line.encode())
