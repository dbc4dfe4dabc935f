"""What a request may ask for: every number and text of the board has its bounds here, and the words for one beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, Field, PositiveInt

from likepion_provider.models import writable

#: Characters of an id, a domain or a search; the journal's longest column of them has fewer.
MAX_WORD_CHARS = 300
MAX_NOTE_CHARS = 500
#: Characters of the words of a trouble; the journal's column of them has as many.
MAX_REASON_CHARS = 10_000
#: Bytes of a request's body: a filter, a verdict and a note, as JSON may escape them.
MAX_BODY_BYTES = 128 * 1024
#: Accounts of one run, as the package's DAG takes them; links, or accounts, of one other action.
MAX_RUN = 1000
MAX_ACTION = 10_000
#: The largest values of PostgreSQL's ``integer`` and ``bigint``.
_MAX_INTEGER = 2**31 - 1
_MAX_BIGINT = 2**63 - 1


def _writable(text: str) -> str:
    if text != writable(text):
        raise ValueError("has a character that no database takes")
    return text


Word = Annotated[str, Query(max_length=MAX_WORD_CHARS), AfterValidator(_writable)]
Reason = Annotated[str, Query(max_length=MAX_REASON_CHARS), AfterValidator(_writable)]
#: The same in a body.
BodyWord = Annotated[str, Field(max_length=MAX_WORD_CHARS), AfterValidator(_writable)]
BodyReason = Annotated[str, Field(max_length=MAX_REASON_CHARS), AfterValidator(_writable)]
BodyMapIndex = Annotated[int, Field(ge=-1, le=_MAX_INTEGER)]
#: How many a person was told that an action is about.
Number = Annotated[int, Field(ge=1, le=10_000_000)]
Note = Annotated[str, Field(max_length=MAX_NOTE_CHARS), AfterValidator(_writable)]
#: Of a mapped task instance; -1 stands for one that is not mapped.
MapIndex = Annotated[int, Query(ge=-1, le=_MAX_INTEGER)]
LinkId = Annotated[PositiveInt, Path(le=_MAX_BIGINT)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Limit = Annotated[int, Query(ge=1, le=200)]
Days = Annotated[int, Query(ge=1, le=90)]


def words_of(errors: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with a request, without what it held: that may be anything.

    :param errors: as pydantic gives them.
    """
    found = (f"{'.'.join(map(str, each['loc'][1:])) or 'the body'}: {each['msg']}" for each in errors[:5])
    return writable(f"The board does not take this request: {'; '.join(found)}. Correct it and ask again.")
