"""Every trick of a hostile platform, over every importer and over recipes; and every rule has been red."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from likepion_provider.platforms import Job, Page, PlatformHttp, Progress, registry
from likepion_provider.platforms.importers.sandbox_site import SandboxSite
from likepion_provider.testing import hostile
from likepion_provider.testing.server import CANARY
from likepion_provider.web.visit import Visit, VisitLimits
from tests.recipes import FOLDER

from . import module_of, sandbox_site
from .test_contract import _name


@pytest.mark.parametrize("rule", hostile.RULES, ids=_name)
@pytest.mark.parametrize("name", sorted(registry(FOLDER).platforms))
async def test_rule(name: str, rule: hostile.Rule) -> None:
    await rule(registry(FOLDER).platforms[name], module_of(name))


class RecklessHttp(PlatformHttp):
    """A library as it comes: its redirects with every header, any address, no bound, its own errors. Keeps UTF-8."""

    async def _send(self, request: Any, *, follows: bool) -> Page:
        options = dict(request.options)
        headers = {"X-Key": f"{CANARY}key", "Cookie": self._cookies.header(request.url)}
        headers |= dict(options.pop("headers", None) or {})
        async with aiohttp.ClientSession() as session:
            async with session.request(
                request.method, request.url, headers=headers, allow_redirects=follows, **options
            ) as answer:
                self._cookies.take(request.url, answer.headers.getall("Set-Cookie", ()))
                lowered = {name.lower(): value for name, value in answer.headers.items()}
                body = await answer.read()
                if answer.content_type == "application/json":
                    json.dumps(json.loads(body), ensure_ascii=False).encode()
                return Page(self.platform, str(answer.url), answer.status, lowered, body)


class Reckless(SandboxSite):
    """Talks to its site without the gate, and opens what it lists."""

    async def submit(self, job: Job) -> Progress:
        return await super().submit(_reckless(job))

    async def collect(self, job: Job) -> Progress:
        seen = await super().collect(_reckless(job))
        for each in seen.episodes[:1]:
            await job.http.get(each.url)
        return seen


def _reckless(job: Job) -> Job:
    job.http.__class__ = RecklessHttp
    job.http.visit = Visit("reckless", VisitLimits(seconds=600, requests=10**9, pages=10**9))
    return job


@pytest.mark.parametrize("rule", hostile.RULES, ids=_name)
async def test_rule_catches(rule: hostile.Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "DEADLINE_S", 4.0)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a rule, or what nothing has named
        await rule(Reckless(), sandbox_site)
    assert not isinstance(caught.value, pytest.skip.Exception)
