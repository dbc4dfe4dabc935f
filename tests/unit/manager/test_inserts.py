"""What becomes of links, by every kind of answer, next to what the manager stored."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

from likepion_provider.errors import BadRequest, LikepionError, OutcomeUnknown, Rejected
from likepion_provider.manager import protocol
from likepion_provider.manager.protocol import Answer, LinkReport, LinkStatus
from likepion_provider.models import Credentials, LinkState

POST = "11111111-0000-4000-8000-00000000000a"
FIRST, SECOND = "22222222-0000-4000-8000-00000000000b", "33333333-0000-4000-8000-00000000000c"
URLS = ("https://tide.example/a", "https://tide.example/b,c", "https://tide.example/~d?e=f")
ONE_ITEM = (LinkReport(POST, FIRST, URLS),)
TWO_ITEMS = (LinkReport(POST, FIRST, URLS[:2]), LinkReport(POST, SECOND, URLS[1:]))

Row = dict[str, Any]


class StrictManager:
    """Keeps the page line by line: one row per URL of ``link_post``, but for those that it is told to refuse."""

    def __init__(self, stores: Sequence[bool]) -> None:
        self._stores = stores
        self.stored: list[bool] = []

    def insert(self, body: dict[str, Any]) -> dict[str, Any]:
        results: list[Row] = []
        for index, item in enumerate(body["items"]):
            for link_index, url in enumerate(item["link_post"].split(",")):
                stored = self._stores[len(results)]
                self.stored.append(stored)
                results.append(
                    {
                        "index": index,
                        "link_index": link_index,
                        "post_id": item["request_id"],
                        "account_id": item["account_id"],
                        "domain": "tide.example",
                        "link_post": url,
                        "success": stored,
                        **({} if stored else {"message": "no room"}),
                    }
                )
        inserted = sum(self.stored)
        counts = {"inserted": inserted, "failed": len(results) - inserted}
        return {"success": True, "input": len(body["items"]), "count": len(results), **counts, "results": results}


def without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def respelt(row: Row) -> Row:
    url = row["link_post"].replace("https://tide", "HTTPS://TIDE").replace("%2C", ",").replace("~", "%7e")
    return row | {"link_post": f" {url} ", "account_id": row["account_id"].upper(), "post_id": POST.upper()}


#: Patterns whose every word is true: what they say must be taken as it is, if the rest of the answer bears it out.
HONEST: dict[str, Callable[[list[Row]], Any]] = {
    "as the page has it": lambda rows: rows,
    "in another order": lambda rows: rows[::-1],
    "spelt otherwise": lambda rows: [respelt(row) for row in rows],
    "doubled": lambda rows: [*rows, *rows],
    "without ids": lambda rows: [without(row, "account_id", "post_id", "domain") for row in rows],
    "with numbers as text": lambda rows: [
        row | {"index": f"{row['index']}", "link_index": f"{row['link_index']}"} for row in rows
    ],
    "without URLs": lambda rows: [without(row, "link_post") for row in rows],
    "without numbers": lambda rows: [without(row, "index", "link_index") for row in rows],
    "with odd numbers": lambda rows: [row | {"index": None, "link_index": True} for row in rows],
    "with junk between": lambda rows: [None, 5, *rows, "x", {}, [rows]],
}
#: Patterns that say too little.
SPARSE: dict[str, Callable[[list[Row]], Any]] = {
    "the first alone": lambda rows: rows[:1],
    "all but the first": lambda rows: rows[1:],
    "those that failed": lambda rows: [row for row in rows if not row["success"]],
    "those that did not": lambda rows: [row for row in rows if row["success"]],
    "none": lambda rows: [],
    "no list": lambda rows: dict(enumerate(rows)),
    "null": lambda rows: None,
    "success as text": lambda rows: [row | {"success": str(row["success"]).lower()} for row in rows],
    "neither number nor URL": lambda rows: [without(row, "index", "link_index", "link_post") for row in rows],
}
#: Patterns that are about something else, whatever they say.
FOREIGN: dict[str, Callable[[list[Row]], Any]] = {
    "another account": lambda rows: [row | {"account_id": "other"} for row in rows],
    "another account, odd": lambda rows: [row | {"account_id": ["other"]} for row in rows],
    "another post": lambda rows: [row | {"post_id": "other"} for row in rows],
    "another request": lambda rows: [row | {"request_id": "other"} for row in rows],
    "another URL": lambda rows: [row | {"link_post": row["link_post"] + "/other"} for row in rows],
    "another URL, odd": lambda rows: [row | {"link_post": [row["link_post"]]} for row in rows],
    "another place": lambda rows: [row | {"link_index": row["link_index"] + 1} for row in rows],
    "another item": lambda rows: [row | {"index": row["index"] + 5} for row in rows],
}
#: Patterns that say the wrong thing of some URL.
LYING: dict[str, Callable[[list[Row]], Any]] = {
    "all stored": lambda rows: [row | {"success": True} for row in rows],
    "all refused": lambda rows: [row | {"success": False} for row in rows],
    "both": lambda rows: [each for row in rows for each in (row, row | {"success": not row["success"]})],
}
PATTERNS = HONEST | SPARSE | FOREIGN | LYING

#: What is left of the envelope's counts, which are always right.
COUNTS: tuple[tuple[str, ...], ...] = (("inserted", "failed", "count"), ("inserted",), ("failed", "count"), ())
SUCCESS: tuple[Any, ...] = (True, False, None)
STATUSES = (200, 207, 301, 302, 400, 401, 408, 422, 429, 500, 503)
STORES = {
    ONE_ITEM: tuple(itertools.product((True, False), repeat=3)),
    TWO_ITEMS: tuple(
        tuple(char == "+" for char in chars) for chars in ("++++", "----", "+---", "-+++", "+-+-", "--++", "---+")
    ),
}
_STATES = {True: LinkState.STORED, False: LinkState.REFUSED, None: LinkState.UNKNOWN}


def answer(payload: Any, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(payload).encode())


def outcome(reports: Sequence[LinkReport], given: Answer) -> list[LinkState]:
    """The state of each URL, as a caller files it."""
    try:
        records = protocol.insert_items(reports).read(given)
    except LikepionError as error:
        return [error.link_state] * sum(len(report.urls) for report in reports)
    assert [tuple(each.url for each in part) for part in records] == [report.urls for report in reports]
    flat = list(itertools.chain(*records))
    assert all(each.message for each in flat if each.stored is None), "an unknown outcome says why"
    return [_STATES[each.stored] for each in flat]


def cells(patterns: Iterable[str]) -> Iterator[tuple[str, list[LinkState], list[bool], dict[str, Any], int]]:
    """Every truth x records x counts x success x status, with what comes out."""
    for name, (reports, truths) in itertools.product(patterns, STORES.items()):
        for truth in truths:
            manager = StrictManager(truth)
            whole = manager.insert(protocol.insert_items(reports).request.body)
            rows = PATTERNS[name](whole["results"])
            for counts, success, status in itertools.product(COUNTS, SUCCESS, STATUSES):
                payload = {each: whole[each] for each in counts} | {"success": success, "results": rows}
                yield name, outcome(reports, answer(payload, status)), manager.stored, payload, status


def is_accepted(payload: dict[str, Any], status: int) -> bool:
    return status < 300 and payload["success"] is True


@pytest.mark.parametrize("name", PATTERNS)
def test_what_was_stored_is_never_refused_nor_the_other_way_round(name: str) -> None:
    for name_, states, stored, payload, status in cells([name]):
        told_by_counts = "inserted" in payload or "failed" in payload
        #: An answer that is wrong, with nothing in it to tell by.
        lies = name in ("all stored", "all refused") and not told_by_counts
        #: A refusal without a word on any link, while links were stored.
        hides = not payload["results"] and not told_by_counts and payload["success"] is not True
        for was_stored, state in zip(stored, states, strict=True):
            shown = (name_, status, payload, states)
            if was_stored:
                assert state in (LinkState.STORED, LinkState.UNKNOWN) or lies or hides, shown
            else:
                assert state is not LinkState.STORED or (lies and is_accepted(payload, status)), shown


@pytest.mark.parametrize("name", HONEST)
def test_honest_records_are_taken_as_they_are_whatever_the_status(name: str) -> None:
    for _, states, stored, payload, status in cells([name]):
        confirmed = "inserted" in payload or is_accepted(payload, status)
        right = [_STATES[each if confirmed or not each else None] for each in stored]
        assert states == right, (status, payload)


@pytest.mark.parametrize("name", [*FOREIGN, "both", "success as text", "neither number nor URL"])
def test_records_that_name_something_else_say_nothing(name: str) -> None:
    for _, states, _, payload, status in cells([name]):
        assert set(states) == {LinkState.UNKNOWN}, (status, payload)


def test_an_honest_word_that_counts_bear_out_stands_beside_silence() -> None:
    for name, states, stored, payload, status in cells(["the first alone", "those that failed", "those that did not"]):
        if "inserted" not in payload or not payload["results"]:
            continue
        told = {"the first alone": [True] + [False] * (len(stored) - 1), "those that failed": [not s for s in stored]}
        for was_stored, state, word in zip(stored, states, told.get(name, stored), strict=True):
            assert state is _STATES[was_stored if word else None], (name, status, payload)


def rows_of(*success: Any) -> list[Row]:
    return [{"link_index": number, "success": each} for number, each in enumerate(success)]


OK, NO, UN = True, False, None


@pytest.mark.parametrize(
    ("payload", "status", "stored"),
    [
        ({"success": False, "inserted": 2, "failed": 1, "results": rows_of(OK, OK, NO)}, 200, [OK, OK, NO]),
        ({"success": False, "inserted": 1, "failed": 2, "results": rows_of(OK, NO, NO)}, 422, [OK, NO, NO]),
        ({"success": False, "results": rows_of(OK, NO, NO)}, 200, [UN, NO, NO]),
        ({"success": False, "inserted": 0, "results": rows_of(OK, OK, NO)}, 400, [UN, UN, UN]),
        ({"success": False, "inserted": 0, "failed": 3, "count": 3, "results": rows_of(NO, NO, NO)}, 400, [NO, NO, NO]),
        ({"success": True, "inserted": 3, "results": rows_of(NO, NO, NO)}, 200, [UN, UN, UN]),
        ({"success": True, "inserted": "3", "failed": "0", "results": rows_of(OK, OK, OK)}, 200, [OK, OK, OK]),
        ({"success": True, "failed": 0, "results": rows_of(OK, NO, NO)}, 200, [OK, UN, UN]),
        ({"success": True, "failed": 3, "results": rows_of(OK, OK, OK)}, 200, [UN, UN, UN]),
        ({"success": True, "inserted": 1, "results": rows_of(OK, OK, OK)}, 200, [UN, UN, UN]),
        ({"success": True, "inserted": 10**30, "results": rows_of(NO, OK)}, 200, [UN, OK, UN]),
        ({"success": True, "count": 5, "results": rows_of(OK, OK, NO)}, 200, [UN, UN, UN]),
        ({"success": True, "count": 1, "results": rows_of(OK, OK, NO)}, 200, [UN, UN, UN]),
        (
            {"success": True, "inserted": -1, "failed": "x", "count": True, "results": rows_of(OK, NO)},
            200,
            [OK, NO, UN],
        ),
        (
            {
                "success": True,
                "inserted": 1,
                "results": [*rows_of(OK), {"link_post": "https://o.example", "success": OK}],
            },
            200,
            [UN, UN, UN],
        ),
        ({"success": True, "results": [*rows_of(OK, OK, NO), {"link_index": 0, "success": NO}]}, 200, [UN, OK, NO]),
        (
            {"success": True, "inserted": 2, "results": [*rows_of(OK, NO, OK), {"link_index": 0, "success": NO}]},
            200,
            [UN, NO, OK],
        ),
        ({"success": True, "results": []}, 200, [UN, UN, UN]),
        ({"results": rows_of(OK, OK, NO)}, 200, [UN, UN, NO]),
        ({"results": rows_of(OK, OK, NO), "inserted": 2}, 500, [OK, OK, NO]),
        ({"results": rows_of(OK, OK, NO)}, 500, [UN, UN, NO]),
    ],
)
def test_each_contradiction_by_hand(payload: dict[str, Any], status: int, stored: list[bool | None]) -> None:
    records = protocol.insert(ONE_ITEM[0]).read(answer(payload, status))
    assert [each.stored for each in records] == stored


@pytest.mark.parametrize(
    ("payload", "status", "error"),
    [
        ({"success": False, "message": "no"}, 200, Rejected),
        ({"success": False, "inserted": 0, "failed": 3, "results": []}, 200, Rejected),
        ({"success": False, "inserted": "0"}, 400, Rejected),
        ({"success": False, "inserted": 2}, 400, OutcomeUnknown),
        ({"success": False, "inserted": 2}, 200, OutcomeUnknown),
        ({"success": False, "inserted": 2}, 401, OutcomeUnknown),
        ({"success": False, "inserted": 2}, 429, OutcomeUnknown),
        ({"success": False, "inserted": "some"}, 400, OutcomeUnknown),
        ({"success": False, "failed": 2}, 400, OutcomeUnknown),
        ({"success": False, "failed": 3}, 400, Rejected),
        ({"success": True}, 409, OutcomeUnknown),
        ({"success": False, "results": {"0": {"success": True}}}, 400, OutcomeUnknown),
        ({"success": False, "results": []}, 500, OutcomeUnknown),
        ({"success": True, "results": [None] * 1001}, 200, OutcomeUnknown),
    ],
)
def test_an_answer_without_records_is_refused_only_where_it_speaks_of_nothing_stored(
    payload: dict[str, Any], status: int, error: type[LikepionError]
) -> None:
    with pytest.raises(LikepionError) as raised:
        protocol.insert(ONE_ITEM[0]).read(answer(payload, status))
    assert type(raised.value) is error


def test_the_servers_words_come_through() -> None:
    rows = [{"link_index": 0, "success": False, "message": "no\nroom"}, {"link_index": 1, "success": False}]
    payload = {"success": False, "message": "closed " * 100, "results": rows}
    first, second, third = protocol.insert(ONE_ITEM[0]).read(answer(payload, 400))
    assert (first.message, second.message) == ("no room", ("closed " * 100)[:199] + "…")
    assert third.message.startswith("the answer has no word on this URL: closed")
    assert len(third.message) == 200
    first, *_ = protocol.insert(ONE_ITEM[0]).read(answer(payload | {"inserted": 3}))
    assert first.message == "its record says refused, the answer contradicts that: no room"


def test_one_url_twice_in_an_item_is_told_apart_by_its_number() -> None:
    report = LinkReport(POST, FIRST, (URLS[0], URLS[0]))
    rows = [{"link_index": number, "link_post": URLS[0], "success": each} for number, each in enumerate((OK, NO))]
    records = protocol.insert(report).read(answer({"success": True, "results": rows}))
    assert [each.stored for each in records] == [OK, NO]
    records = protocol.insert(report).read(
        answer({"success": True, "inserted": 1, "results": [without(rows[0], "link_index")]})
    )
    assert [each.stored for each in records] == [UN, UN]


def test_a_record_that_may_be_of_two_items_says_nothing() -> None:
    rows = [{"link_post": URLS[1], "success": OK}, {"link_post": URLS[0], "success": OK}]
    records = protocol.insert_items(TWO_ITEMS).read(answer({"success": True, "results": rows}))
    assert [[each.stored for each in part] for part in records] == [[OK, UN], [UN, UN]]


def test_items_by_domain_take_the_account_that_the_manager_chose() -> None:
    reports = [LinkReport(POST, "", URLS[:1], domain=each) for each in ("Tide.example", "reef.example")]
    rows = [
        {"domain": each, "account_id": "chosen", "post_id": POST, "link_post": URLS[0], "success": OK}
        for each in ("reef.example", "kelp.example")
    ]
    records = protocol.insert_items(reports).read(answer({"success": True, "results": rows}))
    assert [each.stored for (each,) in records] == [UN, OK]


def test_the_whole_page_can_be_said() -> None:
    renewed = Credentials("e@x", "u", "p-canary", "m-canary", "t-canary", "a-canary", "c-canary")
    reports = [
        LinkReport(f" {POST.upper()} ", FIRST.upper(), (" https://tide.example/1 ",), credentials=renewed, note="n"),
        LinkReport(POST, "", URLS[:1], domain=" Anchor.FM ", status=LinkStatus.CANCEL, cookie="c2-canary"),
        LinkReport(POST, FIRST, URLS[:1], domain="anchor.fm", status="failed"),
    ]
    request = protocol.insert_items(reports).request
    assert "canary" not in repr((request, reports))
    assert json.loads(json.dumps(request.body)) == {
        "items": [
            {
                "request_id": POST,
                "account_id": FIRST,
                "status": "completed",
                "link_post": "https://tide.example/1",
                "email": "e@x",
                "username": "u",
                "password": "p-canary",
                "pass_mail": "m-canary",
                "twofa": "t-canary",
                "app_password": "a-canary",
                "cookie": "c-canary",
                "note": "n",
            },
            {
                "request_id": POST,
                "domain": "anchor.fm",
                "status": "cancel",
                "link_post": URLS[0],
                "cookie": "c2-canary",
            },
            {
                "request_id": POST,
                "account_id": FIRST,
                "domain": "anchor.fm",
                "status": "failed",
                "link_post": URLS[0],
            },
        ]
    }


@pytest.mark.parametrize(
    ("reports", "words"),
    [
        ([], "1 to 200 URLs"),
        ([LinkReport(POST, FIRST, URLS), LinkReport(POST, SECOND, ())], "1 to 200 URLs"),
        ([LinkReport(POST, FIRST, URLS[:1] * 150), LinkReport(POST, SECOND, URLS[:1] * 51)], "not 201 in 2 items"),
        ([LinkReport(" ", FIRST, URLS)], "request_id must not be empty"),
        ([LinkReport(POST, " ", URLS)], "account_id must not be empty"),
        ([LinkReport(POST, "", URLS)], "account_id must not be empty"),
        ([LinkReport(POST, "", URLS, domain=" ")], "domain must not be empty"),
        ([LinkReport(POST, FIRST, URLS, status="done")], "completed, failed, cancel, not 'done'"),
    ],
)
def test_what_the_page_does_not_allow_is_refused(reports: list[LinkReport], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        protocol.insert_items(reports)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("HTTP://A.example:80", "http://a.example/", True),
        ("https://a.example:443/x", "https://a.example/x", True),
        ("https://a.example:8443/x", "https://a.example/x", False),
        ("http://a.example/x", "https://a.example/x", False),
        ("https://a.example/%7ex%2f", "https://a.example/~x%2F", True),
        ("https://a.example/%2F", "https://a.example//", False),
        ("https://%61.example/x", "https://A.example/x", True),
        ("https://a.example/./b/../c", "https://a.example/c", True),
        ("https://a.example/b/..", "https://a.example/", True),
        ("https://a.example/../../c/.", "https://a.example/c/", True),
        ("https://a.example/a//b", "https://a.example/a/b", False),
        ("https://a.example/X", "https://a.example/x", False),
        ("https://a.example/x?b=%41#f", "https://a.example/x?b=A#f", True),
        ("https://a.example/x?", "https://a.example/x", False),
        ("https://a.example/x/", "https://a.example/x", False),
        ("https://a.example/x,y", "https://a.example/x%2cy", True),
        ("https://a.example/é", "https://a.example/%c3%a9", True),
        ("https://u:P@a.example/x", "https://u:p@a.example/x", False),
        ("https://[::1]:443/x", "https://[::1]/x", True),
        (" https://a.example/x\n", "https://a.example/x", True),
        ("https://[::1", "https://[::1", True),
        ("https://a.example:99999/", "https://a.example/", False),
        ("https://a.example/\nx", "https://a.example/x", False),
        ("https://a.example/x\ny", "https://a.example/xyy", False),
        ("https://a.example/\ud800", "https://a.example/", False),
    ],
)
def test_urls_are_compared_as_rfc_3986_says(one: str, other: str, *, same: bool) -> None:
    assert (protocol.canonical_url(one) == protocol.canonical_url(other)) is same
    assert protocol.canonical_url(protocol.canonical_url(one)) == protocol.canonical_url(one)


_JUNK = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2.5,
    10**30,
    float("nan"),
    "",
    "0",
    "1",
    " ",
    "\ud800",
    [],
    {},
    [[]],
    URLS[0],
    FIRST,
)


def changed(value: Any, rng: random.Random) -> Any:
    """One place of a JSON value changed, left out or said twice."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        return without(value, name) if rng.random() < 0.2 else value | {name: changed(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        where = rng.randrange(len(value))
        middle = rng.choice(([], [value[where]] * 2, [changed(value[where], rng)], [changed(value[where], rng)]))
        return [*value[:where], *middle, *value[where + 1 :]]
    return rng.choice(_JUNK)


@pytest.mark.parametrize("seed", range(5))
def test_any_answer_gives_a_result_or_a_named_error(seed: int) -> None:
    rng = random.Random(seed)
    came_out: Counter[str] = Counter()
    for _ in range(2_000):
        reports = rng.choice((ONE_ITEM, TWO_ITEMS))
        request = protocol.insert_items(reports).request
        payload: Any = StrictManager([rng.random() < 0.5 for _ in range(4)]).insert(request.body)
        for _ in range(rng.choice((0, 1, 2, 4, 8))):
            payload = changed(payload, rng)
        body = json.dumps(payload).encode()
        if rng.random() < 0.1:
            body = body[: rng.randrange(len(body))]
        came_out.update(each.value for each in outcome(reports, Answer(rng.choice(STATUSES), {}, body)))
    assert min(came_out[each] for each in ("stored", "refused", "unknown")) > 500, came_out


@pytest.mark.parametrize("status", [200, 400, 422, 500])
def test_json_that_ends_early_may_have_lost_the_records(status: int) -> None:
    call = protocol.insert(LinkReport("post", "account", ("https://a.example/1",)))
    body = b'{"success": false, "results": [{"index": 0, "link_index": 0, "link_post": "https://a.exa'
    with pytest.raises(OutcomeUnknown):
        call.read(Answer(status, {}, body))
    if status in (400, 422):
        with pytest.raises(Rejected):
            call.read(Answer(status, {}, b"<html>Bad request</html>"))
