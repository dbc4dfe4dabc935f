"""The feeds: what a reader finds in them, and that their audio is audio."""

from __future__ import annotations

import io
import wave
import xml.etree.ElementTree as ET

import aiohttp
import feedparser
import pytest

from likepion_provider.sandbox.feeds import Podcast, rss, tone
from likepion_provider.sandbox.server import Sandbox


async def test_a_feed_says_what_feeds_say(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    async with client.get(sandbox.feed_url(sandbox.world.posts[0].request_id)) as answer:
        assert (answer.status, answer.content_type) == (200, "application/rss+xml")
        body = await answer.read()
    feed = feedparser.parse(io.BytesIO(body))
    assert not feed.bozo
    assert (feed.feed.title, feed.feed.podcast_guid, feed.feed.language) == (
        "Tide Tables",
        feed.feed.podcast_guid,
        "en",
    )
    assert len(feed.feed.podcast_guid) == 36
    assert [entry.id for entry in feed.entries[:2]] == ["podcast-1-0025", "podcast-1-0024"]
    assert len({entry.id for entry in feed.entries}) == len(feed.entries) == 25
    assert feed.entries[0].published_parsed > feed.entries[1].published_parsed
    assert feed.entries[0].itunes_duration == "1"


async def test_its_enclosures_are_audio_of_the_length_it_says(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    async with client.get(sandbox.feed_url(sandbox.world.posts[1].request_id)) as answer:
        enclosures = [item.find("enclosure") for item in ET.fromstring(await answer.read()).iter("item")]
    assert len(enclosures) == 5
    sounds = set()
    for enclosure in enclosures:
        assert enclosure is not None
        async with client.get(enclosure.get("url", "")) as answer:
            assert (answer.status, answer.content_type) == (200, enclosure.get("type"))
            sound = await answer.read()
        assert len(sound) == int(enclosure.get("length", "0"))
        sounds.add(sound)
        with wave.open(io.BytesIO(sound)) as audio:
            assert audio.getnframes() / audio.getframerate() == 1.0
    assert len(sounds) == 5


def test_a_tone_is_not_silence() -> None:
    assert len(set(tone(1)[44:])) > 50


@pytest.mark.parametrize("locked", [True, False])
def test_locked_is_said_with_its_owner(locked: bool) -> None:
    feed = ET.fromstring(rss(Podcast("p", "P", locked=locked, owner_email="me@p.example"), "http://h"))
    found = feed.find("channel/{https://podcastindex.org/namespace/1.0}locked")
    assert found is not None
    assert (found.text, found.get("owner")) == ("yes" if locked else "no", "me@p.example")


def test_titles_are_escaped() -> None:
    feed = ET.fromstring(rss(Podcast("p", "A & <B>", episodes=1), "http://h"))
    assert feed.findtext("channel/title") == "A & <B>"


async def test_an_unchanged_feed_is_304(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    post = sandbox.world.posts[0]
    url = sandbox.feed_url(post.request_id)
    async with client.get(url) as answer:
        validators = {"If-None-Match": answer.headers["ETag"], "If-Modified-Since": answer.headers["Last-Modified"]}
    for name, value in validators.items():
        async with client.get(url, headers={name: value}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
    post.podcast.episodes += 1
    for name, value in validators.items():
        async with client.get(url, headers={name: value}) as answer:
            assert answer.status == 200


async def test_a_private_feed_needs_its_token(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    podcast = sandbox.world.posts[0].podcast
    for query, status in (("", 403), ("?token=wrong", 403), (f"?token={podcast.token}&x=1", 200)):
        async with client.get(f"{sandbox.feeds_url}/{podcast.slug}/feed.xml{query}") as answer:
            assert answer.status == status
    sandbox.feeds.add(Podcast("open", "Open"))
    async with client.get(f"{sandbox.feeds_url}/open/feed.xml") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["none/feed.xml", "podcast-1/audio/26.wav", "podcast-1/audio/0.wav", "none/cover.svg"])
async def test_what_is_not_there_is_404(sandbox: Sandbox, client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(f"{sandbox.feeds_url}/{path}") as answer:
        assert answer.status == 404


async def test_a_removed_podcast_is_404(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.feeds.remove("podcast-1")
    async with client.get(sandbox.feed_url(sandbox.world.posts[0].request_id)) as answer:
        assert answer.status == 404


async def test_the_cover_is_a_picture(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{sandbox.feeds_url}/podcast-1/cover.svg") as answer:
        assert ET.fromstring(await answer.text()).tag.endswith("svg")
