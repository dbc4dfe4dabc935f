"""What a recipe may say, as models that check it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from likepion_provider.platforms.recipe import css, paths, patterns
from likepion_provider.platforms.recipe.braces import PLACES, SECRET_PLACES, places

V = TypeVar("V")

#: No CSS selector, JSONPath or regular expression is longer.
MAX_SELECTOR_CHARS = 500


def _known_places(value: V) -> V:
    for place in places(value):
        if place not in PLACES and place.partition(".")[0] not in ("kept", "row"):
            raise ValueError(f"nothing is called {{{place}}}; there are {', '.join(sorted(PLACES))}, kept.* and row.*")
    return value


def _without_secrets(text: str) -> str:
    if found := set(places(text)) & SECRET_PLACES:
        raise ValueError(f"{{{found.pop()}}} must not be in an address: send it in a form, a header or a body")
    return text


def _compiles(read: Callable[[str], object], kind: str) -> AfterValidator:
    """The check that a text can be read as what it should be, by whoever will look for it on pages."""

    def check(text: str) -> str:
        if len(text) > MAX_SELECTOR_CHARS:
            raise ValueError(f"is longer than {MAX_SELECTOR_CHARS} characters")
        try:
            read(text)
        except Exception as error:  # noqa: BLE001 - others' readers may raise anything at what somebody writes
            words = str(error) or type(error).__name__
            raise ValueError(f"is no {kind}: {words.splitlines()[0]}") from None
        return text

    return AfterValidator(check)


def _host_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", text) or text.startswith("www."):
        raise ValueError("must be a domain in lower case without www., as in podcasts.example.org")
    return text


Text = Annotated[str, AfterValidator(_known_places)]
Address = Annotated[str, AfterValidator(_known_places), AfterValidator(_without_secrets)]
Css = Annotated[str, _compiles(css.compiled, "CSS selector that can be used")]
JsonPath = Annotated[str, _compiles(paths.compiled, "JSONPath that can be used")]
Pattern = Annotated[str, _compiles(patterns.compiled, "regular expression that RE2 knows")]


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
    json_path: JsonPath | None = Field(default=None, alias="json")
    attr: str | None = None
    match: Pattern | None = None
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


class ApiCall(_Part):
    """A request as an API wants it."""

    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    path: Address
    json_body: Annotated[dict[str, Any], AfterValidator(_known_places)] | None = Field(default=None, alias="json")
    data: dict[str, Text] | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.json_body is not None and self.data is not None:
            raise ValueError("takes json or data, not both")
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
    call: ApiCall | None = None
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
    def every_field(self) -> dict[str, Selector]:
        """The list's fields and the detail page's."""
        return self.fields | (self.detail.fields if self.detail else {})


class Shows(Listing):
    """Where the site's shows are: ``reference``, and ``feed`` or at least ``title`` to know the feed's by."""

    @model_validator(mode="after")
    def _fields(self) -> Self:
        names = _only(self.every_field, {"reference", "feed", "title"})
        if "reference" not in self.fields or not names & {"feed", "title"}:
            raise ValueError("needs the field reference, and feed or title")
        return self


class Episodes(Listing):
    """Where a show's episodes are: ``url``, and something to know the feed's by."""

    @model_validator(mode="after")
    def _fields(self) -> Self:
        names = _only(self.every_field, {"url", "guid", "enclosure", "title", "published"})
        if "url" not in self.fields or not (names & {"guid", "enclosure"} or names >= {"title", "published"}):
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
    :param refresh: asks the site to read the feed of a show that it has again.
    :param rereads: that it reads its feeds by itself, and when, in words that go on from the title.
    :param one_at_a_time: whether the site keeps a state that all its users share.
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
    refresh: tuple[Step, ...] = ()
    rereads: Annotated[str, Field(max_length=200)] = ""
    one_at_a_time: bool = False
    poll: Poll | None = None
    list: Episodes
    poll_s: Annotated[tuple[Annotated[float, Field(gt=0, le=600)], ...], Field(min_length=1)] = (1, 2, 5, 10, 20, 30)
    max_concurrency: Annotated[int, Field(ge=1, le=32)] = 2

    @model_validator(mode="after")
    def _kept_before_used(self) -> Self:
        kept = {f"kept.{name}" for step in self._all_steps() for name in step.keep}
        used = {place for place in places(self.model_dump()) if place.startswith("kept.")}
        if unknown := sorted(used - kept):
            raise ValueError(f"no step keeps {{{unknown[0]}}}")
        return self

    def _all_steps(self) -> tuple[Step, ...]:
        return (*(self.login.steps if self.login else ()), *self.submit, *self.refresh)

    @property
    def needs(self) -> tuple[str, ...]:
        """The account's fields that no run can do without."""
        always = [step.model_dump() for step in self._all_steps() if step.when is None]
        used = places([*always, self.headers])
        fields = ("email", "username", "password", "app_password", "totp")
        return tuple("twofa" if name == "totp" else name for name in fields if f"account.{name}" in used)

    @property
    def needs_key(self) -> bool:
        """Whether the connection's password is used."""
        return "connection.password" in places(self.model_dump())


def _only(fields: Mapping[str, Selector], known: set[str]) -> set[str]:
    """The fields' names, all of which must be known."""
    if strange := sorted(fields.keys() - known):
        raise ValueError(f"knows no field {strange[0]!r}; there are {', '.join(sorted(known))}")
    return set(fields)
