"""CSS selectors, matched in one pass over the page: the time is elements times parts, whatever the page holds."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Sequence

import cssselect
from cssselect.parser import (
    Attrib,
    Class,
    CombinedSelector,
    Function,
    Hash,
    Matching,
    Negation,
    Pseudo,
    Relation,
    SpecificityAdjustment,
    Tree,
    parse_series,
)
from cssselect.parser import Element as Type

from likepion_provider.web.html import Element, Html

#: Of one selector: parts that a comma or a combinator such as the space joins.
MAX_PARTS = 32
#: Whether an element is what a part says; the second one is what ``:scope`` means.
Test = Callable[[Element, Element], bool]


@dataclasses.dataclass(frozen=True)
class Part:
    """One compound, such as ``td.date``, and how it follows the one before."""

    combinator: str
    tests: tuple[Test, ...]

    def fits(self, element: Element, scope: Element) -> bool:
        """Whether an element is what it says."""
        return all(test(element, scope) for test in self.tests)


@dataclasses.dataclass(frozen=True)
class Css:
    """A selector as it was read: of the alternatives one must hold."""

    alternatives: tuple[tuple[Part, ...], ...]
    has_scope: bool


@functools.lru_cache(maxsize=1000)
def compiled(css: str) -> Css:
    """Read a selector.

    :raises ValueError: it is none, or needs what is not known here.
    """
    try:
        selectors = cssselect.parse(css)
    except cssselect.SelectorError as error:
        raise ValueError(str(error)) from None
    if any(each.pseudo_element for each in selectors):
        raise ValueError("a pseudo-element stands for nothing here")
    alternatives = tuple(tuple(_parts(each.parsed_tree)) for each in selectors)
    if sum(map(len, alternatives)) > MAX_PARTS:
        raise ValueError(f"has more than {MAX_PARTS} parts")
    tests = [test for parts in alternatives for part in parts for test in part.tests]
    return Css(alternatives, has_scope=_is_scope in tests)


def select(page: Html, css: str, scope: Element | None = None) -> Sequence[Element]:
    """The elements that a selector finds, in the document's order.

    :param scope: only what is in this element, which ``:scope`` means. What stands around it counts, as in a browser.
    :raises PlatformChanged: it costs more than the page's work allows.
    """
    root = scope or page.root
    if css.strip() == ":scope":
        return [root]
    if compiled(css).has_scope:
        return [page.elements[number] for number in _search(page, css, root)]
    if css not in page.found:
        page.found[css] = _search(page, css, page.root)
    found = page.found[css]
    begin, end = bisect.bisect_right(found, root.number), bisect.bisect_left(found, root.end)
    page.work.spend(1 + end - begin)
    return [page.elements[number] for number in found[begin:end]]


def _search(page: Html, css: str, root: Element) -> list[int]:
    found: set[int] = set()
    for parts in compiled(css).alternatives:
        page.work.spend(len(parts) * (root.end - root.number))
        found.update(_search_parts(page, parts, root))
    return sorted(found - {root.number})


def _search_parts(page: Html, parts: tuple[Part, ...], root: Element) -> Iterable[int]:
    """Which elements the last part ends at. Of each element, bit ``k`` says that the parts up to ``k`` end at it."""
    begin, last = root.number, 1 << len(parts) - 1
    ends, above, before, next_to = ([0] * (root.end - begin) for _ in range(4))
    for number in range(begin, root.end):
        element, at = page.elements[number], number - begin
        parent = element.parent.number - begin if element.parent and number > begin else -1
        reach = {"": -1}
        if parent >= 0:
            above[at] = above[parent] | ends[parent]
            # Of a parent: what its children so far are, all together and the last one.
            reach |= {" ": above[at], ">": ends[parent], "~": before[parent], "+": next_to[parent]}
        for k, part in enumerate(parts):
            if (k == 0 or reach.get(part.combinator, 0) >> k - 1 & 1) and part.fits(element, root):
                ends[at] |= 1 << k
        if parent >= 0:
            before[parent] |= ends[at]
            next_to[parent] = ends[at]
        if ends[at] & last:
            yield number


# --- reading ---


def _parts(tree: Tree) -> list[Part]:
    if isinstance(tree, CombinedSelector):
        return [*_parts(tree.selector), Part(tree.combinator, tuple(_tests(tree.subselector)))]
    return [Part("", tuple(_tests(tree)))]


def _tests(tree: Tree) -> list[Test]:
    """What a compound says of one element.

    :raises ValueError: it is not known here.
    """
    if isinstance(tree, Type):
        if tree.namespace:
            raise ValueError("namespaces are not known")
        return [_has_tag(tree.element.lower())] if tree.element and tree.element != "*" else []
    read = _READERS.get(type(tree))
    if read is None:
        raise ValueError(f"{_UNKNOWN.get(type(tree), type(tree).__name__)} is not known")
    return [*_tests(tree.selector), read(tree)]


def _has_tag(tag: str) -> Test:
    return lambda element, _: element.tag == tag


def _class(tree: Class) -> Test:
    return lambda element, _: tree.class_name in element.classes


def _hash(tree: Hash) -> Test:
    return lambda element, _: element.get("id") == tree.id


def _negation(tree: Negation) -> Test:
    part = Part("", tuple(_tests(tree.subselector)))
    return lambda element, scope: not part.fits(element, scope)


def _matching(tree: Matching | SpecificityAdjustment) -> Test:
    parts = [Part("", tuple(_tests(each))) for each in tree.selector_list]
    return lambda element, scope: any(part.fits(element, scope) for part in parts)


def _attribute(tree: Attrib) -> Test:
    name = tree.attrib.lower()
    if tree.namespace or getattr(tree, "flag", None):  # the flags are newer than Python 3.10's cssselect
        raise ValueError("namespaces and flags are not known")
    if tree.operator == "exists":
        return lambda element, _: name in element.attributes
    value, compare = str(tree.value.value if tree.value else ""), _COMPARISONS[tree.operator]
    return lambda element, _: name in element.attributes and compare(element.get(name), value)


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "^=": lambda held, value: bool(value) and held.startswith(value),
    "$=": lambda held, value: bool(value) and held.endswith(value),
    "*=": lambda held, value: bool(value) and value in held,
    "~=": lambda held, value: value in held.split(),
    "|=": lambda held, value: held == value or held.startswith(value + "-"),
}


def _is_scope(element: Element, scope: Element) -> bool:
    return element is scope


def _pseudo(tree: Pseudo) -> Test:
    if tree.ident not in _PSEUDOS:
        raise ValueError(f":{tree.ident} is not known; there are :{', :'.join(_PSEUDOS)} and :{', :'.join(_COUNTS)}()")
    return _PSEUDOS[tree.ident]


def _count(element: Element) -> tuple[int, int]:
    """Which of its parent's children an element is, and of how many."""
    return element.position, element.parent.child_count if element.parent else 1


def _count_of_kind(element: Element) -> tuple[int, int]:
    """The same among those of its tag."""
    return element.of_kind, element.parent.kinds[element.tag] if element.parent else 1


def _back(count: Callable[[Element], tuple[int, int]]) -> Callable[[Element], tuple[int, int]]:
    def from_the_end(element: Element) -> tuple[int, int]:
        which, of = count(element)
        return of - which + 1, of

    return from_the_end


_COUNTS = {
    "nth-child": _count,
    "nth-last-child": _back(_count),
    "nth-of-type": _count_of_kind,
    "nth-last-of-type": _back(_count_of_kind),
}
_PSEUDOS: dict[str, Test] = {
    "scope": _is_scope,
    "first-child": lambda element, _: _count(element)[0] == 1,
    "last-child": lambda element, _: operator.eq(*_count(element)),
    "only-child": lambda element, _: _count(element) == (1, 1),
    "first-of-type": lambda element, _: element.of_kind == 1,
    "last-of-type": lambda element, _: operator.eq(*_count_of_kind(element)),
    "only-of-type": lambda element, _: _count_of_kind(element) == (1, 1),
    "empty": lambda element, _: not element.child_count and element.text_begin == element.text_end,
    "checked": lambda element, _: bool({"checked", "selected"} & element.attributes.keys()),
    "disabled": lambda element, _: "disabled" in element.attributes,
}


def _function(tree: Function) -> Test:
    if tree.name not in _COUNTS:
        raise ValueError(f":{tree.name}() is not known; there are :{'(), :'.join(_COUNTS)}()")
    step, first = parse_series(tree.arguments)
    count = _COUNTS[tree.name]

    def fits(element: Element, _: Element) -> bool:
        beyond = count(element)[0] - first
        return beyond == 0 if step == 0 else beyond % step == 0 and beyond // step >= 0

    return fits


_READERS: dict[type, Callable[..., Test]] = {
    Class: _class,
    Hash: _hash,
    Negation: _negation,
    Matching: _matching,
    SpecificityAdjustment: _matching,
    Attrib: _attribute,
    Pseudo: _pseudo,
    Function: _function,
}
_UNKNOWN: dict[type, str] = {Relation: ":has()", CombinedSelector: "a combinator within :is() or :not()"}
