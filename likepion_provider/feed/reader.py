"""The process that parses feeds: ``python -m likepion_provider.feed.reader``, spoken to by standard input and output.

It holds itself to limits of CPU and memory, opens nothing, and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import time
from typing import Any, BinaryIO

from likepion_provider.feed.bounds import DEFAULT_BOUNDS
from likepion_provider.feed.document import Document
from likepion_provider.feed.frames import CUT, LENGTH_BYTES, json_frame, length


class _Ended(Exception):
    """Nobody asks any more."""


def main() -> None:
    """Answer until nobody asks."""
    import feedparser  # noqa: F401 - imported before the first document comes

    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a stranger's text leads to is no word for our log.
    with open(os.devnull, "r+b") as nowhere:  # noqa: PTH123 - pathlib would be imported for it
        for number in (0, 1, 2):
            os.dup2(nowhere.fileno(), number)
    _limit_memory(DEFAULT_BOUNDS.memory_bytes)
    with contextlib.suppress(_Ended, BrokenPipeError):
        _say(sink, {"ready": True})
        while True:
            _answer(source, sink)


def _answer(source: BinaryIO, sink: BinaryIO) -> None:
    question = json.loads(_frame(source))
    began_s, allowed_s = time.process_time(), 0

    def allow_cpu(seconds: float) -> None:
        nonlocal allowed_s
        if math.ceil(began_s + seconds) > allowed_s:
            allowed_s = math.ceil(began_s + seconds)
            _limit(resource.RLIMIT_CPU, allowed_s)

    ended = b""
    try:
        document = Document(question["want"], url=question["url"], charset=question["charset"], allow_cpu=allow_cpu)
        while len(data := _frame(source)) > 1:
            if not document.feed(data[1:]):
                break
        else:
            ended = data
        answer: Any = document.finish(cut=ended == CUT)
    except _Ended:
        raise
    except MemoryError:
        answer = {"refused": f"needs more than {DEFAULT_BOUNDS.memory_bytes} bytes of memory to be read"}
    except Exception as error:  # noqa: BLE001 - feedparser stumbles in many ways: "</width>" alone is a TypeError
        answer = {"refused": f"cannot be parsed ({type(error).__name__})"}
    _say(sink, answer)
    while not ended and len(data := _frame(source)) > 1:
        pass


def _say(sink: BinaryIO, value: Any) -> None:
    sink.write(json_frame(value))
    sink.flush()


def _frame(source: BinaryIO) -> bytes:
    head = source.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        raise _Ended
    return source.read(length(head))


def _limit_memory(more_bytes: int) -> None:
    """Allow so much beyond what is in use; only Linux holds a process to it."""
    with contextlib.suppress(OSError), open("/proc/self/statm", "rb") as file:  # noqa: PTH123
        used_bytes = int(file.read().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, used_bytes + more_bytes)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit(kind: int, value: int) -> None:
    """Set a soft limit, as far as the hard one allows."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main()
