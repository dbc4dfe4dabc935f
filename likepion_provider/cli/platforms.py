"""``likepion platforms``: who serves what, whether an account can sign in, what a recipe does; and a new importer."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import getpass
import itertools
import logging
import math
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from likepion_provider.aio import Gate
from likepion_provider.cli import new_platform
from likepion_provider.cli.arguments import add_json, advice_of, domain, number, print_json
from likepion_provider.cli.configured import airflow
from likepion_provider.errors import BadRequest, LikepionError, NoImporter
from likepion_provider.masking import clean, hide
from likepion_provider.models import Credentials, Feed, SecondaryTask
from likepion_provider.platforms import Job, Platform, PlatformHttp, PlatformSettings, match
from likepion_provider.web.http import connections
from likepion_provider.words import state, t, tn

#: Where an account's fields are read from, each with the field's name in capitals: ``LIKEPION_TRY_PASSWORD``.
VARIABLE_PREFIX = "LIKEPION_TRY_"
#: How long ``try`` waits for the episodes after a submission, in seconds.
DEFAULT_WAIT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    actions = parser.add_subparsers(title="actions", required=True, dest="action", metavar="ACTION")
    add_json(actions.add_parser("list", help=t("every importer, and what is wrong with those that do not work")))
    checking = actions.add_parser("check", help=t("which importer serves a domain, and what it needs"))
    checking.add_argument("domain", type=domain)
    add_json(checking)
    checking.add_argument("--login", action="store_true", help=t("sign in with an account, and change nothing there"))
    new_platform.add_arguments(
        actions.add_parser("new", help=t("write a package with an importer of one's own, and its tests"))
    )
    trying = actions.add_parser("try", help=t("run a recipe step by step, and say what each step met"))
    trying.add_argument("recipe", type=Path, help=t("the recipe's file"))
    trying.add_argument("--feed", required=True, help=t("the feed's URL"))
    trying.add_argument(
        "--address", default="", help=t("where the site is; the recipe's or the connection's by default")
    )
    trying.add_argument(
        "--target", type=number(1, 1000), default=10, help=t("newest episodes wanted, 1 to 1000; 10 by default")
    )
    trying.add_argument(
        "--wait", type=number(0, kind=float), default=DEFAULT_WAIT_S, help=t("seconds to wait for them; 60 by default")
    )
    trying.add_argument("--look-only", action="store_true", help=t("submit nothing"))
    trying.add_argument("--allow-private", action="store_true", help=t("read the feed from a private address"))
    for each in (checking, trying):
        each.epilog = t(
            "The account's fields come from {prefix}USERNAME, {prefix}PASSWORD, {prefix}TWOFA and so on; what is "
            "missing is asked for.",
            prefix=VARIABLE_PREFIX,
        )


def run(args: argparse.Namespace) -> int:
    """Do what was asked.

    :return: 1 where nobody serves the domain, or an importer is broken; of ``try``, where no episode is listed.
    """
    if args.action == "new":
        return new_platform.run(args)
    return {"check": _check, "try": _try, "list": _list}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    with airflow():
        from likepion_provider.hooks.connections import importers

        known = importers()
    if args.json:
        print_json(map(_public, known.platforms.values()))
    for platform in () if args.json else known.platforms.values():
        domains = ", ".join(platform.domains) or t("any domain, by its connection")
        print(f"{platform.name:<20} {platform.title}: {domains}")
    for name, trouble in known.broken.items():
        print(t("broken: {name}: {trouble}", name=name, trouble=trouble), file=sys.stderr)
    return 1 if known.broken else 0


def _public(platform: Platform) -> dict[str, Any]:
    return {
        "name": platform.name,
        "title": platform.title,
        "domains": [*platform.domains],
        "account": [*platform.needs],
        "connection": f"likepion_platform_{platform.name}",
        "needs_connection": platform.needs_connection,
    }


def _check(args: argparse.Namespace) -> int:
    domain = args.domain
    with airflow():
        from likepion_provider.hooks.connections import importers, platform_settings

        known, settings = importers(), platform_settings([domain])[domain]
    try:
        platform = known.for_domain(domain, str(settings.extra.get("platform", "")))
    except NoImporter as error:
        print(advice_of(error), file=sys.stderr)
        return 1
    address = settings.base_url or platform.base_url
    if args.json:
        login = _login_trouble(platform, domain, settings) if args.login else None
        print_json([{"domain": domain, "address": address, "login": login} | _public(platform)])
        return int(bool(login))
    print(t("{domain} is served by {name} ({title})", domain=domain, name=platform.name, title=platform.title))
    print(f"  address      {address or t('not set')}")
    print(f"  account      {', '.join(platform.needs) or t('no credentials')}")
    print(f"  connection   likepion_platform_{platform.name}: {platform.needs_connection or t('not needed')}")
    if not args.login:
        return 0
    trouble = _login_trouble(platform, domain, settings)
    works = t("works") if platform.needs else t("no account is needed, and the platform answers")
    print(f"  login        {trouble or works}")
    return int(bool(trouble))


def _login_trouble(platform: Platform, domain: str, settings: PlatformSettings) -> str:
    """Sign in, with a feed that nobody has; what went wrong, empty where nothing did."""
    nothing = Feed("https://feeds.invalid/none.xml", "https://feeds.invalid/none.xml", "likepion login check", ())

    async def sign_in() -> None:
        async with _job(platform, domain, settings, _credentials(platform), nothing) as job:
            await platform.sign_in(job)

    try:
        asyncio.run(sign_in())
    except LikepionError as error:
        return f"failed: {advice_of(error)}"
    return ""


# --- try ---


def _try(args: argparse.Namespace) -> int:
    from likepion_provider.feed import read_feed
    from likepion_provider.platforms.recipe import importer, read

    platform = importer(read(args.recipe))()
    domain = platform.domains[0] if platform.domains else platform.name.replace("_", "-") + ".example"
    with airflow():
        from likepion_provider.hooks.connections import platform_settings

        settings = platform_settings([domain])[domain]
    if args.address:
        settings = dataclasses.replace(settings, base_url=args.address)
    elif not (settings.base_url or platform.base_url):
        raise BadRequest("nothing says where the site is", remedy="Name it with --address.")
    credentials = _credentials(platform)

    async def go() -> int:
        feed = await read_feed(args.feed, target=args.target, allow_private=args.allow_private)
        print(
            tn(
                "feed: {title}, {count} episode wanted",
                "feed: {title}, {count} episodes wanted",
                len(feed.episodes),
                title=repr(feed.title),
            )
        )
        async with _job(platform, domain, settings, credentials, feed, args.target) as job:
            return await _bring_in(platform, job, look_only=args.look_only, wait_s=args.wait)

    hide([args.feed])
    with _told():
        return asyncio.run(go())


async def _bring_in(platform: Platform, job: Job, *, look_only: bool, wait_s: float) -> int:
    """Submit and look, as the DAG does; print the episodes' pages."""
    progress = await (platform.collect(job) if look_only else platform.submit(job))
    wanted = len(job.feed.episodes)
    for pause_s in itertools.chain(platform.poll_s, itertools.repeat(platform.poll_s[-1])):
        urls = [each.url for _, each in match(job.feed, progress.episodes, max(wanted, 1))]
        print(
            tn(
                "state: {state}, {listed} of {count} episode, reference {reference}",
                "state: {state}, {listed} of {count} episodes, reference {reference}",
                wanted,
                state=state(progress.state.value),
                listed=len(urls),
                reference=repr(progress.reference),
            )
        )
        wait_s -= pause_s
        if look_only or len(urls) >= wanted or wait_s < 0:
            break
        await asyncio.sleep(pause_s)
        progress = await platform.collect(dataclasses.replace(job, reference=progress.reference))
    print(*map(clean, urls), sep="\n")
    return 0 if urls else 1


def _credentials(platform: Platform) -> Credentials:
    """The account's fields, from the environment; what the platform cannot do without is asked for."""
    names = [field.name for field in dataclasses.fields(Credentials)]
    found = {name: os.environ.get(VARIABLE_PREFIX + name.upper(), "") for name in names}
    for name in platform.needs:
        if not found[name]:
            if not sys.stdin.isatty():
                raise BadRequest(f"{platform.title} needs the account's {name}: set {VARIABLE_PREFIX}{name.upper()}")
            found[name] = getpass.getpass(f"{name}: ")
    return Credentials(**found)


@contextlib.asynccontextmanager
async def _job(
    platform: Platform, domain: str, settings: PlatformSettings, credentials: Credentials, feed: Feed, target: int = 1
) -> AsyncIterator[Job]:
    """What an importer is handed, without a claim: nobody else works on this account."""

    async def before_write() -> float:
        return math.inf

    task = SecondaryTask("by-hand", "by-hand", "by-hand", domain, username=credentials.username, target=target)
    async with connections() as shared:
        http = PlatformHttp(
            platform=platform.name,
            base_url=platform.address(task, settings),
            connections=shared,
            gate=Gate(platform.max_concurrency),
            before_write=before_write,
            cookie=credentials.cookie,
            named=settings.addresses,
            allow_private=settings.allow_private,
        )
        yield Job(task, credentials, feed, settings, http)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Print what the recipe's steps meet; secrets as ``***``, should a site repeat one."""
    log = logging.getLogger("likepion_provider.platforms.recipe")
    handler = _Print()
    level, propagates = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagates


class _Print(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"  {clean(record.getMessage())}")
