"""``likepion platforms new``: writes a package with an importer, which passes its contract as it stands."""

from __future__ import annotations

import argparse
import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from likepion_provider.errors import BadRequest

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MAX_NAME_LENGTH = 40
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments to a parser."""
    parser.add_argument("name", help="the importer's name, in lower case, as my_site")
    parser.add_argument("--folder", type=Path, help="where to write it; likepion-NAME by default, and not there yet")
    parser.add_argument(
        "--domain",
        nargs="+",
        default=[],
        help="the domains of the site's accounts; none for what people host themselves",
    )


def run(args: argparse.Namespace) -> int:
    """Write the package, and say what to do next.

    :raises BadRequest: a name or domain that cannot be, or is taken; the folder exists or cannot be written.
    """
    domains = [each.strip().lower().removeprefix("www.") for each in args.domain]
    _refuse_taken(args.name, domains)
    names = _names(args.name, domains)
    folder: Path = args.folder or Path(names["distribution"])
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise BadRequest(f"{folder} is there already", remedy="Choose another one with --folder.") from None
    except OSError as error:
        raise BadRequest(f"{folder} cannot be made: {error.strerror}") from None
    templates = Path(str(files(__name__))) / "package"
    for path in sorted(templates.rglob("*.template")):
        target = folder / str(path.relative_to(templates).with_suffix("")).replace("PACKAGE", names["package"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(path.read_text(encoding="utf-8")).substitute(names), encoding="utf-8")
        print(f"wrote {target}")
    print(
        f"\nNext:\n"
        f"  cd {folder}\n"
        f"  pip install -e . pytest             # beside airflow-provider-likepion\n"
        f"  pytest                              # every rule passes, against a server that is made up\n"
        f"  {names['look']}\n"
        f"Then find each TODO: the vendor's documentation decides there. Change the server first, then the importer."
    )
    return 0


def _refuse_taken(name: str, domains: list[str]) -> None:
    from likepion_provider.hooks.connections import importers

    if len(name) > _MAX_NAME_LENGTH or not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise BadRequest(
            f"{name!r} cannot be an importer's name",
            remedy=f"Use lower-case letters, digits and single underscores, at most {_MAX_NAME_LENGTH}: my_site.",
        )
    if name in importers().platforms:
        raise BadRequest(f"an importer has the name {name} already", remedy="Choose another name.")
    for domain in domains:
        if not _DOMAIN.fullmatch(domain):
            raise BadRequest(f"{domain!r} is no domain", remedy="Name it without https:// and path: my-site.example.")
        for platform in importers().platforms.values():
            if domain in platform.domains:
                raise BadRequest(f"{domain} is served by {platform.name} already", remedy="Name another domain.")


def _names(name: str, domains: list[str]) -> dict[str, str]:
    """What stands in the templates."""
    words = name.split("_")
    served = [f'"{each}",' for each in dict.fromkeys(domains)]
    by_connection = f"host: the site's address; extra: platform: {name}"
    return {
        "name": name,
        "title": " ".join(words).capitalize(),
        "importer": "".join(each.capitalize() for each in words) + "Importer",
        "package": f"likepion_{name}",
        "distribution": f"likepion-{'-'.join(words)}",
        "domains": f"({served[0]})" if len(served) == 1 else _over_lines(served),
        "base_url": f"https://{domains[0]}/" if domains else "",
        "needs_connection": "" if domains else by_connection,
        "look": f"likepion platforms check {domains[0]}" if domains else "likepion platforms list",
    }


def _over_lines(values: list[str]) -> str:
    """A tuple of a class, a line for each of its values; without values, on one line."""
    return "(" + "".join(f"\n        {each}" for each in values) + ("\n    )" if values else ")")
