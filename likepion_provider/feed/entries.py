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

from likepion_provider.errors import FeedInvalid
from likepion_provider.feed.cut import Slice
from likepion_provider.feed.walk import Channel
from likepion_provider.models import Enclosure, Episode, Feed
from likepion_provider.web.redact import redact

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_YES = frozenset({"yes", "true", "explicit", "1"})
_MAX_TEXT = 2000


@dataclasses.dataclass(frozen=True)
class Document:
    """One document of a feed, parsed."""

    #: The feed's own values; :attr:`Feed.episodes` is left empty.
    feed: Feed
    #: In the document's order, duplicates folded.
    episodes: tuple[Episode, ...]
    #: Whether the document is a feed of any known kind.
    known: bool
    #: Whether the document's end has been read.
    complete: bool
    #: Absolute http(s) URL of the page that follows (RFC 5005); empty where there is none.
    next_page: str = dataclasses.field(default="", repr=False)


def parse(piece: Slice, *, url: str, charset: str = "") -> Document:
    """Parse a slice; CPU-bound.

    :param piece: of the feed's document.
    :param url: the document's final address, which relative links are joined to.
    :param charset: as HTTP announced it; empty where it did not.
    :raises FeedInvalid: it is so broken that feedparser stumbles.
    """
    # Here, since importing feedparser takes longer than anything else that a DAG file may touch.
    import feedparser

    charset = piece.charset or charset
    kind = f"application/xml; charset={charset}" if charset else "application/xml"
    try:
        parsed = feedparser.parse(
            BytesIO(piece.data),
            # No content-location: feedparser would resolve a guid such as "28" against it, and rename the episode with
            # the feed's address. Links are joined here instead.
            response_headers={"content-type": kind},
            # Nothing here shows HTML, and a style of 100 KB would cost a minute of sanitizing.
            sanitize_html=False,
            resolve_relative_uris=False,
        )
    except Exception as error:  # noqa: BLE001 - feedparser stumbles in many ways: "</width>" alone is a TypeError
        shown, remedy = redact(url), "Correct the feed's XML at its host; a feed validator shows where it is broken."
        message = f"the feed {shown} cannot be parsed ({type(error).__name__})"
        raise FeedInvalid(message, url=shown, where="document", remedy=remedy) from None
    return Document(
        feed=_feed(parsed.feed, piece.channel, url),
        episodes=fold(_episode(entry, url) for entry in parsed.entries),
        known=bool(parsed.get("version") or parsed.entries),
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


def _feed(fields: Any, channel: Channel, url: str) -> Feed:
    locked = (channel.locked or _text(fields.get("podcast_locked"))).lower()
    return Feed(
        url=url,
        display_url="",
        title=channel.title or _text(fields.get("title")),
        episodes=(),
        locked=locked in _YES,
        locked_owner=channel.locked_owner,
        new_feed_url=safe_url(_text(fields.get("itunes_new-feed-url")), url),
        author=_text(fields.get("author")),
    )


def _episode(entry: Any, url: str) -> Episode:
    enclosure = _enclosure(entry, url)
    title = _text(entry.get("title"))
    link = _text(entry.get("link"))
    # feedparser makes a link of a guid that does not deny to be one; joined to the feed's address it leads nowhere.
    link = "" if entry.get("guidislink") and "://" not in link else safe_url(link, url)
    return Episode(
        guid=_text(entry.get("id")) or " ".join(part for part in (enclosure.url if enclosure else link, title) if part),
        title=title,
        enclosure=enclosure,
        published_at=_published(entry),
    )


def _enclosure(entry: Any, url: str) -> Enclosure | None:
    """The first enclosure with a usable address; audio and video go before all else (a cover may stand first)."""
    first = None
    for link in entry.get("links", ()):
        address = safe_url(_text(link.get("href")), url) if link.get("rel") == "enclosure" else ""
        if address and _text(link.get("type")).startswith(("audio/", "video/")):
            return Enclosure(address)
        first = first or address
    return Enclosure(first) if first else None


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
