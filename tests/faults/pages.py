"""Answers that no platform should give: those of each importer's own server, changed at random on their way.

Every one must come out as a named error or as a result, the loop must go on meanwhile, and every run must end.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import traceback
from collections import Counter
from types import ModuleType

from aiohttp import web

from likepion_provider.errors import LikepionError, Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import Platform, match, registry
from likepion_provider.platforms.importers.audiobookshelf import Audiobookshelf
from likepion_provider.testing.server import Case, PlatformServer, opened
from tests.contract.platforms import module_of
from tests.faults.fuzz import changed
from tests.recipes import FOLDER

#: A run that has asked for more is told to come back: importers must not depend on an end.
MAX_REQUESTS = 60
RUN_S = 20.0
_STATUSES = (200, 201, 202, 204, 301, 302, 303, 304, 307, 400, 401, 403, 404, 405, 409, 410, 418, 422, 429, 500, 503)
_JUNK = ("", "-1", "9" * 5000, "1e999", "http://[", "//", "http://a:b/", "é", "?", "\t", ";=;", "a" * 9000, "/a/b/")
_HEADERS = ("Location", "X-WP-TotalPages", "Retry-After", "Content-Type", "Set-Cookie", "Link", "Content-Language")
_BODIES = (b"", b"null", b"[]", b"{}", b"7", b'"x"', b"\xff\xfe\x00", b"[" * 20_000, b'{"a":' * 9000, b"{}," * 20_000)
_TAGS = ("<a ", '<a "', "</form>", "<input name=", "<li>", "<!--")
_PIECES = (*"<>\"'&=/\0", *_TAGS, "&#xd800;", "&#" + "9" * 5000 + ";")


def platforms() -> dict[str, Platform]:
    """Every importer, those of the recipes here too."""
    return dict(registry(FOLDER).platforms)


class Spoiler:
    """Changes some of a server's answers; counts them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.spoiled = 0
        self._often = rng.choice((0.15, 0.3, 0.6, 1.0))

    def __call__(self, answer: web.StreamResponse) -> web.StreamResponse:
        """The answer, or what becomes of it."""
        if not isinstance(answer, web.Response) or self.rng.random() > self._often:
            return answer
        self.spoiled += 1
        body = answer.body if isinstance(answer.body, bytes) else b""
        headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        status, how = answer.status, self.rng.random()
        if how < 0.75:
            body = self._body(body)
        if how > 0.65:
            status = self.rng.choice(_STATUSES)
        if how > 0.9 or self.rng.random() < 0.1:
            header = self.rng.choice([*_HEADERS, *headers])
            value = self.rng.choice((*_JUNK, headers.get(header, "")[:-3]))
            headers[header] = value.replace("\t", "") if header == "Content-Type" else value
        return web.Response(status=status, body=body, headers=headers)

    def _body(self, body: bytes) -> bytes:
        how = self.rng.random()
        if how < 0.06:
            return self.rng.choice(_BODIES)
        if how < 0.12:
            return body[: self.rng.randrange(len(body) + 1)]
        if how < 0.18 and body:
            where = self.rng.randrange(len(body))
            return body[:where] + self.rng.randbytes(3) + body[where + 3 :]
        try:
            value = json.loads(body)
        except ValueError:
            return self._html(body.decode(errors="replace")).encode()
        for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
            value = changed(value, self.rng)
        return json.dumps(value).encode()

    def _html(self, text: str) -> str:
        for _ in range(self.rng.choice((1, 1, 2, 5))):
            tags = text.split("<")
            where = self.rng.randrange(len(tags))
            piece = self.rng.choice((*_PIECES, *_JUNK))
            how = self.rng.random()
            if how < 0.3:
                del tags[where]
            elif how < 0.5:
                tags.insert(where, tags[where])
            elif how < 0.75 and '="' in tags[where]:
                before, _, after = tags[where].partition('="')
                tags[where] = f'{before}="{piece}"{after.partition(chr(34))[2]}'
            else:
                cut = self.rng.randrange(len(tags[where]) + 1)
                tags[where] = tags[where][:cut] + piece + tags[where][cut:]
            text = "<".join(tags)
        return text


async def _story(case: Case) -> str:
    """What a run and the next ones do; what it comes to."""
    case.server.already_there = case.server.by_hand
    progress = await case.platform.submit(case.job())
    for reference in (progress.reference, ""):
        progress = await case.platform.collect(case.job(reference))
        assert isinstance(progress.state, ImportState)
        assert isinstance(progress.reference, str)
        for episode, listed in match(case.server.feed(), progress.episodes, 1000):
            assert isinstance(listed.url, str)
            assert episode in case.server.feed().episodes
    return progress.state.value


async def _run(platform: Platform, module: ModuleType, rng: random.Random) -> tuple[int, str]:
    """One run; how many answers were changed, and what came out."""
    spoiler = Spoiler(rng)
    async with opened(platform, module) as case:
        case.server.spoil = _bounded(spoiler, case.server)
        try:
            outcome = await asyncio.wait_for(_story(case), RUN_S)
        except LikepionError as error:
            outcome = type(error).__name__
            _check(error, case)
    return spoiler.spoiled, outcome


def _bounded(spoiler: Spoiler, server: PlatformServer):  # type: ignore[no-untyped-def]
    def spoil(answer: web.StreamResponse) -> web.StreamResponse:
        return spoiler(answer) if len(server.requests) < MAX_REQUESTS else web.Response(status=503)

    return spoil


def _check(error: LikepionError, case: Case) -> None:
    secrets = {*case.credentials.secrets(), case.settings.password, case.server.feed_url} - {""}
    assert not [each for each in secrets if each in error.advice], "a secret is shown"
    assert len(error.advice) < 2000
    error.advice.encode()
    assert isinstance(error, Transient) or error.remedy


async def campaign(name: str, answers: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run an importer until so many of its server's answers were changed.

    :return: how often what came out; and what had no name, with the seed of each.
    """
    platform, module = platforms()[name], module_of(name)
    if isinstance(platform, Audiobookshelf):
        platform.first_download_s = (0.001,) * 3  # type: ignore[misc]
    outcomes: Counter[str] = Counter()
    unnamed: dict[str, str] = {}
    spoiled, number, late_s = 0, 0, 0.0
    while spoiled < answers:
        rng = random.Random(f"{seed} {name} {number}")
        began_s = time.thread_time()
        try:
            count, outcome = await _run(platform, module, rng)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)
            frame = next((each for each in reversed(where) if "likepion_provider" in each.filename), where[-1])
            what = f"{type(error).__name__}: {str(error)[:100]} at {frame.filename.rpartition('/')[2]}:{frame.lineno}"
            unnamed.setdefault(what.partition(" at ")[2] + type(error).__name__, f"run {number} of seed {seed}: {what}")
            count, outcome = 1, "UNNAMED"
        late_s = max(late_s, time.thread_time() - began_s)
        spoiled, number = spoiled + count, number + 1
        outcomes[outcome] += 1
    outcomes["answers"] = spoiled
    outcomes["most CPU of a run, ms"] = int(late_s * 1000)
    return outcomes, list(unnamed.values())
