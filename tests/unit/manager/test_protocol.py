"""The manager API without I/O, row by row."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likepion_provider.errors import BadRequest, LikepionError, NotAuthorised, OutcomeUnknown, Rejected, Transient
from likepion_provider.feed.read import MAX_TARGET
from likepion_provider.manager import protocol, tasks
from likepion_provider.manager.protocol import Answer, Call, Endpoint, LinkReport, Loss
from likepion_provider.models import Account

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
    if status in (301, 302, 303, 307, 308):
        return OutcomeUnknown if endpoint is Endpoint.INSERT and status in (302, 303) else Rejected
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
        assert type(error.value) is expected(endpoint, status), status
        assert ("words of the server" in error.value.message) is told(endpoint, status)


def told(endpoint: Endpoint, status: int) -> bool:
    """Whether the server's words are shown: those that can hold a secret that is not known yet are not."""
    return endpoint is not Endpoint.ACCOUNT and not (endpoint is Endpoint.PULL and status >= 500)


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (
            "https://new.example:8443/api/v1/podcast/links?key=canary#canary",
            "https://new.example:8443/api/v1/podcast/links",
        ),
        ("//canary:canary@new.example/x", "new.example/x"),
        ("/login?next=canary", "/login"),
        ("https://new.example/\x1b[31m\u2028\ud800" + "x" * 500, "https://new.example/[31m"),
        ("https://[canary", "an address that it does not name"),
        ("", "an address that it does not name"),
    ],
)
def test_a_redirect_is_named_without_secrets(endpoint: Endpoint, location: str, shown: str) -> None:
    with pytest.raises(LikepionError) as error:
        CALLS[endpoint].read(answer(b"<html>", 301, location=location))
    assert f"the manager answered 301, a redirect to {shown}" in error.value.message
    assert "host of the connection" in error.value.remedy
    assert "canary" not in error.value.advice
    assert error.value.advice.isprintable()
    assert len(error.value.advice) < 500


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
    with pytest.raises(Rejected) as error:
        CALLS[endpoint].read(answer({"success": False, "message": "no such thing"}))
    assert ("no such thing" in error.value.message) is told(endpoint, 200)


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


def test_primary_tasks_come_only_where_the_type_is_left_out_and_are_told_apart() -> None:
    rows = [
        TASK,
        TASK | {"id": "row-1", "account_id": "b"},
        TASK | {"id": "c", "account_id": "C"},
        TASK | {"id": "d", "account_id": "d", "type": "Primary"},
        TASK | {"id": "row-2", "account_id": "e", "type": "secondary"},
        TASK | {"id": None, "account_id": "f"},
        TASK | {"account_id": "a", "type": "primary"},
    ]
    call = protocol.pull(5, kind=None)
    assert call.request.params == {"limit": "5"}
    pulled = call.read(answer({"success": True, "data": rows}))
    assert ids_of(pulled) == ["a", "C", "e"]
    assert ids_of(pulled.primary) == ["b", "d", "a"]
    assert pulled.odd == ("row 5 (f): nothing says whether it is a primary or a secondary site's task",)
    pulled = protocol.pull(5).read(answer({"success": True, "data": rows}))
    assert (ids_of(pulled), pulled.primary) == (["a", "b", "C", "e", "f"], ())
    assert pulled.odd == tuple(
        f"row {row}: a primary site's task, which was not asked for" for row in ("3 (d)", "6 (a)")
    )
    with pytest.raises(BadRequest, match="kind must be 'secondary' or None, not 'primary'"):
        protocol.pull(5, kind="primary")


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


ODD: list[tuple[Any, str]] = [
    (None, "row 1: not an object"),
    ("a task", "row 1: not an object"),
    ([TASK], "row 1: not an object"),
    (TASK | {"id": None, "account_id": {"id": "x"}}, "row 1: no account_id"),
    (TASK | {"id": " ", "account_id": "\n"}, "row 1: no account_id"),
    (TASK | {"account_id": "x" * 65}, "row 1: account_id is longer than 64 characters, or not printable"),
    (TASK | {"account_id": "x\u202ey"}, "row 1: account_id is longer than 64 characters, or not printable"),
    (TASK | {"account_id": "x", "request_id": None}, "row 1 (x): no request_id"),
    (TASK | {"account_id": "x", "request_id": " "}, "row 1 (x): no request_id"),
    (
        TASK | {"account_id": "x", "request_id": "p" * 65},
        "row 1 (x): request_id is longer than 64 characters, or not printable",
    ),
    (
        TASK | {"account_id": "x", "group_id": "g" * 65},
        "row 1 (x): group_id is longer than 64 characters, or not printable",
    ),
    (TASK | {"account_id": "x", "domain": None}, "row 1 (x): no domain"),
    (TASK | {"account_id": "x", "domain": " . "}, "row 1 (x): no domain"),
    (
        TASK | {"account_id": "x", "domain": "d" * 254},
        "row 1 (x): domain is no host name of at most 253 characters",
    ),
    *(
        (TASK | {"account_id": "x", "domain": domain}, "row 1 (x): domain is no host name of at most 253 characters")
        for domain in (
            "https://canary.example",
            "a..b",
            ".a",
            "a b",
            "a/canary",
            "u:canary@a.example",
            "a\x00\nb",
            "a:123456",
        )
    ),
    (TASK | {"account_id": "A", "request_id": "q"}, "row 1 (A): the account is there already, for another post"),
]


def ids_of(accounts: Iterable[Account]) -> list[str]:
    return [each.task.account_id for each in accounts]


@pytest.mark.parametrize(("row", "words"), ODD)
def test_an_odd_row_is_set_aside_and_named_and_the_others_are_worked(row: Any, words: str) -> None:
    if isinstance(row, dict):
        row |= {"password": "canary", "link_rss": "https://feeds.example/canary", "username": "canary"}
    pulled = CALLS[Endpoint.PULL].read(answer({"success": True, "data": [TASK, row, TASK | {"account_id": "z"}]}))
    assert ids_of(pulled) == ["a", "z"]
    assert pulled.odd == (words,)
    assert not pulled.is_exhaustive
    assert "canary" not in words


def test_more_rows_than_were_asked_for_are_taken_up_to_the_bound() -> None:
    rows = [TASK | {"account_id": f"a{number}"} for number in range(1500)]
    pulled = CALLS[Endpoint.PULL].read(answer({"success": True, "data": rows}))
    assert ids_of(pulled) == [f"a{number}" for number in range(1000)]
    assert pulled.odd == ("rows 1000 to 1499: more than the 1000 that a pull may give",)


@pytest.mark.parametrize(("rows", "is_exhaustive"), [(0, True), (4, True), (5, False), (6, False)])
def test_a_pull_is_exhaustive_if_fewer_rows_came_than_were_asked_for(rows: int, *, is_exhaustive: bool) -> None:
    data = [TASK | {"account_id": f"a{number // 2}"} for number in range(rows)]
    assert CALLS[Endpoint.PULL].read(answer({"success": True, "data": data})).is_exhaustive is is_exhaustive


@pytest.mark.parametrize(
    ("value", "count"),
    [
        *(
            (7, 7),
            ("7", 7),
            (" 7 ", 7),
            (7.9, 7),
            ("7.9", 7),
            (-1, 0),
            (True, 0),
            (None, 0),
            ("x", 0),
            ([], 0),
            ("", 0),
        ),
        *((10_001, 10_000), (10**30, 10_000), (-(10**400), 0), (10**400, 10_000), ("1e999", 10_000), (float("nan"), 0)),
        *((float("inf"), 10_000), (float("-inf"), 0)),
    ],
)
def test_a_target_of_any_kind_is_a_number_of_episodes(value: Any, count: int) -> None:
    row = TASK | {"target": value, "accounts_remaining": value}
    (account,) = CALLS[Endpoint.PULL].read(answer({"success": True, "data": [row]}))
    assert account.task.target == count <= tasks.MAX_TARGET == MAX_TARGET
    assert 0 <= account.task.accounts_remaining <= 10**9


UUID = "0B6F1234-ABCD-4000-8000-0123456789AB"


def test_ids_are_filed_in_one_spelling_and_nothing_keeps_outer_white_space() -> None:
    row = TASK | {"account_id": f" {UUID} ", "id": UUID, "request_id": UUID, "group_id": f"{UUID}\n"}
    row |= {"domain": " Anchor.FM. ", "link_rss": "\thttps://feeds.example/A ", "website": " https://x.example "}
    pulled = CALLS[Endpoint.PULL].read(answer({"success": True, "data": [row, row | {"account_id": UUID.lower()}]}))
    (account,) = pulled
    task = account.task
    assert {task.account_id, task.request_id, task.group_id} == {UUID.lower()}
    assert (task.domain, task.website) == ("anchor.fm", "https://x.example")
    assert account.link_rss == "https://feeds.example/A"
    assert pulled.odd == ()


def test_an_account_is_the_one_that_was_asked_for() -> None:
    call = protocol.account(f" {UUID} ")
    assert call.request.path.endswith(f"/{UUID.lower()}")
    assert call.read(answer({"success": True, "data": TASK | {"account_id": UUID}})).task.account_id == UUID.lower()
    assert protocol.account("A").read(answer({"success": True, "data": TASK})).task.account_id == "A"
    other = TASK | {"account_id": "other", "id": "account", "password": "canary"}
    for row, words in ((other, "another account \\(other\\); nothing was done"), (TASK | {"domain": ""}, "no domain")):
        with pytest.raises(Rejected, match=words) as error:
            protocol.account("account" if row is other else "a").read(answer({"success": True, "data": row}))
        assert "canary" not in error.value.advice
    for row in ([], None, {}, {"domain": "x"}):
        with pytest.raises(Transient):
            CALLS[Endpoint.ACCOUNT].read(answer({"success": True, "data": row}))


@pytest.mark.parametrize("account_id", ["", " ", "\n"])
def test_an_empty_id_is_refused(account_id: str) -> None:
    for call in (protocol.account, protocol.claim_one, lambda each: protocol.claims(["a", each])):
        with pytest.raises(BadRequest, match="account id must not be empty"):
            call(account_id)


def test_claims_are_split_at_200_and_never_say_an_id_twice() -> None:
    calls = protocol.claims([f"a{number % 401}" for number in range(802)])
    assert [len(call.request.body["account_ids"]) for call in calls] == [200, 200, 1]


@pytest.mark.parametrize(
    ("ttl_min", "ttl_s"),
    [
        *((15, 900), ("15", 900), (5, 300), ("7.5", 450), (60, 900), (3, 180), (10**400, 900), ("1e999", 900)),
        *((None, 900), ("x", 900), ("", 900), (-1, 900), (True, 900), (float("nan"), 900), ([5], 900)),
    ],
)
def test_a_claims_ttl_is_the_shorter_of_theirs_and_ours(ttl_min: Any, ttl_s: float) -> None:
    payload = {"success": True, "claimed": ["account", "foreign", 1], "ttl_min": ttl_min, "not_found": None}
    claimed = CALLS[Endpoint.CLAIM].read(answer(payload))
    assert (claimed.claimed, claimed.not_found, claimed.ttl_s) == ({"account"}, frozenset(), ttl_s)


@pytest.mark.parametrize("ttl_min", [0, 1, "1", 2.9, "0", 0.0])
def test_claims_too_short_to_work_in_are_an_error_not_silence(ttl_min: Any) -> None:
    payload = {"success": True, "claimed": ["account"], "ttl_min": ttl_min}
    with pytest.raises(Rejected, match=r"gives claims of [\d.]+ minutes; at least 3 are needed"):
        CALLS[Endpoint.CLAIM].read(answer(payload))


def test_a_claim_names_accounts_in_any_case_and_form() -> None:
    (call,) = protocol.claims([UUID, "b", "c", "d", "e", "f", " g", "B"])
    assert call.request.body == {"account_ids": [UUID.lower(), "b", "c", "d", "e", "f", "g", "B"]}
    said = [UUID, " B ", {"account_id": "C"}, {"id": "d"}, {"id": "e", "success": False}, "f", {}, None, 5, ["g"]]
    claimed = call.read(answer({"success": True, "claimed": said, "not_found": ["F", {"id": "g"}]}))
    assert claimed.claimed == {UUID, "b", "B", "c", "d"}, "in the spelling that was asked for"
    assert claimed.not_found == {"f", " g"}


def test_one_account_is_claimed_in_the_form_for_one() -> None:
    call = protocol.claim_one(UUID)
    assert call.request.body == {"account_id": UUID.lower()}
    assert call.read(answer({"success": True, "claimed": [UUID]})).claimed == {UUID}


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


@pytest.mark.parametrize(
    "url", ["", "ftp://a/b", "//a/b", "https://", "https://a/b c", "https://a/\nb", "javascript:1"]
)
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


@pytest.mark.parametrize(
    ("status", "body"),
    [*((404, b"<html>"), (400, b"<html>"), (401, b"{}"), (500, b"{}"), (200, b"<html>"), (301, b"{}"), (308, b""))],
)
def test_the_probe_fails_elsewhere(status: int, body: bytes) -> None:
    with pytest.raises(LikepionError):
        protocol.read_probe(answer(body, status))
    with pytest.raises(NotAuthorised):
        protocol.probe("")
