"""What a recipe's file says, checked as it is read: every error names file, line and place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import jsonpath
import soupsieve
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from likepion_provider.errors import BadRequest

#: No recipe is read beyond this.
MAX_FILE_BYTES = 256 * 1024
#: What may stand in braces, beside ``{kept.NAME}`` and ``{row.NAME}``.
PLACES = frozenset(
    {"feed.url", "feed.title", "reference", "page", "domain", "connection.login", "connection.password"}
    | {f"account.{name}" for name in ("email", "username", "password", "app_password", "totp")}
)
#: What opens an account: it goes to the site's own host only, and never into an address.
SECRET_PLACES = frozenset({"account.password", "account.app_password", "account.totp", "connection.password"})
_PLACE = re.compile(r"\{([a-z_]+(?:\.[a-z_0-9]+)?)\}")


def places(text: str) -> list[str]:
    """What stands in braces in a text."""
    return _PLACE.findall(text)


def fill(text: str, value: Callable[[str], str]) -> str:
    """A text with every place in braces replaced."""
    return _PLACE.sub(lambda found: value(found[1]), text)


def _known_places(text: str) -> str:
    for place in places(text):
        if place not in PLACES and place.partition(".")[0] not in ("kept", "row"):
            raise ValueError(f"nothing is called {{{place}}}; there are {', '.join(sorted(PLACES))}, kept.* and row.*")
    return text


def _without_secrets(text: str) -> str:
    if found := set(places(text)) & SECRET_PLACES:
        raise ValueError(f"{{{found.pop()}}} must not be in an address: send it in a form, a header or a body")
    return text


def _css(text: str) -> str:
    try:
        soupsieve.compile(text)
    except soupsieve.SelectorSyntaxError as error:
        raise ValueError(f"is no CSS selector: {str(error).splitlines()[0]}") from None
    return text


def _json_path(text: str) -> str:
    try:
        jsonpath.compile(text)
    except jsonpath.JSONPathError as error:
        raise ValueError(f"is no JSONPath: {str(error).splitlines()[0]}") from None
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


def _host_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", text) or text.startswith("www."):
        raise ValueError("must be a domain in lower case without www., as in podcasts.example.org")
    return text


Text = Annotated[str, AfterValidator(_known_places)]
Address = Annotated[str, AfterValidator(_known_places), AfterValidator(_without_secrets)]
Css = Annotated[str, AfterValidator(_css)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    #: Of these fields exactly one must be there.
    one_of: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in self.one_of if getattr(self, name) is not None]
        if self.one_of and len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(self.one_of)}")
        return self


class Selector(_Part):
    """Where a value is on a page: of several the first that is not empty.

    :param attr: an attribute's value instead of the element's text.
    :param match: a regular expression; its first group is the value, or all that it matches.
    :param date: how a date is written, as Python's ``strptime`` has it; ISO and RFC 2822 are read without.
    """

    one_of = ("css", "json_path")
    css: Css | None = None
    json_path: Annotated[str, AfterValidator(_json_path)] | None = Field(None, alias="json")
    attr: str | None = None
    match: Annotated[str, AfterValidator(_pattern)] | None = None
    date: str | None = None

    def __str__(self) -> str:
        return f"{self.css or self.json_path}" + (f" @{self.attr}" if self.attr else "")


class LoginAsked(_Part):
    """What tells that a page asks for a login: what it shows, or its status."""

    css: Css | None = None
    status: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.css and not self.status:
            raise ValueError("needs css, status or both")
        return self


class Form(_Part):
    """A form of the page before; what it holds already (hidden inputs too) is sent along.

    :param hidden: inputs that must be there, such as the one against CSRF.
    :param button: what is clicked, in a browser; over HTTP its name and value are sent.
    """

    css: Css = "form"
    fields: dict[str, Text]
    hidden: tuple[str, ...] = ()
    button: Css | None = None


class Call(_Part):
    """A request as an API wants it."""

    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    path: Address
    json_body: dict[str, Any] | None = Field(None, alias="json")
    data: dict[str, Text] | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.json_body is not None and self.data is not None:
            raise ValueError("takes json or data, not both")
        for text in _texts(self.json_body):
            _known_places(text)
        return self


class Step(_Part):
    """One thing to do.

    :param when: left out where the page before does not have this.
    :param refused: the site's words for "no", on the page that follows.
    :param expect: what that page must have.
    :param keep: values of it for later steps, as ``{kept.NAME}``; ``reference`` names the show.
    """

    one_of = ("open", "form", "call")
    open: Address | None = None
    form: Form | None = None
    call: Call | None = None
    when: Selector | None = None
    refused: Selector | None = None
    expect: Selector | None = None
    keep: dict[str, Selector] = Field(default_factory=dict)


class Login(_Part):
    """How to sign in. Without steps, the connection's key is all there is."""

    needed: LoginAsked
    steps: tuple[Step, ...] = ()


class Detail(_Part):
    """A row's own page, for what the list does not show."""

    open: Address
    fields: dict[str, Selector]


class Listing(_Part):
    """A list of shows or episodes, page by page.

    :param open: with ``{page}`` in it, pages are counted from 1 until one is empty or missing.
    :param next: the address of the next page.
    """

    open: Address
    rows: Selector
    fields: dict[str, Selector]
    detail: Detail | None = None
    next: Selector | None = None

    @property
    def names(self) -> set[str]:
        """All fields, the detail page's too."""
        return set(self.fields) | set(self.detail.fields if self.detail else ())


class Shows(Listing):
    """Where the site's shows are: ``reference``, and ``feed`` or at least ``title`` to know the feed's by."""

    @model_validator(mode="after")
    def _fields(self) -> Self:
        _only(self.names, {"reference", "feed", "title"})
        if "reference" not in self.fields or not self.names & {"feed", "title"}:
            raise ValueError("needs the field reference, and feed or title")
        return self


class Episodes(Listing):
    """Where a show's episodes are: ``url``, and something to know the feed's by."""

    @model_validator(mode="after")
    def _fields(self) -> Self:
        _only(self.names, {"url", "guid", "enclosure", "title", "published"})
        if "url" not in self.fields or not (self.names & {"guid", "enclosure"} or self.names >= {"title", "published"}):
            raise ValueError("needs the field url, and guid, enclosure or both title and published")
        return self


class Poll(_Part):
    """Where the site says how far an import is.

    :param working: there as long as it runs.
    :param failed: the site's words where it has failed.
    """

    open: Address
    working: Selector | None = None
    failed: Selector | None = None


class Recipe(_Part):
    """A recipe.

    :param recipe: the importer's name.
    :param address: the site; without one the connection's host, else https and the account's domain.
    :param headers: sent to the site with every request, as far as what is in braces is known.
    :param poll_s: pauses between looks at an import that runs, in seconds; the last one repeats.
    """

    recipe: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
    title: Annotated[str, Field(min_length=1, max_length=100)]
    domains: tuple[Annotated[str, AfterValidator(_host_name)], ...] = ()
    address: Annotated[str, Field(pattern=r"^https?://[^/{}]+")] = ""
    engine: Literal["http", "browser"] = "http"
    headers: dict[str, Text] = Field(default_factory=dict)
    login: Login | None = None
    find: Shows
    submit: Annotated[tuple[Step, ...], Field(min_length=1)]
    poll: Poll | None = None
    list: Episodes
    poll_s: Annotated[tuple[Annotated[float, Field(gt=0, le=600)], ...], Field(min_length=1)] = (1, 2, 5, 10, 20, 30)
    max_concurrency: Annotated[int, Field(ge=1, le=32)] = 2

    @property
    def needs(self) -> tuple[str, ...]:
        """The account's fields that no run can do without."""
        steps = (*(self.login.steps if self.login else ()), *self.submit)
        always = [text for step in steps if step.when is None for text in _texts(step.model_dump())]
        used = {place for text in (*always, *self.headers.values()) for place in places(text)}
        fields = ("email", "username", "password", "app_password", "totp")
        return tuple("twofa" if name == "totp" else name for name in fields if f"account.{name}" in used)

    @property
    def needs_key(self) -> bool:
        """Whether the connection's password is used."""
        return any("connection.password" in places(text) for text in _texts(self.model_dump()))


def _only(names: set[str], known: set[str]) -> None:
    if strange := sorted(names - known):
        raise ValueError(f"knows no field {strange[0]!r}; there are {', '.join(sorted(known))}")


def _texts(value: object) -> Iterator[str]:
    """Every text in a structure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


class BadRecipe(BadRequest):
    """Fix the recipe's file: the message names the lines."""

    remedy = "Correct the recipe: see 'Write a recipe' in README.md."


def read(path: Path) -> Recipe:
    """Read a recipe's file.

    :raises BadRecipe: it cannot be read, or is not a recipe; every mistake is named with its line.
    """
    try:
        text = path.read_bytes()[: MAX_FILE_BYTES + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path.name}: cannot be read ({type(error).__name__})") from None
    if len(text) > MAX_FILE_BYTES:
        raise BadRecipe(f"{path.name}: is larger than {MAX_FILE_BYTES} bytes")
    return parse(text, path.name)


def parse(text: str, name: str) -> Recipe:
    """Read a recipe.

    :param name: what errors call it.
    :raises BadRecipe: it is none; every mistake is named with its line.
    """
    loader = yaml.SafeLoader(text)
    root: yaml.Node | None = None
    try:
        root = loader.get_single_node()
        if root is None:
            raise BadRecipe(f"{name}:1: is empty")
        if twice := _key_given_twice(root):
            raise BadRecipe(f"{name}:{twice.start_mark.line + 1}: {twice.value} is given twice")
        return Recipe.model_validate_json(_as_json(loader.construct_document(root)))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadRecipe(f"{name}:{line}: is no YAML: {error.problem}") from None
    except ValidationError as error:
        wrong = [(_line(root, each["loc"]), _place(each["loc"]), each["msg"]) for each in error.errors()]
        lines = [f"{name}:{line}: {place}: {message}" for line, place, message in sorted(wrong)]
        raise BadRecipe("; ".join(line.replace("Value error, ", "") for line in lines)) from None
    finally:
        loader.dispose()


def _as_json(document: object) -> str:
    """JSON, from which pydantic takes lists for tuples and nothing else for anything else."""
    import json

    return json.dumps(document, default=str)


def _key_given_twice(node: yaml.Node) -> yaml.Node | None:
    """The first key that a mapping has again; YAML readers keep the last one silently."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                return key  # type: ignore[no-any-return]
            seen.add(key.value)
            if found := _key_given_twice(value):
                return found
    elif isinstance(node, yaml.SequenceNode):
        return next(filter(None, map(_key_given_twice, node.value)), None)
    return None


def _line(node: yaml.Node | None, place: tuple[int | str, ...]) -> int:
    """The line of a place, or of the last thing on the way to it that is there."""
    line = node.start_mark.line + 1 if node else 1
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _place(place: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".") or "recipe"
