"""The vendors' own clients work with the servers that importers are tested with: these are like the vendors'."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from likepion_provider.platforms import registry
from likepion_provider.testing.server import FEED_TITLE, PlatformServer, opened

from . import listennotes, podcastindex, spotify


async def test_listen_notes_own_client() -> None:
    podcast_api = pytest.importorskip("listennotes.podcast_api", reason="needs podcast-api, Listen Notes' own client")
    async with opened(registry().platforms["listennotes"], listennotes) as case:
        client = podcast_api.Client(api_key=listennotes.KEY)
        client.api_base = f"{case.server.url}/api/v2"

        async def call(name: str, **fields: Any) -> dict[str, Any]:
            answer = await asyncio.to_thread(getattr(client, name), **fields)
            return dict(answer.json())

        assert (await call("submit_podcast", rss=case.server.feed_url))["status"] == "in review"
        found = await call("submit_podcast", rss=case.server.feed_url)
        assert (found["status"], found["podcast"]["id"]) == ("found", listennotes.SHOW_ID)
        shows = await call("batch_fetch_podcasts", rsses=case.server.feed_url)
        assert [each["rss"] for each in shows["podcasts"]] == [case.server.feed_url]
        show = await call("fetch_podcast_by_id", id=listennotes.SHOW_ID, sort="recent_first")
        assert [each["listennotes_url"] for each in show["episodes"]] == case.server.expected()

        listennotes_errors = pytest.importorskip("listennotes.errors")
        case.server.spent = True  # type: ignore[attr-defined]
        with pytest.raises(listennotes_errors.RateLimitError):
            await call("submit_podcast", rss=case.server.feed_url)
        case.server.spent, case.server.auth_ok = False, False  # type: ignore[attr-defined]
        with pytest.raises(listennotes_errors.AuthenticationError):
            await call("submit_podcast", rss=case.server.feed_url)


async def test_podcast_index_client() -> None:
    client_of = pytest.importorskip("podcastindex", reason="needs python-podcastindex, a client of Podcast Index")
    async with opened(registry().platforms["podcastindex"], podcastindex) as case:
        await case.bring_in()
        client = client_of.init({"api_key": podcastindex.KEY, "api_secret": podcastindex.SECRET})
        client.base_url = f"{case.server.url}/api/1.0"
        for listed in (
            await asyncio.to_thread(client.episodesByFeedUrl, case.server.feed_url),
            await asyncio.to_thread(client.episodesByFeedId, podcastindex.FEED_ID),
        ):
            assert [each["guid"] for each in listed["items"]] == [each.guid for each in case.server.listed]
        case.server.unread = case.server.listed[:1]
        noticed = await asyncio.to_thread(client.pubNotifyUpdate, podcastindex.FEED_ID)
        assert (noticed["status"], case.server.unread) == ("true", [])


async def test_spotify_client(monkeypatch: pytest.MonkeyPatch) -> None:
    spotipy = pytest.importorskip("spotipy", reason="needs spotipy, a client of Spotify's Web API")
    async with opened(registry().platforms["spotify"], spotify) as case:
        case.server.already_there = True
        found = await asyncio.to_thread(_by_spotipy, spotipy, case.server, monkeypatch)
    assert found == case.server.expected()


def _by_spotipy(spotipy: Any, server: PlatformServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    credentials = spotipy.oauth2.SpotifyClientCredentials(
        client_id=spotify.CLIENT, client_secret=spotify.SECRET, cache_handler=spotipy.cache_handler.MemoryCacheHandler()
    )
    monkeypatch.setattr(credentials, "OAUTH_TOKEN_URL", f"{server.url}/api/token")
    client = spotipy.Spotify(auth_manager=credentials)
    client.prefix = f"{server.url}/v1/"
    shows = client.search(FEED_TITLE, limit=10, type="show", market="US")["shows"]["items"]
    (show,) = filter(None, shows)
    page = client.show_episodes(show["id"], limit=50, market="US")
    return [each["external_urls"]["spotify"] for each in page["items"]]
