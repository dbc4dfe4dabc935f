"""What people set: typed, or as text that a template, a form or a connection's URI made of it."""

from __future__ import annotations

from typing import Any

from likepion_provider.errors import BadRequest

_ON, _OFF = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "none", "")


def flag(name: str, value: Any) -> bool:
    """A switch.

    :raises BadRequest: it is neither on nor off.
    """
    text = str(value).strip().lower()
    if text not in (*_ON, *_OFF):
        raise BadRequest(f"{name} must be true or false, not {value!r}")
    return text in _ON


def number(value: Any) -> Any:
    """A whole number where a text makes one; what makes none is left to whoever knows its bounds."""
    try:
        return int(value) if isinstance(value, str) else value
    except ValueError:
        return value


def name(what: str, value: Any) -> str:
    """A name; empty where there is none.

    :raises BadRequest: a template made something else of it.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(
            f"{what} must be text, not {value!r}",
            remedy=f"In a template that is rendered to a Python value, write {{{{ '%r' | format(params.{what}) }}}}.",
        )
    return value.strip()


def names(name: str, value: Any) -> tuple[str, ...]:
    """A list of names, each once; a text is split at commas and white space.

    :raises BadRequest: it holds something else, or nothing: an empty list names nobody, and no list everybody.
    """
    if value in (None, ""):
        return ()
    if not value:
        raise BadRequest(f"{name} is empty", remedy="Name somebody, or leave it out to take whatever there is.")
    parts = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    if not all(isinstance(part, str) for part in parts):
        raise BadRequest(f"{name} must be a list of names, not {value!r}")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
