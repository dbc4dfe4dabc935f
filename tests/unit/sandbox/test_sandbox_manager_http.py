"""The manager behind HTTP: the key, the strictness, and the door for tests."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from likepion_provider.sandbox.contract import API
from likepion_provider.sandbox.server import Sandbox
from tests.unit.sandbox.conftest import KEY, Caller


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": ""}, {"X-API-Key": "kez"}, {"X-API-Key": "k\u00e9y"}])
async def test_a_missing_or_wrong_key_is_401(sandbox: Sandbox, client: aiohttp.ClientSession, headers: Any) -> None:
    for method, path in (("GET", "/links"), ("POST", "/links/insert"), ("POST", "/accounts/claim"), ("GET", "/no")):
        async with client.request(method, sandbox.manager_url + API + path, headers=headers) as answer:
            assert answer.status == 401
            assert (await answer.json())["success"] is False
    assert sandbox.manager.events == []


async def test_the_four_calls(call: Caller) -> None:
    status, pulled = await call("GET", f"{API}/links?type=secondary&limit=3")
    assert (status, pulled["success"], len(pulled["data"])) == (200, True, 3)
    task = pulled["data"][0]
    status, claimed = await call("POST", f"{API}/accounts/claim", json={"account_id": task["id"]})
    assert (status, claimed["claimed"]) == (200, [task["id"]])
    item = {"request_id": task["request_id"], "account_id": task["id"], "link_post": "http://1,http://2"}
    status, inserted = await call("POST", f"{API}/links/insert", json=item)
    assert (status, inserted["inserted"]) == (200, 2)
    status, read = await call("GET", f"{API}/accounts/{task['id']}")
    assert (status, read["data"]["accounts_remaining"]) == (200, task["accounts_remaining"] - 1)


async def test_the_default_limit_is_5(call: Caller) -> None:
    assert len((await call("GET", f"{API}/links?type=secondary"))[1]["data"]) == 5


async def test_without_type_primary_tasks_come_too(call: Caller) -> None:
    _, pulled = await call("GET", f"{API}/links")
    assert [task.get("type") for task in pulled["data"]] == ["primary"] * 3 + [None] * 2


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/links?type=secondary&limit=0", {}),
        ("GET", "/links?type=secondary&limit=1001", {}),
        ("GET", "/links?type=secondary&limit=many", {}),
        ("GET", "/links?type=other", {}),
        ("POST", "/accounts/claim", {"data": "{"}),
        ("POST", "/accounts/claim", {"data": b"\xff"}),
        ("POST", "/accounts/claim", {"json": []}),
        ("POST", "/accounts/claim", {"json": {}}),
        ("POST", "/accounts/claim", {"json": {"account_ids": "a"}}),
        ("POST", "/accounts/claim", {"json": {"account_id": "a", "account_ids": "b"}}),
        ("POST", "/accounts/claim", {"json": {"account_ids": [1]}}),
        ("POST", "/accounts/claim", {"json": {"account_ids": ["a"] * 201}}),
        ("POST", "/links/insert", {"data": "no JSON"}),
        ("POST", "/links/insert", {"json": {"request_id": "x"}}),
    ],
)
async def test_a_bad_request_is_400_with_a_message(call: Caller, method: str, path: str, options: Any) -> None:
    status, answer = await call(method, API + path, **options)
    assert (status, answer["success"]) == (400, False)
    assert answer["message"]


@pytest.mark.parametrize(("path", "status"), [("/accounts/nobody", 404), ("/nothing", 404), ("/links/insert", 405)])
async def test_other_errors_are_json_too(call: Caller, path: str, status: int) -> None:
    found, answer = await call("GET", API + path)
    assert (found, answer["success"]) == (status, False)


async def test_the_door_builds_and_changes_a_world(call: Caller) -> None:
    status, group = await call("POST", "/sandbox/groups", json={"website": "https://customer.example"})
    assert status == 201
    post = {"group_id": group["group_id"], "target": 3}
    status, post = await call("POST", "/sandbox/posts", json=post)
    assert status == 201
    account = {"group_id": group["group_id"], "domain": "tide.example", "username": "me", "password": "old"}
    status, account = await call("POST", "/sandbox/accounts", json=account)
    assert status == 201
    feed = {"link_rss": "http://feed"}
    assert (await call("PATCH", f"/sandbox/posts/{post['request_id']}", json=feed))[0] == 200
    assert (await call("PATCH", f"/sandbox/accounts/{account['account_id']}", json={"password": "new"}))[0] == 200
    _, read = await call("GET", f"{API}/accounts/{account['account_id']}")
    found = {name: read["data"][name] for name in ("link_rss", "target", "password", "username", "website")}
    assert found == {
        "link_rss": "http://feed",
        "target": 3,
        "password": "new",
        "username": "me",
        "website": "https://customer.example",
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/sandbox/groups", {"nmae": "x"}, 400),
        ("POST", "/sandbox/posts", {}, 400),
        ("POST", "/sandbox/posts", {"group_id": "nowhere"}, 404),
        ("POST", "/sandbox/posts", {"group_id": []}, 400),
        ("POST", "/sandbox/posts", {"group_id": "nowhere", "status": "odd"}, 400),
        ("POST", "/sandbox/accounts", {"group_id": "nowhere", "domain": "x"}, 404),
        ("POST", "/sandbox/accounts", {"group_id": "nowhere", "domain": 1}, 400),
        ("PATCH", "/sandbox/accounts/nobody", {}, 404),
        ("POST", "/sandbox/clock", {"advance_s": -1}, 400),
        ("POST", "/sandbox/clock", {"advance_s": "x"}, 400),
        ("POST", "/sandbox/clock", {"advance_s": 1e300}, 400),
        ("POST", "/sandbox/refuse", {"records": "x"}, 400),
    ],
)
async def test_the_door_is_strict(call: Caller, method: str, path: str, body: Any, status: int) -> None:
    assert (await call(method, path, json=body))[0] == status


async def test_the_door_moves_the_clock_and_tells_who_held_what(
    call: Caller, sandbox: Sandbox, client: aiohttp.ClientSession
) -> None:
    url = f"{sandbox.manager_url}{API}/links?type=secondary&limit=24"
    async with client.get(url, headers={**KEY, "X-Sandbox-Worker": "w1"}) as answer:
        assert len((await answer.json())["data"]) == 24
    assert (await call("GET", f"{API}/links?type=secondary"))[1]["data"] == []
    assert (await call("POST", "/sandbox/clock", json={"advance_s": 900}))[0] == 200
    assert len((await call("GET", f"{API}/links?type=secondary"))[1]["data"]) == 5
    _, log = await call("GET", "/sandbox/log")
    assert [(event["kind"], event["worker"], len(event["account_ids"])) for event in log["events"]] == [
        ("pull", "w1", 24),
        ("pull", "", 0),
        ("pull", "", 5),
    ]
    _, state = await call("GET", "/sandbox/state")
    assert sum(account["claimed"] for account in state["accounts"]) == 5


async def test_the_door_counts_duplicates(call: Caller, sandbox: Sandbox) -> None:
    account, other = sandbox.world.accounts[0], sandbox.world.accounts[-1]
    for each, url in ((account, "http://1"), (account, "http://1"), (other, "http://1")):
        post = next(post for post in sandbox.world.posts if post.group_id == each.group_id)
        item = {"request_id": post.request_id, "account_id": each.account_id, "link_post": url}
        await call("POST", f"{API}/links/insert", json=item)
    _, all_rows = await call("GET", "/sandbox/rows")
    assert (all_rows["count"], all_rows["accounts"]) == (3, {account.account_id: 2, other.account_id: 1})
    assert [(each["account_id"], each["count"]) for each in all_rows["duplicates"]] == [(account.account_id, 2)]
    _, rows = await call("GET", f"/sandbox/rows?request_id={sandbox.world.posts[-1].request_id}")
    assert (rows["count"], rows["duplicates"]) == (1, [])


async def test_the_door_refuses_records(call: Caller, sandbox: Sandbox) -> None:
    await call("POST", "/sandbox/refuse", json={"records": 1})
    account, post = sandbox.world.accounts[0], sandbox.world.posts[0]
    item = {"request_id": post.request_id, "account_id": account.account_id, "link_post": "http://1"}
    assert (await call("POST", f"{API}/links/insert", json=item))[1]["failed"] == 1
