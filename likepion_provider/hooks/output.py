"""What a task prints and logs, without secrets: it is masked on its way out of the process.

Airflow masks on the other side, in the supervisor, which compiles all secrets anew for each one that it is told: 10 s
of CPU for 625, measured with Airflow 3.3. So the descriptors themselves are led through a thread of this process,
whoever writes to them: the log, ``print``, handlers that an importer made, other threads, and child processes.

What goes elsewhere is not seen: files that an importer opens, a descriptor that was copied before, its own network.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import selectors
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from likepion_provider.hooks.compat import mask_secret
from likepion_provider.hooks.internals import has_process_of_its_own
from likepion_provider.masking import hide, known, masked

_STDOUT, _STDERR = 1, 2
_READ_BYTES = 65_536
#: A line is masked as a whole, up to this length; beyond, it is cut.
MOST_LINE_BYTES = 16 * 1024 * 1024
#: How long the end of a task waits for the last lines.
_FLUSH_S = 10.0
#: Of a record of Airflow's log: what is read by machines, and what no stranger writes.
_FIXED = frozenset({"timestamp", "level"})
_NAMES = frozenset({*_FIXED, "event", "logger", "exception", "error_detail"})
_PLACES = frozenset({"lineno"})
#: Exceptions as structlog takes them apart: its own keys.
_TRACEBACKS = frozenset({"exception", "error_detail"})

_active: Output | None = None


@contextlib.contextmanager
def output_masked() -> Iterator[None]:
    """Mask what this process puts out from now on, and forget the secrets at the end.

    A process that Airflow made for one task ends with the task, and masks until then: threads, children, and tasks of
    the event loop that an importer forgot may speak late. Any other has its descriptors back after the body.
    """
    global _active
    if _active is not None:
        yield
        return
    _active = Output()
    if has_process_of_its_own():
        atexit.register(_active.flush)
        yield
        return
    try:
        yield
    finally:
        _active.close()
        _active = None
        known.clear()


def mask(secrets: Iterable[str]) -> None:
    """Mask some secrets in what this process puts out from now on, where no operator of this package does.

    In a process that a task does not have for its own, Airflow's masker of that process does.
    """
    secrets = [*secrets]
    if has_process_of_its_own():
        hide(secrets)
        with output_masked():
            return
    for secret in secrets:
        mask_secret(secret)


class Output:
    """Standard output, standard error and Airflow's log, led through a thread that masks line by line."""

    def __init__(self) -> None:
        _flush_streams()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._flushed = threading.Event()
        self._ends = False
        self._channels = [_Channel(_STDOUT, _mask_text), _Channel(_STDERR, _mask_text)]
        self._channels += [_Channel(each, _mask_record) for each in _log_descriptors()]
        for channel in self._channels:
            self._selector.register(channel.source, selectors.EVENT_READ, channel)
        self._thread = threading.Thread(target=self._run, name="likepion output", daemon=True)
        self._thread.start()

    def flush(self) -> None:
        """Wait until all that was written so far is out."""
        _flush_streams()
        self._flushed.clear()
        self._wake.send(b"\0")
        self._flushed.wait(_FLUSH_S)

    def close(self) -> None:
        """Give the descriptors back."""
        _flush_streams()
        for channel in self._channels:
            channel.restore()
        self._flushed.clear()
        self._ends = True
        self.flush()
        self._thread.join(_FLUSH_S)
        for channel in self._channels:
            channel.close()
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        while not self._flushed.is_set() or not self._ends:
            if self._woken in self._pump(None):
                # What was written before the call is here: nothing is left once nothing more is ready.
                while self._pump(0):
                    pass
                for channel in self._channels:
                    channel.end_line()
                self._flushed.set()

    def _pump(self, timeout_s: float | None) -> list[Any]:
        ready = [key for key, _ in self._selector.select(timeout_s)]
        for key in ready:
            if key.data is None:
                self._woken.recv(_READ_BYTES)
            elif not key.data.pump():
                self._selector.unregister(key.fileobj)
        return [key.fileobj for key in ready]


class _Channel:
    """One descriptor, and where it led before.

    :param mask: of one line, with or without its end.
    """

    def __init__(self, descriptor: int, mask: Callable[[bytes], bytes]) -> None:
        self._descriptor = descriptor
        self._mask = mask
        self._line = bytearray()
        self._inherited = os.get_inheritable(descriptor)
        self._target = os.dup(descriptor)
        # Of the kind that Airflow gives a task; a pipe holds less.
        self.source, writer = socket.socketpair()
        os.dup2(writer.fileno(), descriptor, self._inherited)
        writer.close()

    def pump(self) -> bool:
        """Hand on the lines that have come; False once nobody can write any more."""
        data = self.source.recv(_READ_BYTES)
        self._line += data
        end = self._line.rfind(b"\n", len(self._line) - len(data)) + 1
        if not end and len(self._line) > MOST_LINE_BYTES:
            end = len(self._line)
        if end:
            lines = bytes(self._line[:end])
            del self._line[:end]
            self._put(lines)
        return bool(data)

    def end_line(self) -> None:
        """Hand on a line that has no end yet."""
        rest = bytes(self._line)
        self._line.clear()
        self._put(rest)

    def restore(self) -> None:
        os.dup2(self._target, self._descriptor, self._inherited)

    def close(self) -> None:
        self.source.close()
        os.close(self._target)

    def _put(self, lines: bytes) -> None:
        for line in lines.splitlines(keepends=True) if b"\n" in lines else [lines]:
            # Whoever reads may be gone, and what fails is left out: the task must neither wait nor tell.
            with contextlib.suppress(Exception):
                rest = memoryview(self._mask(line))
                while rest:
                    rest = rest[os.write(self._target, rest) :]


def _mask_text(line: bytes) -> bytes:
    # Bytes that are no UTF-8 come out as they went in.
    return masked(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _mask_record(line: bytes) -> bytes:
    """A record of Airflow's log, which is JSON: masked value by value, so that it stays one."""
    try:
        record = json.loads(line)
    except ValueError:
        return _mask_text(line)
    if not isinstance(record, dict):
        return _mask_text(line)
    shown = {
        (name if name in _NAMES else masked(name)): (
            value if name in _FIXED else _masked_value(value, keys=name not in _TRACEBACKS)
        )
        for name, value in record.items()
    }
    return json.dumps(shown, separators=(",", ":")).encode() + b"\n"


def _masked_value(value: Any, *, keys: bool) -> Any:
    """What JSON can hold.

    :param keys: whether names may be a stranger's too.
    """
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, list):
        return [_masked_value(each, keys=keys) for each in value]
    if isinstance(value, dict):
        return {
            masked(name) if keys else name: each if name in _PLACES else _masked_value(each, keys=keys)
            for name, each in value.items()
        }
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if masked(str(value)) == str(value) else masked(str(value))
    return value


def _log_descriptors() -> list[int]:
    """Where Airflow's log leaves a task's process: a socket of its own, beside the standard descriptors."""
    found: set[int] = set()
    for handler in logging.getLogger().handlers:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            descriptor = handler.stream.fileno()  # type: ignore[attr-defined] # where it has one
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.add(descriptor)
    return sorted(found - {_STDOUT, _STDERR})


def _flush_streams() -> None:
    for stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__} - {None}:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()  # type: ignore[union-attr] # None is taken out
