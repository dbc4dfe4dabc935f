"""``likepion platforms``: who serves what."""

from __future__ import annotations

import argparse
import sys

from likepion_provider.errors import NoImporter
from likepion_provider.platforms import registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    actions = parser.add_subparsers(title="actions", required=True, dest="action", metavar="ACTION")
    actions.add_parser("list", help="every importer, and what is wrong with those that do not work")
    checking = actions.add_parser("check", help="which importer serves a domain, and what it needs")
    checking.add_argument("domain")


def run(args: argparse.Namespace) -> int:
    """Do what was asked.

    :return: 1 where nobody serves the domain, or an importer is broken.
    """
    return _check(args.domain.strip().lower()) if args.action == "check" else _list()


def _list() -> int:
    for platform in registry().platforms.values():
        print(f"{platform.name:<20} {platform.title}: {', '.join(platform.domains) or 'any domain, by its connection'}")
    for name, trouble in registry().broken.items():
        print(f"broken: {name}: {trouble}", file=sys.stderr)
    return 1 if registry().broken else 0


def _check(domain: str) -> int:
    from likepion_provider.hooks.connections import platform_settings

    settings = platform_settings(domain)
    try:
        platform = registry().for_domain(domain, str(settings.extra.get("platform", "")))
    except NoImporter as error:
        print(error.advice)
        return 1
    address = settings.base_url or platform.base_url
    print(f"{domain} is served by {platform.name} ({platform.title})")
    print(f"  address      {address or 'not set'}")
    print(f"  account      {', '.join(platform.needs) or 'no credentials'}")
    print(f"  connection   likepion_platform_{platform.name}: {platform.needs_connection or 'not needed'}")
    return 0
