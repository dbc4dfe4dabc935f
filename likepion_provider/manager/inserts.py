"""Links on their way to the manager, and the reading of its answer to them, record by record.

The rules, in the order in which they are applied:

1. *Records before envelopes.* ``results`` are read whatever ``success`` or the HTTP status says.
2. A record has a word on a URL if its ``success`` is a boolean, it names ``link_post`` or ``link_index``, and all that
   it names is right: account, post, item, ``link_index`` and URL. Ids are compared without case, URLs as
   :func:`canonical_url` has them. Any other record is a stray: it has a word on no URL.
3. A URL without a word is unknown, and so is one whose records contradict each other.
4. *What the envelope contradicts is unknown*, never refused. It contradicts the records that say

   - stored, if ``inserted`` is less than they are, or ``failed`` more than the refused and the silent URLs;
   - stored, if the answer as a whole says failure (a status that is not 2xx, a ``success`` that is not true) and no
     ``inserted`` of more than 0 bears them out;
   - refused, if any of the counts does not fit the records: what is taken for refused is sent again;
   - anything, if ``count`` is less than they are or more than the URLs that were sent.

   ``success: true`` contradicts nothing: the manager says it of partial inserts, too. A stray counts against
   ``inserted`` and ``failed`` as well.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any
from urllib.parse import quote, urlsplit

from likepion_provider.errors import BadRequest
from likepion_provider.manager.urls import normal_url
from likepion_provider.masking import clean
from likepion_provider.models import Credentials, LinkState

#: How much of a server's message goes into an error.
MESSAGE_CHARS = 200

_ASCII = "".join(map(chr, range(0x21, 0x7F)))


class LinkStatus(str, Enum):
    """What an item of an insert says of its links."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCEL = "cancel"

    @classmethod
    def named(cls, text: str) -> LinkStatus:
        """The status of that name.

        :raises BadRequest: the API has none.
        """
        try:
            return cls(text)
        except ValueError:
            known = ", ".join(each.value for each in cls)
            raise BadRequest(f"the status of links is one of {known}, not {text!r}") from None


@dataclasses.dataclass(frozen=True)
class LinkReport:
    """The links of one account for one post, as they are sent: one item of an insert.

    :param request_id: the post.
    :param account_id: the account; may be empty if ``domain`` is given.
    :param urls: 1 to 200.
    :param cookie: a session cookie that an import renewed; empty leaves the account's as it is.
    :param status: what the manager is told of every link: ``completed``, ``failed`` or ``cancel``.
    :param note: a free text for the manager, with every link.
    :param domain: the manager takes the *first* account of the post's group on that platform; ``account_id`` goes
        before it.
    :param credentials: whatever else was renewed; an empty field leaves the account's as it is.
    """

    request_id: str
    account_id: str
    urls: tuple[str, ...]
    cookie: str = dataclasses.field(default="", repr=False)
    status: LinkStatus | str = LinkStatus.COMPLETED
    note: str = ""
    domain: str = ""
    credentials: Credentials = dataclasses.field(default_factory=Credentials)


@dataclasses.dataclass(frozen=True)
class Record:
    """What became of one URL of a :class:`LinkReport`.

    :param stored: True or False as the server says; None where the answer has no word on it, or contradicts itself.
    :param message: the server's words, and why the outcome is unknown; at most 200 characters.
    """

    url: str
    stored: bool | None
    message: str = ""

    @property
    def link_state(self) -> LinkState:
        """What it makes of the link."""
        if self.stored is None:
            return LinkState.UNKNOWN
        return LinkState.STORED if self.stored else LinkState.REFUSED


def wire_url(url: str) -> str:
    """A URL as it travels in ``link_post``: the server splits at commas, so they are percent-encoded.

    :raises BadRequest: not an absolute http(s) URL, or it holds white space or control characters.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or " " in url or not url.isprintable():
        raise BadRequest(f"not a public http(s) URL: {url[:MESSAGE_CHARS]!r}")
    return url.replace(",", "%2C")


def canonical_url(url: str) -> str:
    """As :func:`~likepion_provider.manager.urls.normal_url`, for links on their way to the manager and back.

    A comma, and what is not ASCII, counts as its escape, as in :func:`wire_url`.
    """
    url = url.strip()
    # What is no text of a URL stays as it is: a lone surrogate has no escape.
    return normal_url(quote(url, safe=_ASCII)).replace(",", "%2C") if url.isprintable() else url


def words_of(row: Mapping[str, Any]) -> str:
    """The server's ``message`` or ``error`` in one line; empty where it has none."""
    words = row.get("message") or row.get("error") or ""
    return clean(words, MESSAGE_CHARS) if isinstance(words, str) else ""


def whole(value: Any) -> int | None:
    """A whole number >= 0, which may come as text, cut at a billion; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) <= 9 else 10**9


def read_records(
    reports: Sequence[LinkReport], payload: Mapping[str, Any], *, accepted: bool
) -> list[tuple[Record, ...]]:
    """What became of each URL, report by report, by this module's rules.

    :param payload: the answer, with a list of ``results``.
    :param accepted: whether the answer as a whole says success: its status is 2xx and its ``success`` true.
    """
    places = _Places(reports)
    said: defaultdict[_Place, set[bool]] = defaultdict(set)
    words: dict[_Place, str] = {}
    strays: Counter[bool] = Counter()
    for row in payload["results"]:
        success = row.get("success") if isinstance(row, dict) else None
        if not isinstance(success, bool):
            continue
        named = places.named_by(row)
        strays[success] += not named
        for place in named:
            said[place].add(success)
            words[place] = words.get(place) or words_of(row)
    agreed = Counter(next(iter(each)) for each in said.values() if len(each) == 1)
    doubted = _contradicted(payload, agreed, strays, len(places.all), accepted=accepted)

    def record(place: _Place) -> Record:
        of_server = words.get(place) or words_of(payload)
        match list(said.get(place, ())):
            case []:
                return _unknown(place.url, "the answer has no word on this URL", words_of(payload))
            case [stored] if stored not in doubted:
                return Record(place.url, stored, of_server)
            case [stored]:
                verdict = "stored" if stored else "refused"
                return _unknown(place.url, f"its record says {verdict}, the answer contradicts that", of_server)
            case _:
                return _unknown(place.url, "two records of this URL contradict each other", of_server)

    records = {place: record(place) for place in places.all}
    return [tuple(records[place] for place in places.all if place.item == number) for number, _ in enumerate(reports)]


def _contradicted(
    payload: Mapping[str, Any], agreed: Counter[bool], strays: Counter[bool], sent: int, *, accepted: bool
) -> set[bool]:
    """Which records the envelope contradicts: those that say stored (True), those that say refused (False)."""
    inserted, failed, count = (whole(payload.get(name)) for name in ("inserted", "failed", "count"))
    silent = sent - agreed.total()
    doubted: set[bool] = set()
    for told, kind in ((inserted, True), (failed, False)):
        if told is not None and told < agreed[kind] + strays[kind]:
            doubted |= {kind, False}
        if told is not None and told > agreed[kind] + silent:
            doubted |= {not kind, False}
    if not accepted and not inserted:
        doubted.add(True)
    if count is not None and not agreed.total() <= count <= sent:
        doubted = {True, False}
    return doubted


def _unknown(url: str, why: str, words: str) -> Record:
    return Record(url, None, (f"{why}: {words}" if words else why)[:MESSAGE_CHARS])


@dataclasses.dataclass(frozen=True)
class _Place:
    """A URL's place in an insert: number of the item, of the link in it."""

    item: int
    link: int
    url: str


class _Places:
    """Finds the URLs that a record of the answer is about."""

    def __init__(self, reports: Sequence[LinkReport]) -> None:
        self._reports = reports
        self.all = [
            _Place(item, link, url) for item, report in enumerate(reports) for link, url in enumerate(report.urls)
        ]
        self._by_url: defaultdict[str, list[_Place]] = defaultdict(list)
        self._by_link: defaultdict[int, list[_Place]] = defaultdict(list)
        for place in self.all:
            self._by_url[canonical_url(place.url)].append(place)
            self._by_link[place.link].append(place)

    def named_by(self, row: Mapping[str, Any]) -> Collection[_Place]:
        """The places a record names; more than one only for a URL that its item has more than once."""
        url, link, item = row.get("link_post"), whole(row.get("link_index")), whole(row.get("index"))
        if url is None:
            found = self._by_link.get(link, []) if link is not None else []
        else:
            found = self._by_url.get(canonical_url(url), []) if isinstance(url, str) else []
        named = [
            place
            for place in found
            if link in (None, place.link) and item in (None, place.item) and _is_of(self._reports[place.item], row)
        ]
        return named if len({place.item for place in named}) == 1 else ()


def _is_of(report: LinkReport, row: Mapping[str, Any]) -> bool:
    """Whether a record names the report's account and post, as far as it names any."""
    named = [("account_id", report.account_id), ("post_id", report.request_id), ("request_id", report.request_id)]
    if not report.account_id:
        named.append(("domain", report.domain))
    return all(
        not own or row.get(name) in (None, "") or str(row[name]).strip().casefold() == own.strip().casefold()
        for name, own in named
    )
