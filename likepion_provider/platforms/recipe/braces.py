"""What may stand in braces in a recipe, such as ``{feed.url}``, and what it is filled with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urljoin

from likepion_provider.platforms.base import Job, Platform
from likepion_provider.platforms.totp import totp_code

#: What may stand in braces, beside ``{kept.NAME}`` and ``{row.NAME}``.
PLACES = frozenset(
    {"feed.url", "feed.title", "reference", "page", "domain", "connection.login", "connection.password"}
    | {f"account.{name}" for name in ("email", "username", "password", "app_password", "totp")}
)
#: What opens an account: it goes to the site's own host only, and never into an address.
SECRET_PLACES = frozenset({"account.password", "account.app_password", "account.totp", "connection.password"})
_PLACE = re.compile(r"\{([a-z_]+(?:\.[a-z_0-9]+)?)\}")


def places(value: object) -> list[str]:
    """Everything that stands in braces in a text, or in the texts of a structure."""
    if isinstance(value, str):
        return _PLACE.findall(value)
    members = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [place for each in members for place in places(each)]


def _fill(text: str, value: Callable[[str], str]) -> str:
    return _PLACE.sub(lambda found: value(found[1]), text)


class Values:
    """What is filled in, for one account.

    :param kept: what the recipe's steps have kept, by name.
    """

    def __init__(self, platform: Platform, job: Job, kept: dict[str, str]) -> None:
        self._platform = platform
        self._job = job
        self.kept = kept
        self.reference = job.reference

    def text(self, text: str) -> str:
        """A text with its values; what is not known yet is empty."""
        return _fill(text, self._value)

    def texts(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Texts with their values, by name."""
        return {name: self.text(text) for name, text in texts.items()}

    def known(self, texts: Mapping[str, str]) -> dict[str, str]:
        """Of several texts those whose values are all known."""
        return self.texts({name: text for name, text in texts.items() if all(map(self._value, places(text)))})

    def structure(self, value: Any) -> Any:
        """A structure of JSON with the values in its texts."""
        if isinstance(value, dict):
            return {name: self.structure(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.structure(each) for each in value]
        return self.text(value) if isinstance(value, str) else value

    def address(self, template: str, more: Mapping[str, str] | None = None) -> str:
        """An absolute address; what is filled in is quoted, but for one that is the whole of it.

        :param more: values of this address alone, by place.
        """

        def value(place: str) -> str:
            return (more or {}).get(place) or self._value(place)

        whole = _PLACE.fullmatch(template)
        path = (
            value(whole[1]) if whole else _fill(template, lambda place: quote(value(place), safe="", errors="replace"))
        )
        try:
            return urljoin(self._job.http.base_url, path)
        except ValueError:
            raise self._platform.failed(f"gives something that is no address for {template}") from None

    def _value(self, place: str) -> str:
        kind, _, name = place.partition(".")
        if kind == "account":
            return totp_code(self._platform, self._job) if name == "totp" else str(getattr(self._job.credentials, name))
        if kind == "kept":
            return self.kept.get(name, "")
        feed, settings = self._job.feed, self._job.settings
        known = {
            "feed.url": feed.url,
            "feed.title": feed.title or feed.display_url,
            "reference": self.reference,
            "domain": self._job.task.domain,
            "connection.login": settings.login,
            "connection.password": settings.password,
        }
        return known.get(place, "")
