"""Every importer of this package, of every package with an entry point in the same group, and every recipe."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType

from likepion_provider.errors import BadRequest, NoImporter
from likepion_provider.platforms import importers
from likepion_provider.platforms.base import Platform

ENTRY_POINTS = "likepion_provider.platforms"


class Registry:
    """The importers by name and by domain.

    A name or a domain that two importers claim is served by neither, and :attr:`broken` says so; one that cannot be
    imported is named there too, and the rest work.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Platform] = {}
        self._owners: dict[str, list[str]] = {}
        self._broken: dict[str, str] = {}

    @property
    def platforms(self) -> Mapping[str, Platform]:
        """Every importer that works, by name."""
        return MappingProxyType(self._by_name)

    @property
    def broken(self) -> Mapping[str, str]:
        """The reasons why some do not work, by name or domain."""
        contested = {
            domain: f"claimed by {' and '.join(sorted(owners))}"
            for domain, owners in self._owners.items()
            if len(owners) > 1
        }
        return MappingProxyType(self._broken | contested)

    def copy(self) -> Registry:
        """Another one with the same importers."""
        twin = Registry()
        twin._by_name |= self._by_name
        twin._owners |= {domain: list(names) for domain, names in self._owners.items()}
        twin._broken |= self._broken
        return twin

    def add(self, name: str, platform: type[Platform]) -> None:
        """Take an importer in."""
        if not (inspect.isclass(platform) and issubclass(platform, Platform)) or inspect.isabstract(platform):
            self._broken[name] = "is not a complete Platform: it needs name, title, submit and collect"
        elif platform.name in self._by_name:
            self._broken[name] = f"its name {platform.name!r} is taken"
        else:
            self._by_name[platform.name] = platform()
            for domain in platform.domains:
                self._owners.setdefault(domain.lower(), []).append(platform.name)

    def skip(self, name: str, error: BaseException) -> None:
        """Name an importer that cannot be loaded."""
        self.refuse(name, f"cannot be imported: {type(error).__name__}: {error}")

    def refuse(self, name: str, why: str) -> None:
        """Name an importer that does not work."""
        self._broken[name] = why

    def for_domain(self, domain: str, chosen: str = "") -> Platform:
        """The importer that serves a domain.

        :param chosen: an importer's name, where a connection says which one it is.
        :raises NoImporter: none does, or several claim it.
        """
        if chosen:
            if chosen in self._by_name:
                return self._by_name[chosen]
            raise NoImporter(domain, hint=f"its connection names {chosen!r}, which is not installed")
        owners = self._owners.get(domain.lower(), self._owners.get(domain.lower().removeprefix("www."), []))
        if len(owners) == 1:
            return self._by_name[owners[0]]
        raise NoImporter(domain, hint=self.broken.get(domain.lower(), ""))


@functools.cache
def registry(recipes: Path | None = None) -> Registry:
    """All importers that are installed, found once per process.

    :param recipes: a folder of recipes, ``*.yaml``; one that is not there has none.
    """
    if recipes is not None:
        # The packages are the same in every task that is forked from a warm process; a recipe may be newer.
        found = registry().copy()
        for path in sorted(recipes.glob("*.yaml")):
            _add_recipe(found, path)
        return found
    found = Registry()
    for module in pkgutil.iter_modules(importers.__path__):
        _add_module(found, module.name)
    for entry_point in entry_points(group=ENTRY_POINTS):
        _add_entry_point(found, entry_point)
    return found


def _add_module(found: Registry, name: str) -> None:
    try:
        module = importlib.import_module(f"{importers.__name__}.{name}")
    except ImportError as error:
        found.skip(name, error)
        return
    for each in vars(module).values():
        if inspect.isclass(each) and issubclass(each, Platform) and each.__module__ == module.__name__:
            found.add(name, each)


def _add_entry_point(found: Registry, entry_point: EntryPoint) -> None:
    try:
        found.add(entry_point.name, entry_point.load())
    except Exception as error:  # noqa: BLE001 - somebody else's module may raise anything
        found.skip(entry_point.name, error)


def _add_recipe(found: Registry, path: Path) -> None:
    try:
        # Its libraries are an extra.
        from likepion_provider.platforms.recipe import importer, read
    except ImportError:
        found.refuse(path.name, "recipes need an extra: pip install 'airflow-provider-likepion[recipes]'")
        return
    try:
        found.add(path.name, importer(read(path)))
    except BadRequest as error:
        found.refuse(path.name, error.message)
