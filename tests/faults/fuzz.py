"""Answers that no manager should give: the right one, changed at random, to each endpoint.

Every one must come out as a named error or as a result that the answer bears out.
"""

from __future__ import annotations

import json
import pickle
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from likepion_provider.errors import LikepionError
from likepion_provider.manager import protocol
from likepion_provider.manager.protocol import Answer, Call, Claimed, Endpoint, LinkReport, Record
from likepion_provider.models import Account

ID = "00000000-0000-4000-8000-000000000001"
CANARY = "canary-password"
URLS = ("https://tide.example/1", "https://tide.example/2,3", "https://tide.example/4")
CALLS: dict[Endpoint, Call[Any]] = {
    Endpoint.PULL: protocol.pull(5),
    Endpoint.CLAIM: protocol.claims([ID, "b"])[0],
    Endpoint.INSERT: protocol.insert(LinkReport("post", ID, URLS)),
    Endpoint.ACCOUNT: protocol.account(ID),
}
_TASK = {
    "id": ID,
    "account_id": ID,
    "request_id": "post",
    "group_id": "group",
    "domain": "tide.example",
    "website": "https://likepion.example",
    "target": 5,
    "accounts_remaining": 3,
    "username": "pod",
    "password": CANARY,
    "twofa": None,
    "link_rss": "https://feeds.example/canary-password",
}
_RECORDS = [
    {"index": 0, "link_index": number, "account_id": ID, "link_post": url.replace(",", "%2C"), "success": True}
    for number, url in enumerate(URLS)
]
RIGHT: dict[Endpoint, Any] = {
    Endpoint.PULL: {"success": True, "data": [_TASK, _TASK | {"id": "b", "account_id": "b"}]},
    Endpoint.CLAIM: {"success": True, "claimed": [ID], "count": 1, "ttl_min": 15, "not_found": ["b"]},
    Endpoint.INSERT: {"success": True, "input": 1, "count": 3, "inserted": 3, "failed": 0, "results": _RECORDS},
    Endpoint.ACCOUNT: {"success": True, "data": _TASK},
}
_JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2, 1e308, -1e308, float("inf"), float("nan"), 10**30, "", "0", "15", "1e999", "true"),
    *(
        [],
        {},
        [[]],
        [None],
        {"success": True},
        "x" * 5000,
        "\n",
        "\u2028",
        "\x00",
        "\ud800",
        "é",
        "https://t.example/9",
    ),
)
_BODIES = (
    b"",
    b"null",
    b"[]",
    b"<!doctype html><h1>502</h1>",
    b"\xff\xfe",
    b"[" * 20_000,
    b"9" * 5000,
    b'{"a":' * 9000,
)
_STATUSES = (*[200] * 30, 201, 204, 301, 304, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504, 599)
_DELAYS = (
    "",
    "0",
    "7",
    "-1",
    "1e9",
    "9" * 400,
    "soon",
    "Thu, 01 Jan 2026 00:00:30 GMT",
    "Thu, 99 Foo 99999 99:99:99 +99",
)


def changed(value: Any, rng: random.Random) -> Any:
    """One place of a JSON value changed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {name: each for name, each in value.items() if name != key}
        return value | {key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        where = rng.randrange(len(value))
        how = rng.random()
        if how < 0.1:
            return value[:where] + value[where + 1 :]
        if how < 0.2:
            return [*value, value[where]]
        return [*value[:where], changed(value[where], rng), *value[where + 1 :]]
    return rng.choice(_JUNK)


def odd_answer(endpoint: Endpoint, rng: random.Random) -> Answer:
    """An answer to a right request, seldom a right one."""
    payload = RIGHT[endpoint]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))):
        payload = changed(payload, rng)
    body = json.dumps(payload).encode()
    how = rng.random()
    if how < 0.05:
        body = rng.choice(_BODIES)
    elif how < 0.15:
        body = body[: rng.randrange(len(body))]
    elif how < 0.2:
        where = rng.randrange(len(body))
        body = body[:where] + rng.randbytes(3) + body[where + 3 :]
    return Answer(rng.choice(_STATUSES), {"retry-after": rng.choice(_DELAYS)}, body)


def fuzz(endpoint: Endpoint, answers: int, seed: int) -> Counter[str]:
    """Read so many odd answers.

    :return: how often what came out.
    """
    rng = random.Random(f"{seed} {endpoint.value}")
    outcomes: Counter[str] = Counter()
    for number in range(answers):
        answer = odd_answer(endpoint, rng)
        try:
            result = CALLS[endpoint].read(answer)
        except LikepionError as error:
            _check_error(error)
            outcomes[type(error).__name__] += 1
        except Exception as error:
            raise AssertionError(f"answer {number} of seed {seed}: {error!r} for {answer.body[:2000]!r}") from error
        else:
            # Records count whatever the status is.
            assert answer.status < 300 or endpoint is Endpoint.INSERT
            assert _CHECKS[endpoint](result, json.loads(answer.body)), (result, answer.body)
            outcomes["result"] += 1
    return outcomes


def _check_error(error: LikepionError) -> None:
    assert len(error.advice.splitlines()) == 1, error.advice
    assert CANARY not in error.advice
    assert len(error.advice) < 1000
    error.advice.encode()
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def _is_task(account: Account) -> bool:
    task = account.task
    texts = (task.account_id, task.request_id, task.group_id, task.domain, task.website, task.username)
    for text in (*texts, account.link_rss, *account.credentials.secrets()):
        text.encode()
    numbers = (task.target, task.accounts_remaining)
    return bool(task.account_id) and CANARY not in repr(account) and all(number >= 0 for number in numbers)


def _is_pull(accounts: list[Account], payload: Any) -> bool:
    ids = [each.task.account_id for each in accounts]
    return len(set(ids)) == len(ids) <= len(payload["data"]) and all(
        _is_task(each) and each.task.request_id for each in accounts
    )


def _is_claim(claimed: Claimed, payload: Any) -> bool:
    said = [each for each in payload["claimed"] if isinstance(each, str)]
    return claimed.claimed == {ID, "b"}.intersection(said) and 0 <= claimed.ttl_s <= protocol.CLAIM_TTL_S


def _is_insert(records: list[Record], payload: Any) -> bool:
    said = [each.get("success") for each in payload["results"] if isinstance(each, dict)]
    counted = Counter(each.stored for each in records)
    return (
        tuple(each.url for each in records) == URLS
        and counted[True] <= sum(each is True for each in said)
        and counted[False] <= sum(each is False for each in said)
    )


_CHECKS: dict[Endpoint, Callable[[Any, Any], bool]] = {
    Endpoint.PULL: _is_pull,
    Endpoint.CLAIM: _is_claim,
    Endpoint.INSERT: _is_insert,
    Endpoint.ACCOUNT: lambda account, _: _is_task(account),
}
