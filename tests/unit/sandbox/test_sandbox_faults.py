"""Each kind of fault, as a client sees it and as the manager does."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from likepion_provider.sandbox.contract import API
from likepion_provider.sandbox.faults import KINDS, Faults
from likepion_provider.sandbox.server import Sandbox
from tests.unit.sandbox.conftest import KEY, Caller


async def pull(sandbox: Sandbox) -> tuple[int, str, Any]:
    """A pull on a connection of its own: a reset on a kept one would be sent again by the client."""
    url = f"{sandbox.manager_url}{API}/links?type=secondary&limit=4"
    async with aiohttp.ClientSession() as client, client.get(url, headers=KEY) as answer:
        return answer.status, await answer.text(), answer.headers


async def insert(sandbox: Sandbox) -> tuple[int, str]:
    account, post = sandbox.world.accounts[0], sandbox.world.posts[0]
    item = {"request_id": post.request_id, "account_id": account.account_id, "link_post": "http://1,http://2"}
    url = f"{sandbox.manager_url}{API}/links/insert"
    async with aiohttp.ClientSession() as client, client.post(url, headers=KEY, json=item) as answer:
        return answer.status, await answer.text()


def claimed(sandbox: Sandbox) -> int:
    return len(sandbox.manager.holders())


async def test_an_error_status_takes_the_requests_place(sandbox: Sandbox) -> None:
    sandbox.faults.add("pull", "status", status=429, retry_after="7")
    sandbox.faults.add("pull", "status", status=429)
    sandbox.faults.add("pull", "status")
    status, body, headers = await pull(sandbox)
    assert (status, headers["Retry-After"], json.loads(body)["success"]) == (429, "7", False)
    status, _, headers = await pull(sandbox)
    assert status == 429
    assert "Retry-After" not in headers
    assert (await pull(sandbox))[0] == 500
    assert claimed(sandbox) == 0
    assert (await pull(sandbox))[0] == 200


async def test_an_error_status_may_come_after_the_effect(sandbox: Sandbox) -> None:
    sandbox.faults.add("insert", "status", status=502, after_effect=True)
    assert (await insert(sandbox))[0] == 502
    assert len(sandbox.manager.rows) == 2


async def test_a_fault_may_be_about_one_account(sandbox: Sandbox) -> None:
    first, second = (account.account_id for account in sandbox.world.accounts[:2])
    sandbox.faults.add("insert", "status", about=second)
    assert (await insert(sandbox))[0] == 200, "it is about the other"
    sandbox.faults.add("insert", "status", about=first, status=503)
    assert (await insert(sandbox))[0] == 503
    assert [fault.about for fault in sandbox.faults.waiting] == [second]


async def test_success_false(sandbox: Sandbox) -> None:
    sandbox.faults.add("pull", "success_false")
    status, body, _ = await pull(sandbox)
    assert (status, json.loads(body)["success"], claimed(sandbox)) == (200, False, 0)


async def test_html(sandbox: Sandbox) -> None:
    sandbox.faults.add("pull", "html", status=503)
    sandbox.faults.add("pull", "html")
    status, body, headers = await pull(sandbox)
    assert (status, headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert body.startswith("<!doctype html>")
    assert (await pull(sandbox))[0] == 200


@pytest.mark.parametrize(("fields", "status"), [({}, 302), ({"status": 301}, 301)])
async def test_a_redirect(sandbox: Sandbox, client: aiohttp.ClientSession, fields: Any, status: int) -> None:
    sandbox.faults.add("pull", "redirect", location="https://elsewhere.example/x", **fields)
    url = f"{sandbox.manager_url}{API}/links?type=secondary"
    async with client.get(url, headers=KEY, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (status, "https://elsewhere.example/x")
    assert claimed(sandbox) == 0
    sandbox.faults.add("pull", "redirect", after_effect=True)
    async with client.get(url, headers=KEY, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/sign-in")
    assert claimed(sandbox) == 5


async def test_a_lost_request_has_no_effect(sandbox: Sandbox) -> None:
    sandbox.faults.add("insert", "lose_request")
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await insert(sandbox)
    assert sandbox.manager.rows == []


async def test_a_lost_answer_has_its_effect(sandbox: Sandbox) -> None:
    sandbox.faults.add("insert", "lose_answer")
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await insert(sandbox)
    assert len(sandbox.manager.rows) == 2


async def test_a_delay_gives_the_right_answer_late(sandbox: Sandbox) -> None:
    sandbox.faults.add("pull", "delay", delay_s=0.2)
    before = time.monotonic()
    status, body, _ = await pull(sandbox)
    assert time.monotonic() - before >= 0.2
    assert (status, len(json.loads(body)["data"])) == (200, 4)


@pytest.mark.parametrize(("after_effect", "rows"), [(False, 0), (True, 2)])
async def test_a_delay_comes_before_or_after_the_effect(sandbox: Sandbox, after_effect: bool, rows: int) -> None:
    sandbox.faults.add("insert", "delay", delay_s=30, after_effect=after_effect)
    account, post = sandbox.world.accounts[0], sandbox.world.posts[0]
    item = {"request_id": post.request_id, "account_id": account.account_id, "link_post": "http://1,http://2"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as client:
        with pytest.raises(asyncio.TimeoutError):
            await client.post(f"{sandbox.manager_url}{API}/links/insert", headers=KEY, json=item)
    assert len(sandbox.manager.rows) == rows


async def test_truncated_json_is_a_whole_http_answer(sandbox: Sandbox) -> None:
    sandbox.faults.add("pull", "truncated_json")
    status, body, _ = await pull(sandbox)
    assert status == 200
    assert body.startswith('{"success": true')
    with pytest.raises(ValueError, match=r"."):
        json.loads(body)
    assert claimed(sandbox) == 4


async def test_a_cut_answer_ends_in_the_middle(sandbox: Sandbox) -> None:
    sandbox.faults.add("pull", "cut")
    with pytest.raises(aiohttp.ClientPayloadError):
        await pull(sandbox)
    assert claimed(sandbox) == 4


async def test_wrong_types(sandbox: Sandbox) -> None:
    sandbox.faults.add("pull", "wrong_types")
    assert json.loads((await pull(sandbox))[1]) == {"success": True, "data": "sandbox"}


async def test_dropped_results(sandbox: Sandbox) -> None:
    sandbox.faults.add("insert", "drop_results")
    answer = json.loads((await insert(sandbox))[1])
    assert (answer["count"], len(answer["results"]), len(sandbox.manager.rows)) == (2, 1, 2)


async def test_what_the_contract_warns_of(sandbox: Sandbox) -> None:
    for kind in ("numbers_as_strings", "extra_fields", "null_optionals"):
        sandbox.faults.add("pull", kind)
        sandbox.manager.clock.advance(900)
    sandbox.manager.set_link_rss(sandbox.world.posts[0].request_id, "")
    task = json.loads((await pull(sandbox))[1])["data"][0]
    assert (task["target"], task["accounts_remaining"]) == ("22", "8")
    sandbox.manager.clock.advance(900)
    answer = json.loads((await pull(sandbox))[1])
    assert answer["x_sandbox_extra"]
    assert answer["data"][0]["x_sandbox_extra"]
    sandbox.manager.clock.advance(900)
    task = json.loads((await pull(sandbox))[1])["data"][0]
    assert task["link_rss"] is None
    assert task["target"] == 22


async def test_a_struck_site_answer_keeps_its_cookies(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    account = sandbox.site.accounts[0]
    client.cookie_jar.update_cookies({"session": sandbox.site.open_session(account)})
    sandbox.faults.add("site.imports", "truncated_json")
    async with client.get(f"{sandbox.site_url}/{account.domain}/api/imports") as answer:
        assert answer.cookies["session"].value == sandbox.site.issued[-1]


async def test_a_redirect_and_a_404_can_be_lost(sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
    sandbox.faults.add("feed.rss", "delay")
    async with client.get(f"{sandbox.feeds_url}/none/feed.xml") as answer:
        assert answer.status == 404
    assert sandbox.faults.hits == {("feed.rss", "delay"): 1}


class TestWhichRequestIsStruck:
    def struck(self, faults: Faults, endpoint: str, times: int) -> list[bool]:
        return [faults.take(endpoint) is not None for _ in range(times)]

    def test_times_and_skip_count_matching_requests(self) -> None:
        faults = Faults()
        faults.add("pull", "status", skip=1, times=2)
        assert self.struck(faults, "claim", 3) == [False] * 3
        assert self.struck(faults, "pull", 5) == [False, True, True, False, False]
        assert faults.waiting == []
        assert faults.hits == {("pull", "status"): 2}

    def test_without_end(self) -> None:
        faults = Faults()
        faults.add("site.*", "status", times=None)
        assert all(self.struck(faults, "site.login", 50))
        assert self.struck(faults, "pull", 1) == [False]
        faults.clear()
        assert self.struck(faults, "site.login", 1) == [False]

    def test_the_oldest_strikes_first(self) -> None:
        faults = Faults()
        for kind in ("status", "html"):
            faults.add("*", kind)
        assert [fault.kind for fault in (faults.take("pull"), faults.take("pull")) if fault] == ["status", "html"]

    def test_a_probability_is_the_same_for_the_same_seed(self) -> None:
        seen = []
        for seed in (1, 1, 2):
            faults = Faults()
            faults.reseed(seed)
            faults.add("pull", "status", times=None, probability=0.3)
            seen.append(self.struck(faults, "pull", 200))
        assert seen[0] == seen[1] != seen[2]
        assert 30 < sum(seen[0]) < 90

    @pytest.mark.parametrize(
        ("endpoint", "kind", "fields"),
        [
            ("pul", "status", {}),
            ("pull", "stauts", {}),
            ("pull", "status", {"times": 0}),
            ("pull", "status", {"skip": -1}),
            ("pull", "status", {"probability": 1.1}),
            ("pull", "status", {"status": 99}),
            ("pull", "status", {"delay_s": -1}),
            ("pull", "status", {"nonsense": 1}),
        ],
    )
    def test_what_cannot_strike_is_refused(self, endpoint: str, kind: str, fields: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"."):
            Faults().add(endpoint, kind, **fields)


class TestOverHttp:
    async def test_added_struck_listed_and_cleared(self, sandbox: Sandbox, call: Caller) -> None:
        one = {"endpoint": "pull", "kind": "status", "status": 503}
        assert (await call("POST", "/sandbox/faults", json=one))[0] == 200
        more = {"seed": 3, "faults": [{"endpoint": "claim", "kind": kind} for kind in KINDS]}
        _, answer = await call("POST", "/sandbox/faults", json=more)
        assert len(answer["waiting"]) == 1 + len(KINDS)
        assert (await pull(sandbox))[0] == 503
        _, answer = await call("GET", "/sandbox/faults")
        assert answer["hits"] == [{"endpoint": "pull", "kind": "status", "count": 1}]
        _, answer = await call("DELETE", "/sandbox/faults")
        assert answer["waiting"] == []

    @pytest.mark.parametrize(
        "body", ["no JSON", "[]", "3", '{"endpoint": "pull"}', '{"seed": "x"}', '{"faults": [{"endpoint": "x"}]}', "{}"]
    )
    async def test_nonsense_is_400(self, sandbox: Sandbox, call: Caller, body: str) -> None:
        status, answer = await call("POST", "/sandbox/faults", data=body)
        assert (status, answer["success"]) == (400, False)
        assert sandbox.faults.waiting == []
