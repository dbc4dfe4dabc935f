"""Reads a recipe's file: every error names file, line and place."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from pydantic import ValidationError

from likepion_provider.errors import BadRequest
from likepion_provider.platforms.recipe.shape import Recipe

#: No recipe is read beyond this.
MAX_FILE_BYTES = 256 * 1024


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
        # From JSON pydantic takes lists for tuples, and nothing else for anything else.
        return Recipe.model_validate_json(json.dumps(loader.construct_document(root), default=str))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadRecipe(f"{name}:{line}: is no YAML: {error.problem}") from None
    except ValidationError as error:
        wrong = [(_line(root, each["loc"]), _place(each["loc"]), each["msg"]) for each in error.errors()]
        lines = [f"{name}:{line}: {place}: {message}" for line, place, message in sorted(wrong)]
        raise BadRecipe("; ".join(line.replace("Value error, ", "") for line in lines)) from None
    finally:
        loader.dispose()


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
