"""The *primary* sites' side: RSS feeds with real, small audio files, made on the spot.

========================================= =========================================================================
``GET /{slug}/feed.xml[?token=...]``      the feed; 403 without its token where it has one; 404: no such podcast
``GET /{slug}/audio/{number}.wav``        an episode's audio: one second of its own tone; 404: no such one
``GET /{slug}/cover.svg``                 the podcast's picture
========================================= =========================================================================

A feed answers ``If-None-Match`` and ``If-Modified-Since`` with 304. URLs inside it begin with the address that the
request was sent to.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import hashlib
import io
import math
import uuid
import wave
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from html import escape
from urllib.parse import urlencode

from aiohttp import web

from likepion_provider.sandbox.faults import Faults

#: Samples per second of the audio files, which last one second.
RATE_HZ = 8000
_PODCAST_NAMESPACE = uuid.UUID("ead4c236-bf58-58c6-a2c6-a6b28d128cb6")
_FIRST_DAY = datetime(2026, 1, 5, 6, 0, tzinfo=timezone.utc)


@dataclasses.dataclass
class Podcast:
    """A podcast as its primary site publishes it.

    :param slug: its place in the feeds' addresses, e.g. ``tides``.
    :param episodes: how many it has, 0 or more; episode ``n`` appeared ``n - 1`` weeks after the first.
    :param token: what ``?token=`` must be; empty: the feed is open. A secret.
    :param locked: whether the feed says ``podcast:locked``.
    """

    slug: str
    title: str
    episodes: int = 5
    token: str = dataclasses.field(default="", repr=False)
    locked: bool = False
    owner_email: str = "owner@primary.example"
    author: str = "The Sandbox"

    def path(self) -> str:
        """The feed's path and query, token included."""
        return f"/{self.slug}/feed.xml" + (f"?{urlencode({'token': self.token})}" if self.token else "")

    def modified_at(self) -> datetime:
        """When its newest episode appeared, aware UTC."""
        return _published_at(max(self.episodes, 1))

    def guid(self, number: int) -> str:
        """The guid of an episode.

        :param number: the episode's, from 1.
        """
        return f"{self.slug}-{number:04d}"


def _published_at(number: int) -> datetime:
    return _FIRST_DAY + timedelta(weeks=number - 1)


@functools.cache
def tone(number: int) -> bytes:
    """A WAV file: one second of a tone, 8 bit, mono.

    :param number: chooses the pitch.
    """
    pitch_hz = 220 * 2 ** (number % 24 / 12)
    samples = array.array("B", (round(127 + 80 * math.sin(math.tau * pitch_hz * n / RATE_HZ)) for n in range(RATE_HZ)))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(RATE_HZ)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def rss(podcast: Podcast, origin: str) -> str:
    """The podcast's feed, newest episode first.

    :param podcast: what to publish.
    :param origin: the address that the URLs in it begin with, e.g. ``http://127.0.0.1:8080``.
    """
    base = f"{origin}/{podcast.slug}"
    locked = "yes" if podcast.locked else "no"
    items = "".join(_item(podcast, number, base) for number in range(podcast.episodes, 0, -1))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"
 xmlns:podcast="https://podcastindex.org/namespace/1.0" xmlns:atom="http://www.w3.org/2005/Atom">
<channel>
<title>{escape(podcast.title)}</title>
<link>{escape(base)}</link>
<description>{escape(podcast.title)}: a podcast of the sandbox, one second of tone per episode.</description>
<language>en</language>
<itunes:author>{escape(podcast.author)}</itunes:author>
<itunes:owner><itunes:email>{escape(podcast.owner_email)}</itunes:email></itunes:owner>
<itunes:image href="{escape(base)}/cover.svg"/>
<itunes:category text="Technology"/>
<itunes:explicit>false</itunes:explicit>
<podcast:guid>{uuid.uuid5(_PODCAST_NAMESPACE, podcast.slug)}</podcast:guid>
<podcast:locked owner="{escape(podcast.owner_email)}">{locked}</podcast:locked>
{items}</channel>
</rss>
"""


def _item(podcast: Podcast, number: int, base: str) -> str:
    return f"""<item>
<title>{escape(podcast.title)} #{number}</title>
<guid isPermaLink="false">{escape(podcast.guid(number))}</guid>
<link>{escape(base)}/episodes/{number}</link>
<pubDate>{format_datetime(_published_at(number), usegmt=True)}</pubDate>
<description>Episode {number} of {escape(podcast.title)}.</description>
<enclosure url="{escape(base)}/audio/{number}.wav" length="{len(tone(number))}" type="audio/wav"/>
<itunes:duration>1</itunes:duration>
<itunes:episode>{number}</itunes:episode>
<itunes:explicit>false</itunes:explicit>
</item>
"""


class Feeds:
    """The podcasts of all primary sites.

    :param podcasts: what is there at the start.
    """

    def __init__(self, podcasts: Iterable[Podcast] = ()) -> None:
        self._podcasts = {podcast.slug: podcast for podcast in podcasts}

    def add(self, podcast: Podcast) -> None:
        """Publish a podcast, in place of one with its slug; a change of its fields shows at the next request.

        :param podcast: what to publish.
        """
        self._podcasts[podcast.slug] = podcast

    def remove(self, slug: str) -> None:
        """Take a podcast away: its feed and audio are 404 from now on.

        :param slug: which one; must be there.
        """
        del self._podcasts[slug]

    def find(self, slug: str) -> Podcast | None:
        """The podcast with this slug, if any.

        :param slug: see :class:`Podcast`.
        """
        return self._podcasts.get(slug)

    def routes(self) -> list[web.RouteDef]:
        """The routes of the module's docstring."""
        return [
            web.get("/{slug}/feed.xml", self._rss, name="feed.rss"),
            web.get(r"/{slug}/audio/{number:\d{1,6}}.wav", self._audio, name="feed.audio"),
            web.get("/{slug}/cover.svg", self._cover),
        ]

    def _asked(self, request: web.Request) -> Podcast:
        podcast = self.find(request.match_info["slug"])
        if podcast is None:
            raise web.HTTPNotFound(text="no such podcast")
        return podcast

    async def _rss(self, request: web.Request) -> web.Response:
        podcast = self._asked(request)
        if podcast.token and request.query.get("token") != podcast.token:
            raise web.HTTPForbidden(text="this feed needs its token")
        body = rss(podcast, str(request.url.origin())).encode()
        etag = hashlib.sha256(body).hexdigest()[:16]
        answer = web.Response() if _unchanged(request, etag, podcast.modified_at()) else web.Response(body=body)
        if answer.body is None:
            answer.set_status(304)
        else:
            answer.content_type, answer.charset = "application/rss+xml", "utf-8"
        answer.etag, answer.last_modified = etag, podcast.modified_at()
        return answer

    async def _audio(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        if not 1 <= number <= self._asked(request).episodes:
            raise web.HTTPNotFound(text="no such episode")
        return web.Response(body=tone(number), content_type="audio/wav")

    async def _cover(self, request: web.Request) -> web.Response:
        hue = sum(self._asked(request).slug.encode()) % 360
        picture = (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
            f'<rect width="100" height="100" fill="hsl({hue} 60% 40%)"/>'
            '<circle cx="50" cy="50" r="25" fill="#fff"/></svg>'
        )
        return web.Response(text=picture, content_type="image/svg+xml")


def _unchanged(request: web.Request, etag: str, modified_at: datetime) -> bool:
    if request.if_none_match is not None:
        return any(each.value in (etag, "*") for each in request.if_none_match)
    return request.if_modified_since is not None and request.if_modified_since >= modified_at


def feeds_app(feeds: Feeds, faults: Faults) -> web.Application:
    """The feeds behind HTTP; see the module's docstring.

    :param feeds: what is published.
    :param faults: strike the feeds and the audio files.
    """
    app = web.Application(middlewares=[faults.middleware()])
    app.add_routes(feeds.routes())
    return app
