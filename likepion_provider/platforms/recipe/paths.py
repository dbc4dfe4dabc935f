"""JSONPath, walked step by step over what the step before found: the time is values times steps, whatever there is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import jsonpath
from jsonpath.filter import (
    BaseExpression,
    BooleanLiteral,
    CachingFilterExpression,
    FilterExpression,
    FloatLiteral,
    InfixExpression,
    IntegerLiteral,
    Nil,
    PrefixExpression,
    RelativeFilterQuery,
    StringLiteral,
)
from jsonpath.segments import JSONPathRecursiveDescentSegment
from jsonpath.selectors import Filter, FilterContext, IndexSelector, NameSelector, SliceSelector, WildcardSelector

from likepion_provider.web.work import Work

#: No path has more.
MAX_STEPS_OF_A_PATH = 32
_LITERALS = (BooleanLiteral, FloatLiteral, IntegerLiteral, Nil, StringLiteral)
_SELECTORS = (Filter, IndexSelector, NameSelector, SliceSelector, WildcardSelector)


@dataclasses.dataclass(frozen=True)
class Step:
    """One segment of a path; ``goes_down`` is that of ``..``."""

    goes_down: bool
    selectors: tuple[Any, ...]


@functools.lru_cache(maxsize=1000)
def compiled(path: str) -> tuple[Step, ...]:
    """Read a path.

    :raises ValueError: it is none, or needs what is not known here.
    """
    try:
        read = jsonpath.compile(path)
    except jsonpath.JSONPathError as error:
        raise ValueError(str(error)) from None
    if not isinstance(read, jsonpath.JSONPath):
        raise ValueError("paths are not joined")  # noqa: TRY004 - it is about the text
    if len(read.segments) > MAX_STEPS_OF_A_PATH:
        raise ValueError(f"has more than {MAX_STEPS_OF_A_PATH} steps")
    for segment in read.segments:
        for selector in segment.selectors:
            if not isinstance(selector, _SELECTORS):
                raise ValueError(f"{selector} is not known")  # noqa: TRY004 - it is about the text
            if isinstance(selector, Filter):
                _check(selector.expression)
    return tuple(
        Step(isinstance(each, JSONPathRecursiveDescentSegment), tuple(each.selectors)) for each in read.segments
    )


def _check(expression: BaseExpression) -> None:
    """Let only those filters pass whose time is that of a look at one value."""
    children = expression.children()
    is_comparison = isinstance(expression, InfixExpression) and expression.operator not in ("&&", "||")
    if is_comparison and not any(isinstance(each, _LITERALS) for each in children):
        raise ValueError(f"{expression}: one side of a comparison must be a text, a number, true, false or null")
    known = (FilterExpression, CachingFilterExpression, InfixExpression, PrefixExpression, *_LITERALS)
    if isinstance(expression, RelativeFilterQuery):
        if not expression.path.singular_query():
            raise ValueError(f"{expression}: a filter looks at names and positions below @ only")
        return
    if not isinstance(expression, known) or getattr(expression, "operator", "==") not in _OPERATORS:
        raise ValueError(f"{expression}: a filter knows comparisons, &&, || and ! only")
    for each in children:
        _check(each)


#: What one value's look through a filter takes.
_FILTER_STEPS = 10
_OPERATORS = frozenset({"==", "!=", "<>", "<", "<=", ">", ">=", "&&", "||", "!"})


def find(path: str, data: Any, work: Work) -> list[Any]:
    """What a path finds; a list or an object that it finds twice, once.

    :raises PlatformChanged: it costs more than the page's work allows.
    """
    found = [data]
    for step in compiled(path):
        found = list(_once(_selected(step, found, work)))
    return found


def _selected(step: Step, values: list[Any], work: Work) -> Iterator[Any]:
    for value in _all_inside(values, work) if step.goes_down else values:
        for selector in step.selectors:
            yield from _apply(selector, value, work)


def _all_inside(values: list[Any], work: Work) -> Iterator[Any]:
    """Lists and objects, and those in them, each once and before those in it."""
    seen: set[int] = set()
    waiting = values[::-1]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list) and id(value) not in seen:
            seen.add(id(value))
            work.spend(1 + len(value))
            yield value
            waiting.extend(list(_members(value))[::-1])


def _once(values: Iterable[Any]) -> Iterator[Any]:
    seen: set[int] = set()
    for value in values:
        if isinstance(value, dict | list):
            if id(value) in seen:
                continue
            seen.add(id(value))
        yield value


def _apply(selector: Any, value: Any, work: Work) -> Iterable[Any]:
    work.spend(1)
    if isinstance(selector, NameSelector):
        return [value[selector.name]] if isinstance(value, dict) and selector.name in value else []
    members = _members(value)
    work.spend(len(members))
    if isinstance(selector, WildcardSelector):
        return members
    if isinstance(selector, Filter):
        work.spend(_FILTER_STEPS * len(members))
        return [each for each in members if _passes(selector, each)]
    if not isinstance(value, list):
        return []
    if isinstance(selector, SliceSelector):
        return value[selector.slice]
    return [value[selector.index]] if -len(value) <= selector.index < len(value) else []


def _members(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _passes(selector: Filter, member: Any) -> bool:
    context = FilterContext(env=selector.env, current=member, root=member)
    try:
        return bool(selector.expression.evaluate(context))
    except jsonpath.JSONPathError:  # what cannot be compared
        return False
