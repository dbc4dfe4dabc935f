"""feedparser's dictionaries, and what it lost, as our values."""

from __future__ import annotations

import calendar
import dataclasses
import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import Any
from urllib.parse import urljoin, urlsplit

from likepion_provider.feed.cut import Slice
from likepion_provider.feed.walk import RawFeed, RawItem
from likepion_provider.models import Enclosure, Episode, Feed, Person, Transcript

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,5}):(\d{1,2})(?:[.,]\d*)?")
_SECONDS = re.compile(r"(\d{1,9})(?:[.,]\d*)?\s*(?:s|sec|secs|seconds)?", re.IGNORECASE)
_YES = frozenset({"yes", "true", "explicit", "1"})
_NO = frozenset({"no", "false", "clean", "0"})
_MAX_TEXT = 2000
_MAX_LENGTH_BYTES = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Page:
    """One document of a feed, read."""

    #: The feed's own values; :attr:`Feed.episodes` is left empty.
    feed: Feed
    #: In the document's order, duplicates folded.
    episodes: tuple[Episode, ...]
    #: Whether the document is a feed of any known kind.
    known: bool
    #: Whether the document's end has been read.
    complete: bool
    #: Absolute http(s) URL of the RFC 5005 page that follows; empty where there is none.
    next_page: str = dataclasses.field(default="", repr=False)


def read_slice(piece: Slice, *, url: str, charset: str = "") -> Page:
    """Parse a slice; CPU-bound.

    :param piece: of the feed's document.
    :param url: the document's final address, which relative links are joined to.
    :param charset: as HTTP announced it; empty where it did not.
    """
    # Here, since importing feedparser takes longer than anything else that a DAG file may touch.
    import feedparser

    charset = piece.charset or charset
    kind = f"application/xml; charset={charset}" if charset else "application/xml"
    parsed = feedparser.parse(
        BytesIO(piece.data),
        # No content-location: feedparser would resolve a guid such as "28" against it, and rename the episode with the
        # feed's address. Links are joined here instead.
        response_headers={"content-type": kind},
        # Nothing here shows HTML, and a style of 100 KB would cost a minute of sanitizing.
        sanitize_html=False,
        resolve_relative_uris=False,
    )
    entries = parsed.entries
    # Where the two parsers count differently nobody knows which raw values belong to which entry.
    raws = piece.items if len(piece.items) == len(entries) else [RawItem()] * len(entries)
    episodes = fold(_episode(entry, raw, url) for entry, raw in zip(entries, raws, strict=True))
    return Page(
        feed=_feed(parsed.feed, piece.feed, url),
        episodes=episodes,
        known=bool(parsed.get("version") or entries),
        complete=piece.complete,
        next_page=_next_page(parsed.feed, url),
    )


def fold(episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    """Leave out repeated episodes; the first of each stays, unless only a later one has an enclosure."""
    unique: dict[str, Episode] = {}
    for episode in episodes:
        first = unique.get(episode.guid)
        if first is None or (first.enclosure is None and episode.enclosure):
            unique[episode.guid] = episode
    return tuple(unique.values())


def _feed(fields: Any, raw: RawFeed, url: str) -> Feed:
    locked = (raw.locked or _text(fields.get("podcast_locked"))).lower()
    return Feed(
        url=url,
        display_url="",
        title=raw.title or _text(fields.get("title")),
        episodes=(),
        podcast_guid=raw.guid or _text(fields.get("podcast_guid")),
        locked=locked in _YES,
        locked_owner=raw.locked_owner,
        new_feed_url=safe_url(_text(fields.get("itunes_new-feed-url")), url),
        image=_image(fields, url),
        language=_text(fields.get("language")),
        author=_text(fields.get("author")),
        explicit=_explicit(raw.explicit, fields),
        persons=_persons(raw.persons, url),
    )


def _episode(entry: Any, raw: RawItem, url: str) -> Episode:
    enclosure = _enclosure(entry, url)
    title = _text(entry.get("title"))
    link = _text(entry.get("link"))
    # feedparser makes a link of a guid that does not deny to be one; joined to the feed's address it leads nowhere.
    link = "" if entry.get("guidislink") and "://" not in link else safe_url(link, url)
    return Episode(
        guid=_text(entry.get("id")) or " ".join(part for part in (enclosure.url if enclosure else link, title) if part),
        title=title,
        enclosure=enclosure,
        link=link,
        published_at=_published(entry),
        duration_s=duration_s(_text(entry.get("itunes_duration"))),
        image=_image(entry, url),
        explicit=_explicit(raw.explicit, entry),
        season=_text(entry.get("itunes_season")) or raw.season or _text(entry.get("podcast_season")),
        episode=_text(entry.get("itunes_episode")) or raw.episode or _text(entry.get("podcast_episode")),
        transcripts=_transcripts(raw.transcripts, url),
        persons=_persons(raw.persons, url),
    )


def _enclosure(entry: Any, url: str) -> Enclosure | None:
    """The first enclosure with a usable address; audio and video go before all else (a cover may stand first)."""
    found: list[Enclosure] = []
    for link in entry.get("links", ()):
        if link.get("rel") != "enclosure":
            continue
        address = safe_url(_text(link.get("href")), url)
        if address:
            found.append(Enclosure(address, _text(link.get("type")), _length_bytes(_text(link.get("length")))))
    media = (enclosure for enclosure in found if enclosure.type.startswith(("audio/", "video/")))
    return next(media, found[0] if found else None)


def _length_bytes(text: str) -> int | None:
    digits = text.replace(",", "")
    length = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
    return length if 0 < length <= _MAX_LENGTH_BYTES else None


def _published(entry: Any) -> datetime | None:
    for key in ("published_parsed", "updated_parsed"):
        # Not by .get(): feedparser answers one date's key with the other's value and warns about it.
        parsed = dict.get(entry, key)
        if parsed:
            try:
                return _EPOCH + timedelta(seconds=calendar.timegm(parsed))
            except (ValueError, OverflowError):
                continue
    return None


def duration_s(text: str) -> int | None:
    """An ``itunes:duration`` in seconds: ``H:MM:SS``, ``M:SS`` or a number; None for 0 and for anything else."""
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return hours * 3600 + minutes * 60 + seconds or None
    number = _SECONDS.fullmatch(text)
    return (int(number[1]) or None) if number else None


def _explicit(raw: str, fields: Any) -> bool | None:
    value = raw.lower()
    if value in _YES:
        return True
    if value in _NO:
        return False
    # feedparser keeps "yes" and "clean" only, which is all there is where the XML was malformed.
    kept: bool | None = fields.get("itunes_explicit")
    return kept


def _image(fields: Any, url: str) -> str:
    image = fields.get("image")
    return safe_url(_text(image.get("href")), url) if hasattr(image, "get") else ""


def _persons(raws: list[dict[str, str]], url: str) -> tuple[Person, ...]:
    return tuple(
        Person(
            name=raw["name"],
            role=raw.get("role", "").lower(),
            group=raw.get("group", "").lower(),
            image=safe_url(raw.get("img", ""), url),
            link=safe_url(raw.get("href", ""), url),
        )
        for raw in raws
        if raw.get("name")
    )


def _transcripts(raws: list[dict[str, str]], url: str) -> tuple[Transcript, ...]:
    found = (
        Transcript(safe_url(raw.get("url", ""), url), raw.get("type", ""), raw.get("language", "")) for raw in raws
    )
    return tuple(transcript for transcript in found if transcript.url)


def _next_page(fields: Any, url: str) -> str:
    for rel in ("next", "prev-archive"):
        for link in fields.get("links", ()):
            if link.get("rel") == rel:
                return safe_url(_text(link.get("href")), url)
    return ""


def safe_url(text: str, base: str) -> str:
    """An absolute http(s) URL, or nothing: feeds also name ``javascript:``, ``file:`` and worse.

    :param text: as the feed writes it, perhaps relative.
    :param base: the document's address.
    """
    text = text.strip()
    if not text or re.search(r"[\x00-\x1f\x7f]", text):
        return ""
    try:
        # Not joined where it has a scheme: "http://" alone would become the base itself.
        joined = text if urlsplit(text).scheme else urljoin(base, text)
        parts = urlsplit(joined)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return ""
    return joined if usable else ""


def _text(value: Any) -> str:
    return value.strip()[:_MAX_TEXT] if isinstance(value, str) else ""
