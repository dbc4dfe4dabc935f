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


def names(name: str, value: Any) -> tuple[str, ...]:
    """A list of names, each once; a text is split at commas and white space.

    :raises BadRequest: it holds something else.
    """
    if value in (None, ""):
        return ()
    parts = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    if not all(isinstance(part, str) for part in parts):
        raise BadRequest(f"{name} must be a list of names, not {value!r}")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
