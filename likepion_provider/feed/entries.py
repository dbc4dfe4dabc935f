"""feedparser's dictionaries, and what it lost, as plain values."""

from __future__ import annotations

from io import BytesIO
from typing import Any, TypedDict

from likepion_provider.feed.links import choose_file, safe_url
from likepion_provider.feed.walk import timestamp

_YES = frozenset({"yes", "true", "explicit", "1"})
#: Characters of a text that is only shown.
_MAX_SHOWN = 2000


class Fields(TypedDict):
    """A feed's own values."""

    title: str
    author: str
    locked: bool
    locked_owner: str
    new_feed_url: str


class Entry(TypedDict):
    """One episode, with its file's address and its date in seconds since 1970."""

    guid: str
    title: str
    url: str
    published: float | None
    #: What it is sorted by: its own date, or that of the episode beside it; None where none is dated.
    rank: float | None


class Parsed(TypedDict):
    """What feedparser found."""

    fields: Fields
    entries: list[Entry]
    #: Whether it is a feed of any known kind.
    known: bool
    #: The page that follows (RFC 5005), as an absolute http(s) URL; empty where there is none.
    next_page: str


def parse(data: bytes, *, url: str, charset: str, channel: dict[str, str]) -> Parsed:
    """Read a whole document with feedparser.

    :param url: the document's address, which relative links are joined to.
    :param charset: as HTTP announced it; empty where it did not.
    :param channel: texts of the channel that feedparser loses.
    """
    import feedparser

    parsed = feedparser.parse(
        BytesIO(data),
        # No content-location: feedparser would resolve a guid such as "28" against it, and rename the episode with the
        # feed's address. Links are joined here instead.
        response_headers={"content-type": "application/xml" + (f"; charset={charset}" if charset else "")},
        # Nothing here shows HTML, and a style of 100 KB would cost a minute of sanitizing.
        sanitize_html=False,
        resolve_relative_uris=False,
    )
    entries = [_entry(entry, url) for entry in parsed.entries]
    return Parsed(
        fields=_fields(parsed.feed, channel, url),
        entries=entries,
        known=bool(parsed.get("version") or entries),
        next_page=_next_page(parsed.feed, url),
    )


def _fields(feed: Any, channel: dict[str, str], url: str) -> Fields:
    locked = (channel.get("locked") or _text(feed.get("podcast_locked"))).lower()
    return Fields(
        # feedparser takes the title of a podcast:liveItem for the channel's.
        title=(channel.get("title") or _text(feed.get("title")))[:_MAX_SHOWN],
        author=_text(feed.get("author"))[:_MAX_SHOWN],
        locked=locked in _YES,
        locked_owner=channel.get("owner", "")[:_MAX_SHOWN],
        new_feed_url=safe_url(_text(feed.get("itunes_new-feed-url")), url),
    )


def _entry(entry: Any, url: str) -> Entry:
    links = (link for link in entry.get("links", ()) if link.get("rel") == "enclosure")
    file = choose_file(((_text(link.get("href")), _text(link.get("type"))) for link in links), url)
    title = _text(entry.get("title"))
    # Not by .get(): feedparser answers one date's key with the other's value and warns about it.
    published = timestamp(dict.get(entry, name) for name in ("published_parsed", "updated_parsed"))
    guid = _text(entry.get("id")) or f"{file} {title}".strip()
    return Entry(guid=guid, title=title[:_MAX_SHOWN], url=file, published=published, rank=published)


def _next_page(feed: Any, url: str) -> str:
    for rel in ("next", "prev-archive"):
        for link in feed.get("links", ()):
            if link.get("rel") == rel:
                return safe_url(_text(link.get("href")), url)
    return ""


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
