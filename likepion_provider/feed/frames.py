"""How the reader's process is spoken to: frames of four bytes of length, and that many bytes.

A document is a question as JSON, the document's bytes in any number of frames, and how it ended; the answer is one
frame of JSON, which may come before the end.
"""

from __future__ import annotations

import json
import struct
from typing import Any

LENGTH_BYTES = 4
#: The longest answer that is taken.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
#: The document was read to its end; it may go on.
END, CUT = b"\x00", b"\x01"


def frame(data: bytes) -> bytes:
    """Data as a frame."""
    return struct.pack(">I", len(data)) + data


def json_frame(value: Any) -> bytes:
    """A value as a frame; text of any kind is kept, lone surrogates too."""
    return frame(json.dumps(value).encode("ascii"))


def length(head: bytes) -> int:
    """How many bytes follow the first four."""
    return int(struct.unpack(">I", head)[0])
