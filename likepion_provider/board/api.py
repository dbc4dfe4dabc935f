"""The board's web app: a page, its data as JSON and CSV, and the actions on what a filter names.

Every request is about one manager. It needs a user who may read one of the DAGs that work for it; an action needs one
who may edit one of these. An action is one request and one transaction, and the audit log is written first, so nothing
is done without it.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import secrets
from collections.abc import Collection
from datetime import date, datetime, timedelta, timezone
from importlib.resources import files
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from likepion_provider import DAG_ID
from likepion_provider.board import export
from likepion_provider.board.access import Access, AirflowAccess, Person
from likepion_provider.board.bounds import (
    MAX_ACTION,
    MAX_BODY_BYTES,
    MAX_RUN,
    BodyMapIndex,
    BodyReason,
    BodyWord,
    Days,
    Limit,
    LinkId,
    MapIndex,
    Note,
    Number,
    Offset,
    Reason,
    Word,
    words_of,
)
from likepion_provider.board.questions import OPEN, SORTS, STEPS_S, AccountRow, Filter, Order, Overview, UnknownRow
from likepion_provider.board.words import is_set_aside, next_try_of, seen_again, state_of, trouble_of
from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.errors import BadRequest, JournalUnusable, LikepionError, NotJournaled
from likepion_provider.journal import Journal, KnownManager, Managers
from likepion_provider.journal.owner import NOBODY
from likepion_provider.manager.urls import site_address
from likepion_provider.models import PostAccount, Standing
from likepion_provider.words import ENGLISH, LANGUAGES, fitting, shown, spoken, t

log = logging.getLogger(__name__)

#: A header that no other site's form can send; with it a browser asks Airflow's CORS rules first.
CSRF_HEADER = "X-Likepion-Board"
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SCRIPTS = ("board", "actions", "address", "charts", "panels", "tools", "words")
ASSETS = {"board.css": "text/css"} | {f"{name}.js": "text/javascript" for name in SCRIPTS}
# The catalogues, as "make words" compiles them.
ASSETS |= {f"words.{each}.json": "application/json" for each in LANGUAGES if each != ENGLISH}
#: Rows of the panel of those that wait longest.
LONGEST = 5

#: Of a journal that is empty.
NO_MANAGER = KnownManager(NOBODY, "", (), None)

router = APIRouter()


def create_app(access: Access | None = None) -> FastAPI:
    """The web app.

    :param access: users and journal; Airflow's by default.
    """
    app = FastAPI(title="Likepion board", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.access = access or AirflowAccess()
    app.include_router(router)
    app.middleware("http")(_secured)
    app.exception_handler(RequestValidationError)(_not_taken)
    app.exception_handler(Exception)(_failed)
    app.exception_handler(BadRequest)(_refused)
    app.exception_handler(NotJournaled)(_refused)
    app.exception_handler(JournalUnusable)(_unusable)
    return app


async def _secured(request: Request, call_next: Any) -> Any:
    """Bound what is read of a request, and send the headers with every answer."""
    with spoken(_language_of(request)):
        response = _oversized(request) or await call_next(request)
    response.headers.update(SECURITY_HEADERS)
    return response


def _language_of(request: Request) -> str:
    """The language that the page, else the browser, asks for."""
    accepted = re.split(r"\s*,\s*", request.headers.get("Accept-Language", ""))
    return fitting([request.query_params.get("lang", ""), *(each.split(";")[0] for each in accepted)])


def _oversized(request: Request) -> JSONResponse | None:
    """The answer to a request whose body is too large, or of a size that it does not tell."""
    told = request.headers.get("Content-Length", "" if "Transfer-Encoding" in request.headers else "0")
    if told.isascii() and told.isdigit() and len(told) < 10 and int(told) <= MAX_BODY_BYTES:
        return None
    return JSONResponse(
        {"detail": t("The board takes {most} bytes at most, of a told length", most=MAX_BODY_BYTES)}, 413
    )


def _not_taken(_: Request, error: Exception) -> JSONResponse:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    return JSONResponse({"detail": shown(words_of(errors))}, status_code=422)


def _failed(request: Request, error: Exception) -> JSONResponse:
    """The answer to a fault of our own, which passes by the middleware; the server logs the error itself."""
    words = f"The board failed ({type(error).__name__}). The log of Airflow's API server says more."
    with spoken(_language_of(request)):
        words = shown(words)
    return JSONResponse({"detail": words}, status_code=500, headers=SECURITY_HEADERS)


def _refused(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": _advice(error)}, status_code=409)


def _unusable(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": _advice(error)}, status_code=503)


def _advice(error: Exception) -> str:
    return shown(error.advice if isinstance(error, LikepionError) else str(error))


@dataclasses.dataclass(frozen=True)
class View:
    """What somebody may see.

    :param managers: those of which they may read a DAG.
    :param manager: the one that the request is about; of no rows where the journal is empty.
    """

    person: Person
    managers: list[KnownManager]
    manager: KnownManager

    @property
    def dag_ids(self) -> tuple[str, ...]:
        """The DAGs that work for the manager."""
        return _dags_of(self.manager)


async def person(request: Request) -> Person:
    """Somebody who has signed in.

    :raises HTTPException: 401 for nobody.
    """
    found: Person = await request.app.state.access.person(request)
    return found


def reader(request: Request, person: Annotated[Person, Depends(person)], manager: Word = "", dag_id: Word = "") -> View:
    """Somebody who may read, and what.

    :param manager: an address; without it, the manager of ``dag_id``, else that of the DAG that comes with the package.
    :raises HTTPException: 403 for somebody who may not.
    """
    known = Managers(request.app.state.access.database()).listed() or [NO_MANAGER]
    mine = [each for each in known if person.may_read(_dags_of(each))]
    named = [each for each in mine if each.address == site_address(manager)] if manager else mine
    if not named:
        raise HTTPException(403, t("You may not read a DAG that fills this board"))
    chosen = next((each for wanted in (dag_id, DAG_ID) for each in named if wanted in _dags_of(each)), named[0])
    return View(person, [each for each in mine if each is not NO_MANAGER], chosen)


def visitor(
    request: Request, person: Annotated[Person, Depends(person)], manager: Word = "", dag_id: Word = ""
) -> None:
    """Somebody who may see the page, which has nothing in it; also while the journal is gone, as the page says that.

    :raises HTTPException: 403 for somebody who may not.
    """
    try:
        reader(request, person, manager, dag_id)
    except JournalUnusable:
        if not person.may_read([DAG_ID]):
            raise HTTPException(403, t("You may not read a DAG that fills this board")) from None


def editor(
    view: Annotated[View, Depends(reader)],
    board_header: Annotated[str, Header(alias=CSRF_HEADER)] = "",
    sec_fetch_site: Annotated[str, Header()] = "same-origin",
) -> View:
    """Somebody who may edit, and whose browser was asked by the board itself.

    :raises HTTPException: 403 otherwise.
    """
    if not view.person.may_edit(view.dag_ids):
        raise HTTPException(403, t("You may read the board only: to act needs the right to edit the DAG"))
    if not board_header or sec_fetch_site != "same-origin":
        raise HTTPException(403, t("This request did not come from the board"))
    return view


def journal(request: Request, view: Annotated[View, Depends(reader)]) -> Journal:
    """The manager's part of the journal."""
    access: Access = request.app.state.access
    return Journal(access.database().of_id(view.manager.id))


def questions(journal: Annotated[Journal, Depends(journal)]) -> Overview:
    """The questions that the journal answers."""
    return Overview(journal.database)


def _dags_of(manager: KnownManager) -> tuple[str, ...]:
    return manager.dag_ids or (DAG_ID,)


def group(journal: Annotated[Journal, Depends(journal)], group_id: Word = "") -> str:
    """The id of the group that a request is about; empty where it is about any.

    :raises BadRequest: the journal knows no one group that begins so.
    """
    return journal.names.group(group_id.strip())


def account(journal: Annotated[Journal, Depends(journal)], account_id: Word = "") -> str:
    """The id of the account that a request is about; empty where it is about any.

    :raises BadRequest: the journal knows no one account that is called so.
    """
    return journal.names.account(account_id.strip())


def chosen(
    group_id: Annotated[str, Depends(group)],
    domain: Word = "",
    standing: Standing | Literal[""] = "",
    run_id: Word = "",
    map_index: MapIndex | None = None,
    text: Word = "",
    reason: Reason = "",
    request_id: Word = "",
    account_id: Annotated[str, Depends(account)] = "",
) -> Filter:
    """The filter of a request."""
    return Filter(group_id, domain, standing or None, run_id, map_index, text.strip(), reason, request_id, account_id)


def sorted_by(sort: Literal[SORTS] = "updated_at", descending: bool = True) -> Order:  # type: ignore[valid-type]
    """The order of a request."""
    return Order(sort, descending)


Reader = Annotated[View, Depends(reader)]
Editor = Annotated[View, Depends(editor)]
TheJournal = Annotated[Journal, Depends(journal)]
Asked = Annotated[Overview, Depends(questions)]
Chosen = Annotated[Filter, Depends(chosen)]
Sorted = Annotated[Order, Depends(sorted_by)]


@router.get("/", dependencies=[Depends(visitor)])
def page() -> Response:
    """The page."""
    return Response(_static("board.html"), media_type="text/html")


@router.get("/static/{name}", dependencies=[Depends(visitor)])
def asset(name: str) -> Response:
    """A file of the page."""
    if name not in ASSETS:
        raise HTTPException(404, "no such file")
    return Response(_static(name), media_type=ASSETS[name])


@router.get("/api/overview")
def overview(view: Reader, journal: TheJournal, asked: Asked) -> dict[str, Any]:
    """Totals, and what the user may do."""
    return {
        "domains": asked.totals(),
        "settling": journal.settling.mode(),
        "manager": view.manager.address,
        "managers": [each.address for each in view.managers],
        "user": view.person.name,
        "may_act": view.person.may_edit(view.dag_ids),
        "now": datetime.now(timezone.utc),
    }


@router.get("/api/groups")
def groups(_: Reader, asked: Asked, group_id: Word = "", offset: Offset = 0, limit: Limit = 20) -> dict[str, Any]:
    """A page of groups."""
    total, rows = asked.groups(group_id=group_id, offset=offset, limit=limit)
    return {"total": total, "rows": [dataclasses.asdict(row) for row in rows]}


@router.get("/api/accounts")
def accounts(
    request: Request,
    view: Reader,
    asked: Asked,
    which: Chosen,
    order: Sorted,
    offset: Offset = 0,
    limit: Limit = 50,
) -> dict[str, Any]:
    """A page of accounts."""
    now = Moment.read(SYSTEM_CLOCK)
    total, rows = asked.accounts(which, now, order=order, offset=offset, limit=limit)
    needing = {row.task.dag_id for row in rows if row.standing is Standing.NEEDS_PERSON}
    access: Access = request.app.state.access
    waiting = access.asked(needing & set(view.dag_ids)) if needing else ()
    return {
        "total": total,
        "rows": [_account(row, now.at) | {"required_action": _required_action(row, waiting)} for row in rows],
        "reason": shown(which.reason),
        "now": now.at,
    }


@router.get("/api/accounts.csv")
def accounts_csv(_: Reader, asked: Asked, which: Chosen) -> StreamingResponse:
    """Every account of a filter."""
    headers = {"Content-Disposition": 'attachment; filename="likepion-accounts.csv"'}
    now = datetime.now(timezone.utc)
    rows = (_account(row, now) for row in asked.every_account(which))
    return StreamingResponse(export.lines(rows), media_type="text/csv", headers=headers)


@router.get("/api/links")
def links(_: Reader, asked: Asked, request_id: Word, account_id: Word, offset: Offset = 0) -> dict[str, Any]:
    """A page of an account's links."""
    rows = asked.links(PostAccount(request_id, account_id), offset=offset)
    return {"rows": [dataclasses.asdict(row) for row in rows]}


@router.get("/api/unknown")
def unknown(_: Reader, asked: Asked, which: Chosen, offset: Offset = 0, limit: Limit = 50) -> dict[str, Any]:
    """A page of parked links."""
    total, rows = asked.unknown(which, offset=offset, limit=limit)
    return {"total": total, "rows": [_unknown(row) for row in rows]}


@router.get("/api/delivered")
def delivered(_: Reader, asked: Asked, days: Days = 30) -> dict[str, Any]:
    """Links delivered, per day and domain."""
    since = _first_of(days)
    return {"since": since, "days": days, "rows": [dataclasses.asdict(row) for row in asked.delivered(since)]}


@router.get("/api/failed")
def failed(_: Reader, asked: Asked, days: Days = 30) -> dict[str, Any]:
    """Failures, per day and domain."""
    since = _first_of(days)
    return {"since": since, "days": days, "rows": [dataclasses.asdict(row) for row in asked.failed(since)]}


@router.get("/api/reasons")
def reasons(_: Reader, asked: Asked) -> dict[str, Any]:
    """Why accounts failed or need a person."""
    return {"rows": [dataclasses.asdict(row) | {"words": shown(row.message)} for row in asked.reasons()]}


@router.get("/api/times")
def times(_: Reader, asked: Asked, days: Days = 30) -> dict[str, Any]:
    """How long deliveries took, per domain."""
    since = _first_of(days)
    rows = [dataclasses.asdict(row) for row in asked.delivery_times(since)]
    return {"since": since, "days": days, "steps_s": STEPS_S, "rows": rows}


@router.get("/api/waiting")
def waiting(_: Reader, asked: Asked, which: Chosen) -> dict[str, Any]:
    """The accounts that wait longest."""
    now = datetime.now(timezone.utc)
    if which.standing and which.standing not in OPEN:
        which = dataclasses.replace(which, standing=None)
    return {"rows": [_account(row, now) for row in asked.waiting(which, LONGEST)]}


@router.get("/api/history")
def history(_: Reader, asked: Asked, request_id: Word, account_id: Word) -> dict[str, Any]:
    """What became of an account."""
    rows = asked.history(PostAccount(request_id, account_id))
    return {"rows": [dataclasses.asdict(each) | {"words": shown(each.message)} for each in rows]}


class ChosenInBody(BaseModel):
    """A filter in a request's body; see :func:`chosen`, whose words for a group and an account it takes too."""

    group_id: BodyWord = ""
    domain: BodyWord = ""
    standing: Standing | Literal[""] = ""
    run_id: BodyWord = ""
    map_index: BodyMapIndex | None = None
    text: BodyWord = ""
    reason: BodyReason = ""
    request_id: BodyWord = ""
    account_id: BodyWord = ""

    def meant(self, journal: Journal) -> ChosenInBody:
        """The same with whole ids.

        :raises BadRequest: the journal knows no one group, or account, that is called so.
        """
        ids = {"group_id": group(journal, self.group_id), "account_id": account(journal, self.account_id)}
        return self.model_copy(update=ids)

    def filter(self) -> Filter:
        """The filter."""
        return chosen(**self.model_dump())


class Action(BaseModel):
    """An action on whatever a filter names.

    :param number: how many these are, as the person was told; where it is no longer so, nothing is done.
    """

    which: ChosenInBody
    number: Number
    note: Note = ""


class Verdict(BaseModel):
    """A person's word on a parked link."""

    verdict: Literal["is_there", "send_again"]
    note: Note = ""


class VerdictOnMany(Verdict, Action):
    """A person's word on all parked links of a filter."""


AnAction = TypeVar("AnAction", bound=Action)


@router.post("/api/run")
def run(said: Action, view: Editor, journal: TheJournal, asked: Asked, request: Request) -> dict[str, Any]:
    """Start a run for the accounts of a filter: by its group or platform where it names nothing else, else by ids."""
    said = _meant(said, journal)
    which = said.which.filter()
    keys = asked.keys(which, MAX_ACTION)
    if len(keys) != min(said.number, MAX_ACTION):
        raise _other_number(said, len(keys))
    accounts = list(dict.fromkeys(key.account_id for key in keys))
    conf: dict[str, Any] = {"account_ids": accounts[:MAX_RUN]}
    if which.group_id and which == Filter(group_id=which.group_id):
        conf = {"group_id": which.group_id}
    elif which.domain and which == Filter(domain=which.domain):
        conf = {"domains": [which.domain]}
    dag_id = _dag_to_edit(view)
    run_id = f"board__{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S}_{secrets.token_hex(3)}"
    conf["limit"] = MAX_RUN
    _audit(request, view, "likepion_run", said, {"run_id": run_id, "conf": conf})
    access: Access = request.app.state.access
    begins = access.start(view.person, dag_id, run_id, conf)
    taken = min(len(accounts), MAX_RUN)
    return {"dag_id": dag_id, "run_id": run_id, "accounts": taken, "left": len(accounts) - taken, "begins": begins}


@router.post("/api/unknown")
def settle_all(
    said: VerdictOnMany, view: Editor, journal: TheJournal, asked: Asked, request: Request
) -> dict[str, Any]:
    """Take a person's word on all parked links of a filter."""
    said = _meant(said, journal)
    _audit(request, view, "likepion_settle", said, {"verdict": said.verdict})
    with journal.database.writing():
        link_ids = asked.parked_links(said.which.filter(), MAX_ACTION)
        _same_number(said, len(link_ids))
        is_there = said.verdict == "is_there"
        number = journal.settling.settle_all(link_ids, is_there=is_there, **_by(view, said.note))
    return {"number": number}


@router.post("/api/set-aside")
def set_aside(said: Action, view: Editor, journal: TheJournal, asked: Asked, request: Request) -> dict[str, Any]:
    """Have no run try the accounts of a filter by itself."""
    said = _meant(said, journal)
    _audit(request, view, "likepion_set_aside", said, {})
    with journal.database.writing():
        keys = asked.keys(said.which.filter(), MAX_ACTION)
        _same_number(said, len(keys))
        journal.submissions.set_aside(keys, **_by(view, said.note))
    return {"number": len(keys)}


@router.post("/api/take-back")
def take_back(said: Action, view: Editor, journal: TheJournal, asked: Asked, request: Request) -> dict[str, Any]:
    """Have runs try the accounts of a filter again, however often they failed."""
    said = _meant(said, journal)
    _audit(request, view, "likepion_take_back", said, {})
    with journal.database.writing():
        keys = asked.keys(said.which.filter(), MAX_ACTION)
        _same_number(said, len(keys))
        journal.settling.forgive(keys, datetime.now(timezone.utc))
    return {"number": len(keys)}


@router.post("/api/unknown/{link_id}")
def settle(link_id: LinkId, said: Verdict, view: Editor, journal: TheJournal, request: Request) -> dict[str, Any]:
    """Take a person's word on one link; the audit log is written first, so nothing is settled without it."""
    _audit(request, view, "likepion_settle", said, {"link_id": link_id, "verdict": said.verdict})
    link = journal.settling.settle(link_id, is_there=said.verdict == "is_there", **_by(view, said.note))
    return {"id": link.id, "state": link.state.value, "evidence": link.evidence}


def _meant(said: AnAction, journal: Journal) -> AnAction:
    """An action with whole ids, as it is audited and done.

    :raises BadRequest: the journal knows no one group, or account, that is called so.
    """
    return said.model_copy(update={"which": said.which.meant(journal)})


def _audit(request: Request, view: View, event: str, said: Action | Verdict, details: dict[str, Any]) -> None:
    access: Access = request.app.state.access
    about: dict[str, Any] = {"manager": view.manager.address, "note": said.note}
    if isinstance(said, Action):
        about |= {"which": said.which.model_dump(mode="json", exclude_defaults=True), "number": said.number}
    access.audit(view.person, _dag_to_edit(view), event, about | details)


def _dag_to_edit(view: View) -> str:
    return next(each for each in view.dag_ids if view.person.may_edit([each]))


def _by(view: View, note: str) -> dict[str, Any]:
    return {"who": view.person.name, "note": " ".join(note.split()), "at": datetime.now(timezone.utc)}


def _same_number(said: Action, number: int) -> None:
    """Refuse what a person was not told.

    :raises BadRequest: another number, or more than one action takes.
    """
    if said.number > MAX_ACTION:
        raise BadRequest(f"one action takes {MAX_ACTION:,} at most", remedy="Filter them into smaller parts.")
    if number != said.number:
        raise _other_number(said, number)


def _other_number(said: Action, number: int) -> BadRequest:
    return BadRequest(f"{number} match now, not {said.number}", remedy="Look at them, and say it again.")


def _first_of(days: int) -> date:
    return datetime.now(timezone.utc).date() - timedelta(days=days - 1)


def _required_action(row: AccountRow, waiting: Collection[tuple[str, str, str, int]]) -> str:
    """The task that waits for a person's answer about an account; empty where none does."""
    task = row.task
    if row.standing is not Standing.NEEDS_PERSON:
        return ""
    # The tasks of one batch have one map index.
    mine = (each for each in waiting if (each[0], each[1], each[3]) == (task.dag_id, task.run_id, task.map_index))
    return next((task_id for _, _, task_id, _ in mine), "")


def _static(name: str) -> bytes:
    return (files("likepion_provider.board") / "static" / name).read_bytes()


def _account(row: AccountRow, now: datetime) -> dict[str, Any]:
    error, remedy = trouble_of(row)
    return {
        "request_id": row.key.request_id,
        "account_id": row.key.account_id,
        "group_id": row.group_id,
        "account": row.label,
        "domain": row.domain,
        "standing": row.standing.value,
        "state": state_of(row),
        "attempts": row.attempts,
        "failures": row.failures,
        "set_aside": is_set_aside(row),
        "last_error": error,
        "what_to_do": remedy if error else "",
        "next_try_at": next_try_of(row, now),
        "links": row.links,
        "stored": row.stored,
        "claimed_until": row.claimed_until,
        "noted_at": row.noted_at,
        "updated_at": row.updated_at,
        **dataclasses.asdict(row.task),
    }


def _unknown(row: UnknownRow) -> dict[str, Any]:
    return {
        "link_id": row.link_id,
        "url": row.url,
        "account": row.label or row.key.account_id,
        "account_id": row.key.account_id,
        "group_id": row.group_id,
        "sent_at": row.sent_at,
        "sends": row.sends,
        "evidence": shown(row.evidence),
        "seen_again": seen_again(row),
    }
