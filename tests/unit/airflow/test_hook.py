"""The hook: every call of the manager's page, in every form, against a sandbox over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import re
import textwrap
from asyncio import to_thread
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import _secrets_masker

from likepion_provider.clock import SystemClock
from likepion_provider.errors import BadRequest, LeaseLost, OutcomeUnknown, Transient
from likepion_provider.hooks import likepion
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, journal_for
from likepion_provider.hooks.likepion import LikepionHook
from likepion_provider.manager.protocol import LinkReport, LinkStatus
from likepion_provider.models import Credentials, LinkState, PostAccount, SecondaryTask
from likepion_provider.operators.likepion import PullSecondaryTasksOperator
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.world import build_world

Start = Callable[..., Any]

#: For each method, the kinds of events that its example leaves at the manager.
EXAMPLES = {
    "client": ["pull"],
    "pull": ["pull"],
    "account": ["pull"],
    "claim": ["pull", "claim", "claim"],
    "insert": ["pull", "insert"],
    "insert_items": ["pull", "insert"],
    "test_connection": [],
}


@pytest.fixture(autouse=True)
def masked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], bool]]:
    """Whether Airflow masks a text; each test begins with nothing masked, and leaves what was before."""
    masker = _secrets_masker()
    patterns, replacer = masker.patterns, masker.replacer
    masker.patterns, masker.replacer = set(), None
    yield lambda text: text not in str(masker.redact(f"<{text}>"))
    masker.patterns, masker.replacer = patterns, replacer


def example_of(documented: Any) -> str:
    """The code block of a docstring."""
    _, _, rest = (inspect.getdoc(documented) or "").partition(".. code-block:: python\n")
    return textwrap.dedent("\n".join(re.findall(r"^(?: {4}.*|)$", rest.partition("\n:")[0], re.MULTILINE)))


def kinds(sandbox: Sandbox) -> list[str]:
    return [event.kind for event in sandbox.manager.events]


def stored(sandbox: Sandbox) -> list[str]:
    return [row.link_post for row in sandbox.manager.rows]


def report_of(task: SecondaryTask, *urls: str, **more: Any) -> LinkReport:
    return LinkReport(task.request_id, task.account_id, urls, **more)


def urls(count: int) -> tuple[str, ...]:
    return tuple(f"https://tide.example/{number}" for number in range(count))


# --- examples ---


def test_every_public_method_has_an_example() -> None:
    public = {name for name, each in vars(LikepionHook).items() if inspect.isfunction(each) and name[0] != "_"}
    assert public == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_example_in_each_docstring_works(start: Start, name: str) -> None:
    sandbox: Sandbox = await start()

    def run() -> str:
        names: dict[str, Any] = {}
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(example_of(LikepionHook), names)
            exec(example_of(getattr(LikepionHook, name)), names)
        return out.getvalue()

    printed = await to_thread(run)
    assert kinds(sandbox) == EXAMPLES[name]
    assert not [secret for secret in sandbox.credentials() if secret in printed]


async def test_the_examples_of_inserts_store_what_they_say(start: Start) -> None:
    sandbox: Sandbox = await start()
    names: dict[str, Any] = {}
    await to_thread(exec, example_of(LikepionHook) + example_of(LikepionHook.insert_items), names)
    one, other = sandbox.manager.rows
    assert (one.status, one.link_post) == ("completed", "https://tide.example/1")
    assert sandbox.manager.accounts[one.account_id].credentials["password"] == "renewed"
    assert sandbox.manager.accounts[one.account_id].credentials["cookie"] == "session=renewed"
    assert (other.status, other.note) == ("failed", "no episode is listed")
    assert other.domain == sandbox.manager.accounts[other.account_id].domain == names["other"].domain


# --- the calls ---


async def test_one_id_and_many_are_claimed(start: Start) -> None:
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    hook, ids = LikepionHook(), [account.account_id for account in sandbox.world.accounts]
    assert (await to_thread(hook.claim, ids[0])).claimed == {ids[0]}
    many = await to_thread(hook.claim, (each for each in [*ids, "nobody"]))
    assert many.claimed == set(ids)
    assert many.not_found == {"nobody"}
    assert [len(event.account_ids) for event in sandbox.manager.events] == [1, 3]


async def test_odd_rows_and_primary_tasks_are_told_apart(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    sandbox.manager.answer("pull", entries=("no_host_name",))
    hook = LikepionHook()
    assert len(await to_thread(hook.pull, 2)) == 1
    logged = "".join(capsys.readouterr())
    assert re.search(r"Handed out, and left alone: row 0 .*: domain is no host name", logged)
    assert not [secret for secret in sandbox.credentials() if secret in logged]
    everything = await to_thread(hook.pull, 5, kind=None)
    assert (len(everything), len(everything.primary)) == (1, 1)


async def test_what_comes_and_goes_is_masked(start: Start, masked: Callable[[str], bool]) -> None:
    sandbox: Sandbox = await start(build_world(accounts=2, posts=1))
    hook = LikepionHook()
    first, second = (each.credentials for each in sandbox.world.accounts)
    (pulled,) = await to_thread(hook.pull, 1)
    assert all(map(masked, pulled.credentials.secrets()))
    assert masked(sandbox.feed_url(sandbox.world.posts[0].request_id))
    other = first if pulled.credentials.password == second.password else second
    assert not masked(other.password)
    ids = {each.credentials.password: each.account_id for each in sandbox.world.accounts}
    account = await to_thread(hook.account, ids[other.password])
    assert all(map(masked, other.secrets()))
    new = Credentials(password="renewed-password", twofa="RENEWEDSECRET")
    report = report_of(pulled.task, *urls(1), credentials=new, cookie="session=renewed-cookie")
    await to_thread(hook.insert, report)
    assert all(map(masked, ("renewed-password", "RENEWEDSECRET", "session=renewed-cookie")))
    shown = repr([pulled, account, report, hook, hook.__dict__])
    assert not [secret for secret in (*sandbox.credentials(), *new.secrets(), "renewed-cookie") if secret in shown]


# --- splitting ---


async def test_more_than_200_urls_are_split_where_that_is_asked_for(start: Start) -> None:
    sandbox: Sandbox = await start(build_world(accounts=2, posts=1))
    hook = LikepionHook()
    one, other = (each.task for each in await to_thread(hook.pull, 2))
    reports = [report_of(one, *urls(200)), report_of(other, *urls(250))]
    with pytest.raises(BadRequest, match="1 to 200 URLs, not 450"):
        await to_thread(hook.insert_items, reports)
    assert not sandbox.manager.rows
    records = await to_thread(hook.insert_items, reports, split=True)
    assert [[record.url for record in each] for each in records] == [[*urls(200)], [*urls(250)]]
    assert all(record.stored for each in records for record in each)
    assert kinds(sandbox) == ["pull"] + ["insert"] * 3
    assert len(sandbox.manager.rows) == 450
    assert sandbox.manager.duplicates() == {}


async def test_nothing_is_sent_where_a_later_part_is_wrong(start: Start) -> None:
    sandbox: Sandbox = await start()
    (account,) = await to_thread(LikepionHook().pull, 1)
    with pytest.raises(BadRequest):
        await to_thread(LikepionHook().insert, report_of(account.task, *urls(200), "no URL"), split=True)
    with pytest.raises(BadRequest):
        await to_thread(LikepionHook().insert_items, [report_of(account.task)], split=True)
    assert kinds(sandbox) == ["pull"]


@pytest.mark.parametrize(
    ("status", "then", "said"),
    [(500, None, "the manager answered 500"), (400, False, "the manager answered 400"), (429, False, "answered 429")],
)
async def test_records_say_what_became_of_the_parts_after_a_failure(
    start: Start, status: int, *, then: bool | None, said: str
) -> None:
    sandbox: Sandbox = await start()
    hook = LikepionHook()
    (account,) = await to_thread(hook.pull, 1)
    sandbox.faults.add("insert", "status", status=status, skip=1)
    records = await to_thread(hook.insert, report_of(account.task, *urls(450)), split=True)
    assert [record.stored for record in records] == [True] * 200 + [then] * 200 + [False] * 50
    assert said in records[200].message
    assert records[400].message.startswith("not sent")
    assert kinds(sandbox) == ["pull", "insert"]


# --- once ---


@pytest.fixture
def once() -> LikepionHook:
    return LikepionHook(once=True)


async def test_no_url_is_reported_twice_however_often_the_task_runs(start: Start, once: LikepionHook) -> None:
    sandbox: Sandbox = await start(build_world(accounts=2, posts=1))
    one, other = (each.task for each in await to_thread(once.pull, 2))
    reports = [report_of(one, *urls(250), note="by hand", cookie="session=new"), report_of(other, *urls(2))]
    for _ in range(2):
        records = await to_thread(once.insert_items, reports)
        assert all(record.stored for each in records for record in each)
    assert kinds(sandbox).count("insert") == 3
    more = await to_thread(once.insert, report_of(one, *urls(251)))
    assert [record.stored for record in more] == [True] * 251
    assert len(sandbox.manager.rows) == 253
    assert sandbox.manager.duplicates() == {}
    assert {row.note for row in sandbox.manager.rows if row.account_id == one.account_id} == {"by hand", ""}
    assert sandbox.manager.accounts[one.account_id].credentials["cookie"] == "session=new"
    assert not any(event.foreign for event in sandbox.manager.events)


async def test_what_may_have_been_stored_is_not_sent_again(start: Start, once: LikepionHook) -> None:
    sandbox: Sandbox = await start()
    (account,) = await to_thread(once.pull, 1)
    report = report_of(account.task, *urls(2))
    sandbox.faults.add("insert", "lose_answer")
    for _ in range(2):
        records = await to_thread(once.insert, report)
        assert [record.stored for record in records] == [None, None]
    states = journal_for(LIKEPION_CONN_ID).links.states([account.task.key])
    assert states[account.task.key] == {LinkState.UNKNOWN: 2}
    assert stored(sandbox) == [*urls(2)]


class LaterClock(SystemClock):
    """A quarter of an hour ahead."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=901)

    def boot_s(self) -> float:
        return super().boot_s() + 901


async def test_a_pull_settles_what_it_proves(start: Start, once: LikepionHook, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox: Sandbox = await start(build_world(accounts=1, posts=1))
    (account,) = await to_thread(once.pull, 1)
    report = report_of(account.task, *urls(2))
    sandbox.faults.add("insert", "lose_request")
    assert [record.stored for record in await to_thread(once.insert, report)] == [None, None]
    sandbox.manager.clock.advance(901)
    monkeypatch.setattr(likepion, "SYSTEM_CLOCK", LaterClock())
    assert len(await to_thread(once.pull, 1)) == 1
    assert [record.stored for record in await to_thread(once.insert, report)] == [True, True]
    assert stored(sandbox) == [*urls(2)]


async def test_an_account_that_is_not_ours_is_not_reported(start: Start, once: LikepionHook) -> None:
    sandbox: Sandbox = await start()
    (account,) = await to_thread(LikepionHook().pull, 1)
    with pytest.raises(LeaseLost, match="no claim of this run holds it"):
        await to_thread(once.insert, report_of(account.task, *urls(1)))
    assert (await to_thread(once.claim, account.task.account_id)).claimed == set()
    assert kinds(sandbox) == ["pull"]
    assert journal_for(LIKEPION_CONN_ID).links.of_key(account.task.key) == []


async def test_an_account_that_another_run_works_is_left_to_it(
    start: Start, once: LikepionHook, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox: Sandbox = await start(build_world(accounts=1, posts=1))
    pull: Any = PullSecondaryTasksOperator(task_id="pull_tasks", limit=5)
    (row,) = await to_thread(pull.execute, context)
    report = report_of(SecondaryTask.from_public(row), *urls(1))
    with pytest.raises(LeaseLost, match="another run works it"):
        await to_thread(once.insert, report)
    # In a task of that run, the claim of its pull is this hook's too.
    monkeypatch.setattr(likepion, "get_current_context", lambda: context)
    assert (await to_thread(once.claim, [row["account_id"]])).claimed == {row["account_id"]}
    (record,) = await to_thread(once.insert, report)
    assert record.stored
    assert stored(sandbox) == [*urls(1)]


async def test_a_refused_link_is_offered_again(start: Start, once: LikepionHook) -> None:
    sandbox: Sandbox = await start()
    (account,) = await to_thread(once.pull, 1)
    sandbox.manager.refuse_records(1)
    report = report_of(account.task, *urls(3))
    assert [record.stored for record in await to_thread(once.insert, report)] == [False, True, True]
    assert [record.stored for record in await to_thread(once.insert, report)] == [True, True, True]
    assert sorted(stored(sandbox)) == [*urls(3)]


async def test_two_that_report_the_same_at_once_send_it_once(start: Start, once: LikepionHook) -> None:
    sandbox: Sandbox = await start()
    (account,) = await to_thread(once.pull, 1)
    report = report_of(account.task, *urls(5), *urls(5))
    tries = (to_thread(LikepionHook(once=True).insert, report) for _ in range(4))
    for said in await asyncio.gather(*tries, return_exceptions=True):
        assert isinstance(said, list | LeaseLost | Transient), said
    journal = journal_for(LIKEPION_CONN_ID)
    assert sandbox.manager.duplicates() == {}
    assert sorted(stored(sandbox)) == [*urls(5)]
    assert journal.links.states([account.task.key])[account.task.key] == {LinkState.STORED: 5}


async def test_links_whose_text_is_forgotten_count_as_stored(start: Start, once: LikepionHook) -> None:
    sandbox: Sandbox = await start()
    (account,) = await to_thread(once.pull, 1)
    report = report_of(account.task, *urls(2))
    await to_thread(once.insert, report)
    journal_for(LIKEPION_CONN_ID).links.prune(LaterClock().now())
    assert [record.stored for record in await to_thread(once.insert, report)] == [True, True]
    assert stored(sandbox) == [*urls(2)]


async def test_a_manager_that_is_away_leaves_the_links_to_the_next_call(
    start: Start, once: LikepionHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likepion_provider.steps.delivery.SEND_WAITS_S", ())
    sandbox: Sandbox = await start()
    (account,) = await to_thread(once.pull, 1)
    sandbox.faults.add("insert", "status", status=429)
    report = report_of(account.task, *urls(1))
    with pytest.raises(Transient, match="not sent yet"):
        await to_thread(once.insert, report)
    (record,) = await to_thread(once.insert, report)
    assert record.stored
    assert stored(sandbox) == [*urls(1)]


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (LinkReport("post", "", urls(1), domain="tide.example"), "need account_id"),
        (LinkReport("post", "account", urls(1), status=LinkStatus.FAILED), "no other status"),
        (LinkReport("post", "account", ()), "has no URL"),
        (LinkReport("post", "account", ("tide.example/1",)), r"not a public http\(s\) URL"),
    ],
)
async def test_a_report_that_cannot_be_kept_is_refused_before_anything_is_sent(
    start: Start, once: LikepionHook, report: LinkReport, words: str
) -> None:
    sandbox: Sandbox = await start()
    with pytest.raises(BadRequest, match=words):
        await to_thread(once.insert_items, [LinkReport("post", "account", urls(1)), report])
    assert kinds(sandbox) == []
    assert journal_for(LIKEPION_CONN_ID).links.of_key(PostAccount("post", "account")) == []


async def test_without_once_a_lost_answer_is_raised(start: Start) -> None:
    sandbox: Sandbox = await start()
    (account,) = await to_thread(LikepionHook().pull, 1)
    sandbox.faults.add("insert", "lose_answer")
    with pytest.raises(OutcomeUnknown):
        await to_thread(LikepionHook().insert, report_of(account.task, *urls(1)))
