"""The secrets that this process knows, and what takes them out of all that it shows.

There is one list: whoever reads a secret calls :func:`hide`; errors, and all that a task prints and logs, go through
:func:`masked`. It is in memory only, and bounded.
"""

from __future__ import annotations

import base64
import bisect
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from likepion_provider.models import Credentials, writable
from likepion_provider.redact import redact, tokens

MASK = "***"
#: What is shorter is not masked: it is in too many words to be a secret, and masking it would show where it stands.
LEAST_CHARS = 4
#: A piece of a secret, from its beginning or up to its end, is masked from this length on: words are cut on their way.
PIECE_CHARS = 8
#: Secrets that are known at a time; beyond, those that came first are forgotten. A batch of 1,000 accounts has 6,000.
MOST_SECRETS = 20_000
#: The words of an error: its message and its remedy together stay below 2,000. Before that, so many are looked at.
MOST_CHARS = 900
_LOOKED_AT_CHARS = 20_000
_WORD = re.compile("[A-Z]?[a-z]+")
_LINE_ENDS = ("", "\n", "\r")


class Secrets:
    """Secrets in the forms in which they come back: as they are, escaped, in base64.

    One thread adds while others mask. What that costs does not grow with the number of secrets.

    :param most: how many are known at a time.
    """

    def __init__(self, most: int = MOST_SECRETS) -> None:
        self._most = most
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._known: dict[str, bool] = {}
        #: The first characters of every form, and of every form's last piece: the places to look at.
        self._hot: set[str] = set()
        #: Every form, and the lengths of those that begin alike.
        self._wholes: set[str] = set()
        self._lengths: dict[str, set[int]] = {}
        self._begins, self._ends = _Pieces(), _Pieces()

    def add(self, secret: str, *, whole: bool = False) -> None:
        """Mask a secret from now on.

        :param whole: its pieces may be shown.
        """
        if len(secret) < LEAST_CHARS or secret in self._known:
            return
        if len(self._known) >= self._most:
            # Half of them at once, so that it costs little per secret.
            newest = [*self._known.items()][self._most // 2 :]
            self.clear()
            for known_as, was_whole in newest:
                self.add(known_as, whole=was_whole)
        self._known[secret] = whole
        for form in _forms(secret):
            self._wholes.add(form)
            self._lengths.setdefault(form[:LEAST_CHARS], set()).add(len(form))
            if not whole and len(form) > PIECE_CHARS:
                self._begins.add(form)
                self._ends.add(form[::-1])
                self._hot.add(form[-PIECE_CHARS:][:LEAST_CHARS])
            self._hot.add(form[:LEAST_CHARS])

    def masked(self, text: str) -> str:
        """The text with ``***`` for every secret, and for what stands of one whose beginning or end was cut off."""
        hot = self._hot
        places = [at for at in range(len(text) - LEAST_CHARS + 1) if text[at : at + LEAST_CHARS] in hot] if hot else []
        shown: list[str] = []
        end = 0
        for begin, stop in sorted(span for at in places for span in self._spans(text, at)):
            if begin > end or not shown:
                shown += [text[end:begin], MASK]
            end = max(end, stop)
        return "".join([*shown, text[end:]]) if shown else text

    def _spans(self, text: str, at: int) -> Iterator[tuple[int, int]]:
        """What has to go that begins at a place of a text, or whose last piece does."""
        for length in [*self._lengths.get(text[at : at + LEAST_CHARS], ())]:
            if text[at : at + length] in self._wholes:
                yield at, at + length
        # A word such as "password" is in many sentences; where a text is cut, it may be what is left of a secret.
        stop = at + self._begins.shared(text, at)
        if stop > at and (text[stop : stop + 1] in _LINE_ENDS or not _WORD.fullmatch(text, at, stop)):
            yield at, stop
        stop = min(at + PIECE_CHARS, len(text))
        begin = stop - self._ends.shared(text[max(stop - self._ends.longest, 0) : stop][::-1], 0)
        if begin < stop and (begin == 0 or not _WORD.fullmatch(text, begin, stop)):
            yield begin, stop


class _Pieces:
    """Strings by how they begin."""

    def __init__(self) -> None:
        self.longest = PIECE_CHARS
        #: Sorted, by what they begin with.
        self._by_piece: dict[str, list[str]] = {}

    def add(self, form: str) -> None:
        self.longest = max(self.longest, len(form))
        bisect.insort(self._by_piece.setdefault(form[:PIECE_CHARS], []), form)

    def shared(self, text: str, at: int) -> int:
        """How much of the one that fits best stands at a place of a text; 0 where it is less than a piece."""
        alike = self._by_piece.get(text[at : at + PIECE_CHARS])
        if not alike:
            return 0
        here = text[at : at + self.longest]
        # In their order, what shares most with a text stands beside where that would be.
        place = bisect.bisect(alike, here)
        return max(_common(each, here) for each in alike[max(place - 1, 0) : place + 1])


def _common(one: str, other: str) -> int:
    """How many characters two strings begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _forms(secret: str) -> Iterator[str]:
    """What becomes of a secret on its way: each of these once, with the secret itself first."""
    code = secret.encode("utf-8", "replace")
    forms = [secret, *_base64(code)]
    if not _PLAIN.fullmatch(secret):
        text = writable(secret)
        for escaped in (quote(text, safe=""), quote(text), quote_plus(text)):
            forms += _cases(escaped)
        forms += [html.escape(secret), html.escape(secret, quote=False)]
        forms += [json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]]
        forms += [repr(secret)[1:-1], repr(code)[2:-1], *secret.splitlines(), secret.strip()]
    return (each for each in dict.fromkeys(forms) if len(each) >= LEAST_CHARS)


#: The same in every form but base64.
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
#: Characters of base64 that hold bits of what stands before, by how many bytes that is.
_OTHERS_CHARS = (0, 2, 3)


def _base64(code: bytes) -> Iterator[str]:
    """Both alphabets, after anything: HTTP's Basic scheme puts a user name before it (RFC 7617)."""
    for before, others in enumerate(_OTHERS_CHARS):
        text = base64.b64encode(bytes(before) + code).decode()
        # The last character holds bits of what follows, unless it ends a group.
        text = text[others:] if (before + len(code)) % 3 == 0 else text.rstrip("=")[others:-1]
        yield text
        yield text.replace("+", "-").replace("/", "_")


def _cases(escaped: str) -> tuple[str, str]:
    """Percent escapes in capital and in small letters."""
    return escaped, re.sub("%[0-9A-F]{2}", lambda each: each[0].lower(), escaped)


#: Those of this process.
known = Secrets()


def hide(secrets: Iterable[str]) -> None:
    """Mask these from now on."""
    for secret in secrets:
        if secret.startswith(("http://", "https://")):
            hide_url(secret)
        else:
            known.add(secret)


def hide_url(url: str) -> None:
    """Mask an address that can hold a secret: all of it, and every part that looks like a token."""
    if redact(url) != url:
        known.add(url, whole=True)
        hide(tokens(url))


def hide_account(credentials: Credentials, link_rss: str = "") -> None:
    """Mask all that an account must not show: its secrets, each cookie's value, its feed's address."""
    cookies = [pair.partition("=")[2].strip().strip('"') for pair in credentials.cookie.split(";")]
    hide(value for value in cookies if len(value) >= PIECE_CHARS)
    hide(credentials.secrets())
    if link_rss:
        hide_url(link_rss)


def masked(text: str) -> str:
    """A text without the secrets that this process knows."""
    return known.masked(text)


#: Control characters, marks that turn the direction of writing, and what has no width; a line's end becomes a space.
_UNSHOWN: dict[int, str | None] = {
    **dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x200B, 0x2060, 0xFEFF]),
    **dict.fromkeys([0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]),
    **dict.fromkeys([*b"\t\n\v\f\r", 0x85, 0x2028, 0x2029], " "),
}


def clean(words: str, most: int = MOST_CHARS) -> str:
    """Words of strangers as they may be shown: without secrets, in one line of printable text, then cut.

    Each place that shows them escapes them for itself: Markdown, HTML, a terminal, CSV.

    :param most: the longest they may be, in characters.
    """
    # Twice: a secret can hold what is taken out, and can appear once that is.
    words = masked(" ".join(writable(masked(words[:_LOOKED_AT_CHARS])).translate(_UNSHOWN).split()))
    return words if len(words) <= most else words[: most - 1] + "…"
