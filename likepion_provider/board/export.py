"""Accounts as CSV, of which no spreadsheet takes a cell for a formula."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

COLUMNS = (
    *("group_id", "account", "account_id", "request_id", "domain", "standing", "state", "links", "stored"),
    *("attempts", "last_error", "what_to_do", "next_try_at", "run_id", "updated_at"),
)
_PART_CHARS = 60_000
#: Line breaks and other controls: a row stays one line, whoever reads it.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FORMULA = ("=", "+", "-", "@")


def lines(rows: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """The file, a part at a time.

    :param rows: have :data:`COLUMNS`, perhaps others beside.
    """
    buffer = io.StringIO()
    # All quoted: some spreadsheets cut at semicolons.
    writer = csv.DictWriter(buffer, COLUMNS, extrasaction="ignore", lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: cell(value) for name, value in row.items()})
        if buffer.tell() > _PART_CHARS:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def cell(value: Any) -> str:
    """A value as a spreadsheet may have it: a text that it could read as a formula begins with an apostrophe.

    See OWASP, *CSV Injection*. Looked for behind whatever a spreadsheet may pass over: blanks, quotes, invisible signs.
    """
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if value is None or isinstance(value, int):
        return "" if value is None else str(value)
    text = _CONTROLS.sub(" ", str(value))
    first = next((each for each in text if not _is_passed_over(each)), "")
    return f"'{text}" if unicodedata.normalize("NFKC", first).startswith(_FORMULA) else text


def _is_passed_over(char: str) -> bool:
    return char in "\"'`" or unicodedata.category(char)[0] in "ZC" or unicodedata.category(char) == "Mn"
