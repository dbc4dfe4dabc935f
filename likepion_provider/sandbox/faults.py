"""Faults on demand: what networks, proxies and servers do to a request, at a chosen place and moment.

One :class:`Faults` serves all three servers of a sandbox. A :class:`Fault` names the endpoint it waits for, how often
it strikes and what it does; the kinds are:

============================ ===================================================================================
kind                         what the caller sees
============================ ===================================================================================
``status``                   an error status (``status``, default 500; ``retry_after`` adds the header)
``success_false``            200 with ``{"success": false, "message": ...}``
``html``                     an HTML page, as from a proxy (``status``, default 200)
``redirect``                 a redirect to ``location`` (``status``, default 302)
``lose_request``             the connection is reset and nothing took effect
``lose_answer``              the request took effect, then the connection is reset
``delay``                    the right answer, ``delay_s`` late
``truncated_json``           the first half of the right answer as a complete HTTP response
``cut``                      headers for the whole answer, half of its body, end of connection
``wrong_types``              the right fields, each list, object and number replaced by a word
``drop_results``             the answer lacks the second half of each of its lists
``numbers_as_strings``       as the contract warns: still to be understood
``extra_fields``             as the contract warns: still to be understood
``null_optionals``           as the contract warns: each empty text is null; still to be understood
============================ ===================================================================================

The first four take the place of the request unless ``after_effect`` is true. ``delay_s`` can be given with any kind
and comes before the effect, or after it with ``after_effect``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

#: Every place a fault can be put; a fault's ``endpoint`` may be a pattern over these (``*``, ``site.*``).
ENDPOINTS = (
    "pull",
    "claim",
    "insert",
    "account",
    "site.login",
    "site.totp",
    "site.submit",
    "site.imports",
    "site.status",
    "site.refresh",
    "site.episodes",
    "site.page",
    "feed.rss",
    "feed.audio",
)

_INSTEAD = frozenset({"status", "success_false", "html", "redirect"})


def _numbers_as_strings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers_as_strings(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_numbers_as_strings(each) for each in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _null_optionals(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_optionals(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_null_optionals(each) for each in value]
    return None if value == "" else value


def _extra_fields(value: Any) -> Any:
    if isinstance(value, dict):
        return {**{key: _extra_fields(each) for key, each in value.items()}, "x_sandbox_extra": {"new": [1, None]}}
    return [_extra_fields(each) for each in value] if isinstance(value, list) else value


def _wrong_types(value: Any) -> Any:
    if not isinstance(value, dict):
        return "sandbox"
    return {key: each if isinstance(each, (str, bool)) else "sandbox" for key, each in value.items()}


def _drop_results(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: each[: len(each) // 2] if isinstance(each, list) else each for key, each in value.items()}


_REWRITES: Mapping[str, Callable[[Any], Any]] = {
    "wrong_types": _wrong_types,
    "drop_results": _drop_results,
    "numbers_as_strings": _numbers_as_strings,
    "extra_fields": _extra_fields,
    "null_optionals": _null_optionals,
}

#: Every kind of fault.
KINDS = (*sorted(_INSTEAD), "lose_request", "lose_answer", "delay", "truncated_json", "cut", *_REWRITES)


@dataclasses.dataclass
class Fault:
    """One fault that waits for its requests.

    :param endpoint: a name of :data:`ENDPOINTS` or a pattern over them.
    :param kind: one of :data:`KINDS`.
    :param times: how many requests it strikes before it is spent, 1 or more; None: no end. Default 1.
    :param skip: how many matching requests it first lets pass. Default 0.
    :param probability: of striking a matching request, 0 to 1, from the seeded generator. Default 1.
    :param status: HTTP status, 100 to 599, for ``status``, ``html`` and ``redirect``; 0: the kind's default.
    :param retry_after: the ``Retry-After`` header of ``status``, seconds or an HTTP date; None: no header.
    :param location: the ``Location`` header of ``redirect``; default: the sign-in page of an imaginary proxy.
    :param delay_s: how long to hold the request, in seconds. Default 0.
    :param after_effect: whether the request takes effect before the fault shows. Default false.
    :param about: strikes only requests that have this in their body, e.g. an account's id; empty: all. Default empty.
    :raises ValueError: a field is out of its bounds.
    """

    endpoint: str
    kind: str
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    status: int = 0
    retry_after: str | None = None
    location: str = "/sign-in"
    delay_s: float = 0.0
    after_effect: bool = False
    about: str = ""

    def __post_init__(self) -> None:
        checks = {
            f"endpoint {self.endpoint!r} matches none of {', '.join(ENDPOINTS)}": any(
                fnmatchcase(name, self.endpoint) for name in ENDPOINTS
            ),
            f"kind {self.kind!r} is none of {', '.join(KINDS)}": self.kind in KINDS,
            "times must be 1 or more, or null": self.times is None or self.times >= 1,
            "skip must be 0 or more": self.skip >= 0,
            "probability must be in 0..1": 0 <= self.probability <= 1,
            "status must be in 100..599": self.status == 0 or 100 <= self.status <= 599,
            "delay_s must be 0 or more": self.delay_s >= 0,
        }
        for message, holds in checks.items():
            if not holds:
                raise ValueError(message)

    @property
    def takes_effect(self) -> bool:
        """Whether the request is worked before the fault shows."""
        if self.kind == "lose_request":
            return False
        return self.after_effect or self.kind not in _INSTEAD

    def strikes(self, endpoint: str, rng: random.Random, body: str = "") -> bool:
        """Whether this request is struck; counts it.

        :param endpoint: the request's name of :data:`ENDPOINTS`.
        :param rng: the generator that ``probability`` is drawn from.
        :param body: the request's.
        """
        if not fnmatchcase(endpoint, self.endpoint) or self.about not in body:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if rng.random() >= self.probability:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """The faults that wait, and a count of those that struck.

    :param seed: of the generator behind ``probability``; the same seed and requests give the same faults.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self.waiting: list[Fault] = []
        #: How often each ``(endpoint, kind)`` struck.
        self.hits: Counter[tuple[str, str]] = Counter()

    def reseed(self, seed: int) -> None:
        """Start the generator behind ``probability`` again.

        :param seed: any integer.
        """
        self._rng.seed(seed)

    def add(self, endpoint: str, kind: str, **fields: Any) -> Fault:
        """Let a fault wait for its requests; the oldest that matches strikes first.

        :param endpoint: see :class:`Fault`, as every other parameter.
        :param kind: see :class:`Fault`.
        :raises ValueError: a field is unknown or out of its bounds.
        """
        try:
            fault = Fault(endpoint, kind, **fields)
        except TypeError as error:
            raise ValueError(f"not a fault: {error}") from error
        self.waiting.append(fault)
        return fault

    def clear(self) -> None:
        """Drop every fault that still waits."""
        self.waiting.clear()

    def take(self, endpoint: str, body: str = "") -> Fault | None:
        """The fault that strikes this request, if any.

        :param endpoint: the request's name of :data:`ENDPOINTS`.
        :param body: the request's.
        """
        for fault in self.waiting:
            if fault.strikes(endpoint, self._rng, body):
                if fault.times == 0:
                    self.waiting.remove(fault)
                self.hits[endpoint, fault.kind] += 1
                return fault
        return None

    def middleware(self) -> Middleware:
        """A middleware that lets the faults strike an application whose routes are named as in :data:`ENDPOINTS`."""

        @web.middleware
        async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
            body = await request.text() if any(fault.about for fault in self.waiting) else ""
            fault = self.take(request.match_info.route.name or "", body)
            return await handler(request) if fault is None else await _struck(fault, request, handler)

        return strike

    def routes(self) -> list[web.RouteDef]:
        """``/sandbox/faults``: GET lists, POST adds one or ``{"seed": n, "faults": [...]}``, DELETE clears."""
        return [
            web.get("/sandbox/faults", self._list),
            web.post("/sandbox/faults", self._post),
            web.delete("/sandbox/faults", self._delete),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        hits = [{"endpoint": name, "kind": kind, "count": count} for (name, kind), count in self.hits.items()]
        return web.json_response({"waiting": [dataclasses.asdict(fault) for fault in self.waiting], "hits": hits})

    async def _post(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            listed = body.get("faults", [] if "seed" in body else [body])
            new = [Fault(**fields) for fields in listed]
            if "seed" in body:
                self.reseed(int(body["seed"]))
        except (ValueError, TypeError, AttributeError) as error:
            return web.json_response({"success": False, "message": f"not a fault: {error}"}, status=400)
        self.waiting.extend(new)
        return await self._list(request)

    async def _delete(self, request: web.Request) -> web.Response:
        self.clear()
        return await self._list(request)


async def _struck(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    if not fault.after_effect:
        await asyncio.sleep(fault.delay_s)
    answer = await _worked(request, handler) if fault.takes_effect else None
    if fault.after_effect:
        await asyncio.sleep(fault.delay_s)
    if fault.kind in ("lose_request", "lose_answer"):
        return _reset(request)
    if answer is None or fault.kind in _INSTEAD:
        return _instead(fault)
    if fault.kind == "delay":
        return answer
    body = answer.body if isinstance(answer.body, bytes) else b""
    if fault.kind == "cut":
        return await _cut(request, answer, body)
    answer.body = body[: len(body) // 2] if fault.kind == "truncated_json" else _rewritten(fault.kind, body)
    return answer


async def _worked(request: web.Request, handler: Handler) -> web.Response:
    try:
        answer = await handler(request)
    except web.HTTPException as error:
        return web.Response(status=error.status, text=error.text)
    if not isinstance(answer, web.Response):
        raise TypeError("only whole answers can be struck by a fault")
    return answer


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, answer: web.Response, body: bytes) -> web.StreamResponse:
    head = web.StreamResponse(status=answer.status, headers=answer.headers)
    head.cookies.update(answer.cookies)
    head.content_length = max(len(body), 2)
    await head.prepare(request)
    await head.write(body[: len(body) // 2] or b"{")
    if request.transport is not None:
        request.transport.close()
    return head


def _instead(fault: Fault) -> web.Response:
    if fault.kind == "redirect":
        return web.Response(status=fault.status or 302, headers={"Location": fault.location})
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.kind == "html":
        page = "<!doctype html><html lang=en><title>Gateway</title><h1>The sandbox's proxy</h1></html>"
        return web.Response(text=page, content_type="text/html", status=fault.status or 200, headers=headers)
    answer = {"success": False, "message": f"sandbox fault: {fault.kind}"}
    return web.json_response(answer, status=(fault.status or 500) if fault.kind == "status" else 200, headers=headers)


def _rewritten(kind: str, body: bytes) -> bytes:
    try:
        value = json.loads(body)
    except ValueError:
        return body
    return json.dumps(_REWRITES[kind](value)).encode()
