"""What commands take and say alike: numbers and domains with their bounds, JSON for scripts, advice to who typed it."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from likepion_provider.errors import LikepionError, Transient
from likepion_provider.words import shown, t


def number(least: float, most: float = math.inf, kind: type[int] | type[float] = int) -> Callable[[str], Any]:
    """The type of an argument that is a number within bounds.

    :param kind: int for a whole one.
    """
    bounds = f"from {least} to {most}" if most < math.inf else f"{least} or more"
    words = f"a {'whole ' if kind is int else ''}number, {bounds}"

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {words}")
        return value

    return read


def domain(text: str) -> str:
    """The type of an argument that is a platform's domain; in small letters."""
    name = text.strip().lower()
    if "/" in name or ":" in name:
        host = name.partition("://")[2] or name
        raise argparse.ArgumentTypeError(
            f"{text!r} is an address: give the domain, {host.split('/')[0].split(':')[0]!r}"
        )
    return name


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the argument that asks for JSON."""
    parser.add_argument("--json", action="store_true", help=t("print JSON, for scripts"))


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as one JSON array; times as ISO 8601."""
    print(json.dumps(list(rows), indent=2, default=lambda each: each.isoformat()))


def advice_of(error: LikepionError) -> str:
    """What an error says, and what to do, to a person at a shell: there, nothing is tried again by itself."""
    if error.is_retried and error.remedy == Transient.remedy:
        remedy = t("Look whether the network and the address are right, and run it again.")
    else:
        remedy = shown(error.remedy)
    return f"{shown(error.message.rstrip('.'))}. {remedy}"
