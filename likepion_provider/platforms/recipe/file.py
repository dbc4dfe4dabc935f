"""Reads a recipe's file: every error names file, line and place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from likepion_provider.errors import BadRequest
from likepion_provider.platforms.recipe.shape import Recipe

#: No recipe is larger, or deeper.
MAX_FILE_BYTES = 64 * 1024
MAX_DEPTH = 16


class BadRecipe(BadRequest):
    """Fix the recipe's file: the message names the lines."""

    remedy = "Correct the recipe: see docs/guides/recipes.md."


class _Loader(yaml.SafeLoader):
    """YAML without what a recipe has no use for: dates, tags, and aliases, a few of which take gigabytes."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read(path: Path) -> Recipe:
    """Read a recipe's file.

    :raises BadRecipe: it cannot be read, or is not a recipe; every mistake is named with its line.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path.name}:1: cannot be read ({type(error).__name__})") from None
    return parse(text, path.name)


def parse(text: str, name: str) -> Recipe:
    """Read a recipe.

    :param name: what errors call it.
    :raises BadRecipe: it is none; every mistake is named with its line.
    """
    if len(text.encode(errors="replace")) > MAX_FILE_BYTES:
        raise BadRecipe(f"{name}:1: is larger than {MAX_FILE_BYTES} bytes")
    root: yaml.Node | None = None
    try:
        _refuse_what_no_recipe_has(text)
        loader = _Loader(text)
        root = loader.get_single_node()
        _refuse_odd_keys(root)
        # From JSON pydantic takes lists for tuples, and nothing else for anything else.
        return Recipe.model_validate_json(json.dumps(loader.construct_document(root)))
    except ValidationError as error:
        wrong = [(_line(root, each["loc"]), _place(each["loc"]), each["msg"]) for each in error.errors()]
        lines = [f"{name}:{line}: {place}: {message}" for line, place, message in sorted(wrong)]
        raise BadRecipe("; ".join(line.replace("Value error, ", "") for line in lines)) from None
    except _Unfit as error:
        raise BadRecipe(f"{name}:{error.line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadRecipe(f"{name}:{line}: is no YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise BadRecipe(f"{name}:{line}: holds the character U+{ord(text[error.position]):04X}") from None
    except Exception as error:  # noqa: BLE001 - one bad file must not take the other recipes down
        raise BadRecipe(f"{name}:1: cannot be read ({type(error).__name__})") from None


class _Unfit(Exception):
    """What no recipe has."""

    def __init__(self, words: str, mark: Any) -> None:
        super().__init__(words)
        self.line = mark.line + 1 if mark else 1


def _refuse_what_no_recipe_has(text: str) -> None:
    """Look at the file as it comes, before anything is built of it.

    :raises _Unfit: it has tags, anchors or aliases, or is too deep.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if getattr(event, "anchor", None):
            raise _Unfit("has an anchor or an alias (& or *), which no recipe has", event.start_mark)
        if tag := getattr(event, "tag", None):
            raise _Unfit(f"has the tag {tag}, and no recipe has tags", event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _Unfit(f"is more than {MAX_DEPTH} levels deep", event.start_mark)


def _refuse_odd_keys(node: yaml.Node | None) -> None:
    """Let only texts be keys, each once in its mapping; YAML readers keep the last one silently.

    Numbers, dates and the like that make no sense are named on the way.

    :raises _Unfit: another one is there.
    """
    if node is None:
        raise _Unfit("is empty", None)
    if isinstance(node, yaml.ScalarNode):
        _refuse_odd_value(node)
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _refuse_odd_keys(each)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Unfit("a key must be a text", key.start_mark)
            if key.value in seen:
                raise _Unfit(f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
            _refuse_odd_keys(value)


def _refuse_odd_value(node: yaml.ScalarNode) -> None:
    try:
        json.dumps(yaml.constructor.SafeConstructor().construct_object(node), allow_nan=False)
    except Exception as error:  # noqa: BLE001 - PyYAML's constructors may raise anything
        raise _Unfit(f"{node.value[:40]!r} cannot be read ({type(error).__name__})", node.start_mark) from None


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
