"""The manager behind HTTP.

:func:`manager_app` serves it under :data:`API`, is strict about each request, strikes with faults on demand, and has
routes for tests under ``/sandbox`` (JSON in and out, without a key):

=========================================== =======================================================================
``GET /sandbox/state``                      clock, groups, posts, accounts with their claims; no secret
``POST /sandbox/groups``                    ``{website?, primary_domain?, group_id?}``
``POST /sandbox/posts``                     ``{group_id, target?, link_rss?, status?, request_id?}``
``PATCH /sandbox/posts/{request_id}``       ``{link_rss?, status?, target?}``
``POST /sandbox/accounts``                  ``{group_id, domain, username?, password?, ..., status?, account_id?}``
``PATCH /sandbox/accounts/{account_id}``    ``{password?, cookie?, ..., status?}``: credentials at the manager only
``GET /sandbox/rows[?request_id=]``         ``{rows, count, accounts, duplicates}``
``GET /sandbox/log``                        ``{events}``: every pull, claim and insert, and who held what
``POST /sandbox/clock``                     ``{advance_s}``: moves the claims' clock
``POST /sandbox/refuse``                    ``{records}``: this many of the next inserted records fail
``GET /sandbox/oddities``                   ``{waiting}``: the odd answers that wait for their calls
``POST /sandbox/oddities``                  ``{endpoint, times?, entries?, fields?, absent?, status?, ...}``: see
                                            :class:`likepion_provider.sandbox.oddities.Oddity`
``DELETE /sandbox/oddities``                drops those that wait
``GET, POST, DELETE /sandbox/faults``       see :mod:`likepion_provider.sandbox.faults`
=========================================== =======================================================================

A worker may name itself with the header ``X-Sandbox-Worker``; the log keeps it.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from likepion_provider.sandbox.contract import API, CREDENTIAL_FIELDS, DEFAULT_LIMIT, MAX_LIMIT, ErrorAnswer
from likepion_provider.sandbox.faults import Faults
from likepion_provider.sandbox.manager import POST_FIELDS, SandboxManager, check_fields, is_count, is_text


def _is_list_of(kind: Callable[[object], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(kind(each) for each in value)


_ODDITY_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "endpoint": is_text,
    "times": is_count,
    "entries": _is_list_of(is_text),
    "fields": lambda value: isinstance(value, dict),
    "absent": _is_list_of(is_text),
    "status": is_count,
    "store": _is_list_of(is_count),
    "beyond": is_count,
    "other": is_text,
}


def manager_app(manager: SandboxManager, faults: Faults, *, api_key: str) -> web.Application:
    """The manager behind HTTP; see the module's docstring.

    :param manager: the state it serves.
    :param faults: strike its four endpoints.
    :param api_key: the value that ``X-API-Key`` must have.
    """
    app = web.Application(middlewares=[faults.middleware(), _guard(api_key)])
    app.add_routes([*_Api(manager).routes(), *_Door(manager).routes(), *faults.routes()])
    return app


def _guard(api_key: str) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.get("X-API-Key", "").encode()
        if request.path.startswith(API) and not secrets.compare_digest(sent, api_key.encode()):
            return _error(401, "X-API-Key is missing or wrong")
        try:
            return await handler(request)
        except ErrorAnswer as error:
            return web.json_response(error.body, status=error.status)
        except web.HTTPException as error:
            return _error(error.status, error.reason)

    return guard


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"success": False, "message": message}, status=status)


async def _json(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError as error:
        raise ErrorAnswer(400, "the body is not JSON") from error


async def _json_object(request: web.Request, *required: str) -> dict[str, Any]:
    body = await _json(request)
    if not isinstance(body, dict):
        raise ErrorAnswer(400, "the body must be a JSON object")
    for name in required:
        if name not in body:
            raise ErrorAnswer(400, f"{name} is required")
    return body


def _worker(request: web.Request) -> str:
    return request.headers.get("X-Sandbox-Worker", "")


class _Api:
    """The contract's four endpoints."""

    def __init__(self, manager: SandboxManager) -> None:
        self._manager = manager

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{API}/links", self._pull, name="pull", allow_head=False),
            web.post(f"{API}/accounts/claim", self._claim, name="claim"),
            web.post(f"{API}/links/insert", self._insert, name="insert"),
            web.get(f"{API}/accounts/{{account_id}}", self._account, name="account", allow_head=False),
        ]

    async def _pull(self, request: web.Request) -> web.Response:
        try:
            limit = int(request.query.get("limit", str(DEFAULT_LIMIT)))
        except ValueError as error:
            raise ErrorAnswer(400, f"limit must be a whole number, 1..{MAX_LIMIT}") from error
        tasks = self._manager.pull(limit, request.query.get("type"), worker=_worker(request))
        return web.json_response({"success": True, "data": tasks})

    async def _claim(self, request: web.Request) -> web.Response:
        body = await _json_object(request)
        one, many = body.get("account_id"), body.get("account_ids")
        ids = [*([] if one is None else [one]), *(many if isinstance(many, list) else [])]
        if (many is not None and not isinstance(many, list)) or not all(isinstance(each, str) for each in ids):
            raise ErrorAnswer(400, "account_id must be a string and account_ids a list of strings")
        return web.json_response(self._manager.claim(ids, worker=_worker(request)))

    async def _insert(self, request: web.Request) -> web.Response:
        return web.json_response(self._manager.insert(await _json(request), worker=_worker(request)))

    async def _account(self, request: web.Request) -> web.Response:
        return web.json_response({"success": True, "data": self._manager.account(request.match_info["account_id"])})


class _Door:
    """``/sandbox``: the routes for tests."""

    def __init__(self, manager: SandboxManager) -> None:
        self._manager = manager

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/sandbox/state", self._state),
            web.post("/sandbox/groups", self._add_group),
            web.post("/sandbox/posts", self._add_post),
            web.patch("/sandbox/posts/{id}", self._change_post),
            web.post("/sandbox/accounts", self._add_account),
            web.patch("/sandbox/accounts/{id}", self._change_account),
            web.get("/sandbox/rows", self._rows),
            web.get("/sandbox/log", self._log),
            web.post("/sandbox/clock", self._clock),
            web.post("/sandbox/refuse", self._refuse),
            web.get("/sandbox/oddities", self._oddities),
            web.post("/sandbox/oddities", self._add_oddity),
            web.delete("/sandbox/oddities", self._drop_oddities),
        ]

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(self._manager.state_report())

    async def _add_group(self, request: web.Request) -> web.Response:
        body = await _json_object(request)
        check_fields(body, dict.fromkeys(("group_id", "website", "primary_domain"), is_text))
        return web.json_response({"group_id": self._manager.add_group(**body).group_id}, status=201)

    async def _add_post(self, request: web.Request) -> web.Response:
        body = await _json_object(request, "group_id")
        check_fields(body, {**POST_FIELDS, "group_id": is_text, "request_id": is_text})
        post = self._manager.add_post(**body)
        return web.json_response({"request_id": post.request_id}, status=201)

    async def _change_post(self, request: web.Request) -> web.Response:
        self._manager.update_post(request.match_info["id"], **await _json_object(request))
        return web.json_response({"success": True})

    async def _add_account(self, request: web.Request) -> web.Response:
        body = await _json_object(request, "group_id", "domain")
        check_fields(body, dict.fromkeys((*CREDENTIAL_FIELDS, "group_id", "domain", "account_id", "status"), is_text))
        account = self._manager.add_account(
            body.pop("group_id"),
            body.pop("domain"),
            account_id=body.pop("account_id", ""),
            status=body.pop("status", "active"),
            credentials=body,
        )
        return web.json_response({"account_id": account.account_id}, status=201)

    async def _change_account(self, request: web.Request) -> web.Response:
        self._manager.update_account(request.match_info["id"], **await _json_object(request))
        return web.json_response({"success": True})

    async def _rows(self, request: web.Request) -> web.Response:
        return web.json_response(self._manager.rows_report(request.query.get("request_id", "")))

    async def _log(self, request: web.Request) -> web.Response:
        return web.json_response({"events": self._manager.events_report()})

    async def _clock(self, request: web.Request) -> web.Response:
        body = await _json_object(request, "advance_s")
        try:
            now = self._manager.clock.advance(float(body["advance_s"]))
        except (TypeError, ValueError, OverflowError) as error:
            raise ErrorAnswer(400, "advance_s must be a number, 0 or more") from error
        return web.json_response({"now": now.isoformat()})

    async def _refuse(self, request: web.Request) -> web.Response:
        body = await _json_object(request, "records")
        check_fields(body, {"records": is_count})
        self._manager.refuse_records(body["records"])
        return web.json_response({"success": True})

    async def _oddities(self, request: web.Request) -> web.Response:
        return web.json_response({"waiting": [dataclasses.asdict(each) for each in self._manager.oddities]})

    async def _add_oddity(self, request: web.Request) -> web.Response:
        body = await _json_object(request, "endpoint")
        check_fields(body, _ODDITY_FIELDS)
        try:
            self._manager.answer(**body)
        except ValueError as error:
            raise ErrorAnswer(400, str(error)) from error
        return await self._oddities(request)

    async def _drop_oddities(self, request: web.Request) -> web.Response:
        self._manager.oddities.clear()
        return await self._oddities(request)
