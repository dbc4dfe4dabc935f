"""The manager API without I/O, row by row."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likepion_provider.errors import BadRequest, LikepionError, NotAuthorised, OutcomeUnknown, Rejected, Transient
from likepion_provider.manager import protocol
from likepion_provider.manager.protocol import Answer, Call, Endpoint, LinkReport, Loss

REPORT = LinkReport("post", "account", ("https://tide.example/1", "https://tide.example/2"))
CALLS: dict[Endpoint, Call[Any]] = {
    Endpoint.PULL: protocol.pull(5),
    Endpoint.CLAIM: protocol.claims(["account"])[0],
    Endpoint.INSERT: protocol.insert(REPORT),
    Endpoint.ACCOUNT: protocol.account("account"),
}
TASK = {"id": "a", "account_id": "a", "request_id": "p", "group_id": "g", "domain": "Anchor.FM", "target": "20"}


def answer(payload: Any, status: int = 200, **headers: str) -> Answer:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def expected(endpoint: Endpoint, status: int) -> type[LikepionError]:
    """The table of outcomes: the same failure is harmless on a read and unknown on an insert."""
    if status == 429:
        return Transient
    if status in (401, 403):
        return NotAuthorised
    if 400 <= status < 500 and status != 408:
        return Rejected
    if endpoint in (Endpoint.CLAIM, Endpoint.ACCOUNT) or (endpoint is Endpoint.PULL and status == 503):
        return Transient
    return OutcomeUnknown


@pytest.mark.parametrize("endpoint", Endpoint)
def test_every_status_calls_for_one_class(endpoint: Endpoint) -> None:
    for status in range(300, 600):
        with pytest.raises(LikepionError) as error:
            CALLS[endpoint].read(answer({"success": False, "message": "words\nof the server"}, status))
        assert type(error.value) is (expected(endpoint, status) if status >= 400 else expected(endpoint, 500)), status
        assert "words of the server" in error.value.message


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("loss", Loss)
def test_every_loss_calls_for_one_class(endpoint: Endpoint, loss: Loss) -> None:
    harmless = loss is Loss.NOT_SENT or endpoint in (Endpoint.CLAIM, Endpoint.ACCOUNT)
    assert type(protocol.lost(endpoint, loss, "reset")) is (Transient if harmless else OutcomeUnknown)


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize(
    "payload", [b"<html>", b"", b'{"success": tru', [], {}, {"success": "yes"}, {"success": True}, b"[" * 100_000]
)
def test_an_answer_that_cannot_be_read_is_unclear(endpoint: Endpoint, payload: Any) -> None:
    with pytest.raises(expected(endpoint, 500)):
        CALLS[endpoint].read(answer(payload))


@pytest.mark.parametrize("endpoint", Endpoint)
def test_success_false_is_a_refusal(endpoint: Endpoint) -> None:
    with pytest.raises(Rejected, match="no such thing"):
        CALLS[endpoint].read(answer({"success": False, "message": "no such thing"}))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "success",
                    "data",
                    "results",
                    "claimed",
                    "not_found",
                    "ttl_min",
                    "link_index",
                    "link_post",
                    "account_id",
                    "request_id",
                    "target",
                    "id",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(
    endpoint=st.sampled_from(list(Endpoint)),
    payload=_JSON | st.binary(max_size=60),
    status=st.sampled_from([200, 201, 400, 500]),
)
def test_any_answer_is_a_result_or_a_named_error(endpoint: Endpoint, payload: Any, status: int) -> None:
    if isinstance(payload, dict):
        payload = {"success": True} | payload
    with contextlib.suppress(LikepionError):
        CALLS[endpoint].read(answer(payload, status))


def test_a_pull_always_says_secondary() -> None:
    request = protocol.pull(1000).request
    assert (request.method, request.path) == ("GET", "/api/v1/podcast/links")
    assert request.params == {"type": "secondary", "limit": "1000"}


@pytest.mark.parametrize("limit", [0, 1001, -1, True, "5", 1.0, None])
def test_a_limit_out_of_bounds_is_refused(limit: Any) -> None:
    with pytest.raises(BadRequest, match="limit must be a whole number from 1 to 1000"):
        protocol.pull(limit)


def test_a_task_is_read_with_its_secrets_apart() -> None:
    row = TASK | {"password": "canary", "twofa": None, "link_rss": " https://feeds.example/a ", "new_field": [1]}
    (account,) = CALLS[Endpoint.PULL].read(answer({"success": True, "data": [row, row]}))
    assert (account.task.domain, account.task.target, account.task.feed_ready) == ("anchor.fm", 20, True)
    assert account.link_rss == "https://feeds.example/a"
    assert list(account.credentials.secrets()) == ["canary"]
    assert "canary" not in repr(account)
    assert "feeds.example" not in repr(account)


def test_claims_are_split_at_200_and_never_say_an_id_twice() -> None:
    calls = protocol.claims([f"a{number % 401}" for number in range(802)])
    assert [len(call.request.body["account_ids"]) for call in calls] == [200, 200, 1]


@pytest.mark.parametrize(
    ("ttl_min", "ttl_s"), [(15, 900), ("15", 900), (5, 300), (60, 900), (None, 900), ("x", 900), (-1, 900), (0, 0)]
)
def test_a_claims_ttl_is_the_shorter_of_theirs_and_ours(ttl_min: Any, ttl_s: float) -> None:
    payload = {"success": True, "claimed": ["account", "foreign", 1], "ttl_min": ttl_min, "not_found": None}
    claimed = CALLS[Endpoint.CLAIM].read(answer(payload))
    assert (claimed.claimed, claimed.not_found, claimed.ttl_s) == ({"account"}, frozenset(), ttl_s)


def test_an_insert_names_the_account_and_encodes_commas() -> None:
    report = LinkReport("post", "account", ("https://tide.example/a,b", "https://tide.example/c"), cookie="session=x")
    (item,) = protocol.insert(report).request.body["items"]
    assert item == {
        "request_id": "post",
        "account_id": "account",
        "status": "completed",
        "link_post": "https://tide.example/a%2Cb,https://tide.example/c",
        "cookie": "session=x",
    }
    assert "session=x" not in repr(protocol.insert(report).request)


@pytest.mark.parametrize("url", ["", "ftp://a/b", "//a/b", "https://", "https://a/b c", "https://a/\n", "javascript:1"])
def test_what_is_no_public_url_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match=r"http\(s\) URL"):
        protocol.insert(LinkReport("post", "account", (url,)))


@pytest.mark.parametrize("count", [0, 201])
def test_an_insert_takes_1_to_200_urls(count: int) -> None:
    with pytest.raises(BadRequest, match="1 to 200"):
        protocol.insert(LinkReport("post", "account", ("https://tide.example/",) * count))
    assert [len(part) for part in protocol.split_urls(["u"] * 401)] == [200, 200, 1]


URL_1, URL_2 = REPORT.urls


@pytest.mark.parametrize(
    ("results", "stored"),
    [
        ([{"link_index": 0, "success": True}, {"link_index": 1, "success": False}], [True, False]),
        ([{"link_post": URL_2, "success": True}], [None, True]),
        ([{"link_index": 0, "link_post": URL_2, "success": True}], [None, None]),
        ([{"link_index": 0, "success": True}, {"link_index": 0, "success": False}], [None, None]),
        ([{"link_index": 7, "success": True}, {"link_index": True, "success": True}, 5, None], [None, None]),
        ([{"link_index": 0, "success": "true"}], [None, None]),
        ([], [None, None]),
    ],
)
def test_each_record_is_read_by_itself_and_doubt_is_unknown(results: list[Any], stored: list[bool | None]) -> None:
    records = CALLS[Endpoint.INSERT].read(answer({"success": True, "results": results}))
    assert [record.stored for record in records] == stored


NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("999999", 86_400),
        ("9" * 5000, 86_400),
        ("Fri, 01 Jan 2027 00:00:00 GMT", 86_400),
        ("soon", None),
        ("", None),
        ("-3", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    assert protocol.retry_after_s({"retry-after": value}, now=NOW) == seconds


def test_a_429_carries_how_long_to_wait() -> None:
    with pytest.raises(Transient) as error:
        CALLS[Endpoint.INSERT].read(answer({}, 429, retry_after="12"))
    assert error.value.retry_after_s == 12


@pytest.mark.parametrize("status", [200, 400, 404])
def test_the_probe_succeeds_where_the_managers_api_answers(status: int) -> None:
    protocol.read_probe(answer({"success": False, "message": "account not found"}, status))


@pytest.mark.parametrize(("status", "body"), [(404, b"<html>"), (401, b"{}"), (500, b"{}"), (200, b"<html>")])
def test_the_probe_fails_elsewhere(status: int, body: bytes) -> None:
    with pytest.raises(LikepionError):
        protocol.read_probe(answer(body, status))
    with pytest.raises(NotAuthorised):
        protocol.probe("")
