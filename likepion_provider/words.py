"""The words that people read, in their language.

The code says everything in English, and that is each message's name in the catalogues (GNU gettext; ``make words``
gathers them). What is logged or stored stays English. An error's message and remedy, which go through logs, XCom and
the journal as text, are looked up only where a person reads them (:func:`shown`), so that two people may read one
journal in two languages; other words are looked up where they are said (:func:`t`, :func:`tn`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gettext
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from importlib.resources import files

ENGLISH = "en"
#: English, and every language that has a catalogue.
LANGUAGES = (ENGLISH, "vi")
#: The contexts (gettext's ``msgctxt``) of what is not said by :func:`t`: an error's words, and a value of an enum.
MESSAGE, STATE = "message", "state"
#: No message is longer; what a stranger sends may be.
MOST_CHARS = 4000
FIELD = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_THOUSANDS = {ENGLISH: ",", "vi": "."}

_spoken: ContextVar[str] = ContextVar("likepion_language", default=ENGLISH)


def language() -> str:
    """The language of whoever reads what is said now."""
    return _spoken.get()


def speak(wanted: str) -> None:
    """Say everything in some language from now on, in this context.

    :param wanted: as :func:`fitting` takes it.
    """
    _spoken.set(fitting([wanted]))


@contextlib.contextmanager
def spoken(wanted: str) -> Iterator[None]:
    """As :func:`speak`, for as long as the body runs."""
    token = _spoken.set(fitting([wanted]))
    try:
        yield
    finally:
        _spoken.reset(token)


def fitting(wanted: Iterable[str]) -> str:
    """The first of some languages that there are words in; English where there are in none.

    :param wanted: tags as browsers (``vi-VN``), locales (``vi_VN.UTF-8``) and configurations (``vi``) have them.
    """
    tags = (re.split(r"[-_.@]", each.strip().lower())[0] for each in wanted)
    return next((each for each in tags if each in LANGUAGES), ENGLISH)


def t(message: str, **facts: object) -> str:
    """A message in the reader's language.

    :param message: in English, as a literal; facts as ``{name}``.
    """
    said = _catalogue(language()).gettext(message)
    return said.format(**facts) if facts else said


def tn(one: str, many: str, count: int, **facts: object) -> str:
    """A message that counts.

    :param one: in English, as a literal; the number is ``{count}``.
    :param many: the same for other numbers than one.
    """
    return _catalogue(language()).ngettext(one, many, count).format(count=number(count), **facts)


def state(value: str) -> str:
    """The word for a value of one of the enums in :mod:`likepion_provider.models`; English ones are the values."""
    return _catalogue(language()).pgettext(STATE, value)


def number(value: int) -> str:
    """A number with the language's mark between thousands."""
    return f"{value:,}".replace(",", _THOUSANDS[language()])


def shown(text: str) -> str:
    """An error's message, its remedy, or both, as its reader reads it.

    The text was made in English, perhaps long ago and by another process. What no catalogue has, such as a platform's
    own words, stays as it is.
    """
    return _shown(language(), text)


@functools.lru_cache(maxsize=4096)
def _shown(wanted: str, text: str) -> str:
    if wanted == ENGLISH or not text or len(text) > MOST_CHARS:
        return text
    # A message with its remedy behind.
    for gap in re.finditer(r"\. (?=[A-Z])", text) if not _known(wanted, text) else ():
        if remedy := _whole(wanted, text[gap.end() :]):
            return f"{_sentence(wanted, text[: gap.start()])} {remedy}"
    if said := _whole(wanted, text):
        return said
    if text.endswith("."):
        return _sentence(wanted, text[:-1])
    return "; ".join(_shown(wanted, each) for each in text.split("; ")) if "; " in text else text


def _whole(wanted: str, text: str) -> str:
    """The words for one message; empty where there are none."""
    if said := _known(wanted, text):
        return said
    for template in _templates(wanted):
        facts = template.read(text)
        if facts is not None:
            return template.fill([_shown(wanted, fact) for fact in facts])
    return ""


def _sentence(wanted: str, text: str) -> str:
    return _known(wanted, f"{text}.") or f"{_shown(wanted, text)}."


def _known(wanted: str, text: str) -> str:
    """The words for a text without facts; empty where there are none."""
    said = _catalogue(wanted).pgettext(MESSAGE, text)
    return "" if said == text else said


@dataclasses.dataclass(frozen=True)
class _Template:
    """An error's message with facts: what stands between them in English, and all of it in another language."""

    between: tuple[str, ...]
    names: tuple[str, ...]
    said: str

    def read(self, text: str) -> list[str] | None:
        """The facts of a text that was made by this; None where it was not. Takes time in proportion to the text."""
        first, *inner, last = self.between
        end = len(text) - len(last)
        if not last and text.endswith("."):
            # The end of a sentence is no fact.
            return None
        if not (text.startswith(first) and text.endswith(last) and end > len(first)):
            return None
        facts, place = [], len(first)
        for each in inner:
            found = text.find(each, place + 1, end)
            if found < 0:
                return None
            facts.append(text[place:found])
            place = found + len(each)
        return [*facts, text[place:end]] if place < end else None

    def fill(self, facts: list[str]) -> str:
        """The other language's words with the facts."""
        named = dict(zip(self.names, facts, strict=True))
        return FIELD.sub(lambda field: named[field[1]], self.said)


@functools.cache
def _templates(wanted: str) -> list[_Template]:
    """Those with the most words of their own first: the closest one counts."""
    found = []
    for name, said in _messages(wanted):
        parts = FIELD.split(name)
        if len(parts) > 1:
            found.append(_Template(tuple(parts[::2]), tuple(parts[1::2]), said))
    return sorted(found, key=lambda each: -sum(map(len, each.between)))


def _messages(wanted: str) -> Iterator[tuple[str, str]]:
    # gettext looks messages up, and has no public way to list them.
    catalogue: dict[object, str] = getattr(_catalogue(wanted), "_catalog", {})
    for key, said in catalogue.items():
        context, mark, name = str(key).partition("\x04")
        if mark and context == MESSAGE:
            yield name, said


@functools.cache
def _catalogue(wanted: str) -> gettext.NullTranslations:
    if wanted == ENGLISH:
        return gettext.NullTranslations()
    with (files("likepion_provider") / "locale" / wanted / "LC_MESSAGES" / "likepion.mo").open("rb") as file:
        return gettext.GNUTranslations(file)
