"""A run without Airflow: the batch worker with its journal beside the barest asyncio that does the same HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pyotp

from likepion_provider.cli.local import sandbox_process
from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.journal import Journal, open_journal
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import LinkReport
from likepion_provider.models import Account, SecondaryTask
from likepion_provider.platforms import PlatformSettings, registry
from likepion_provider.sandbox.world import DOMAINS
from likepion_provider.steps.batches import batches
from likepion_provider.steps.delivery import Delivery
from likepion_provider.steps.importing import BatchImport, ImportOptions
from likepion_provider.steps.intake import Intake
from likepion_provider.steps.keeper import Keeper
from likepion_provider.web.html import Html
from tests import MANAGER
from tests.benchmarks.report import row

ACCOUNTS, POSTS = 300, 5
GOAL = 0.5


def world(accounts: int) -> tuple[str, ...]:
    """A sandbox's arguments."""
    return "--world", "built", "--accounts", str(accounts), "--posts", str(POSTS), "--listing-delay-s", "0.5"


@dataclasses.dataclass(frozen=True)
class Addresses:
    """What ``likepion sandbox`` prints."""

    manager_url: str
    site_url: str
    feeds_url: str
    api_key: str


async def ours(where: Addresses, folder: Path) -> float:
    """Everything the run does between pull and insert.

    :return: seconds.
    """
    # Made once in an installation's life.
    journal = open_journal(f"sqlite:///{folder / 'journal.db'}", MANAGER)
    began_s = time.perf_counter()
    async with ManagerClient(ManagerAddress(where.manager_url, where.api_key)) as manager:
        intake = Intake(manager=manager, journal=journal, clock=SYSTEM_CLOCK, scope="s", run_id="r")
        tasks = await intake.reaffirm(await intake.pull(1000))
    await asyncio.gather(*(work_batch(where, journal, "s", batch.tasks) for batch in batches(tasks)))
    return time.perf_counter() - began_s


async def work_batch(where: Addresses, journal: Journal, scope: str, tasks: Sequence[SecondaryTask]) -> None:
    """What the import and the insert of one batch do."""
    settings = dict.fromkeys(DOMAINS, PlatformSettings(base_url=where.site_url))
    async with ManagerClient(ManagerAddress(where.manager_url, where.api_key)) as manager:
        await BatchImport(
            manager=manager,
            journal=journal,
            keeper=Keeper(manager, journal, SYSTEM_CLOCK, scope, uuid.uuid4().hex),
            registry=registry(),
            clock=SYSTEM_CLOCK,
            settings=settings,
            options=ImportOptions(allow_private_feeds=True),
        ).run(tasks)
        keeper = Keeper(manager, journal, SYSTEM_CLOCK, scope, uuid.uuid4().hex)
        await Delivery(manager=manager, journal=journal, keeper=keeper, clock=SYSTEM_CLOCK).run(tasks)


async def plain(where: Addresses, at_once: int = 64) -> float:
    """The same requests to manager and site, with no journal, no leases and no checks.

    :return: seconds.
    """
    began_s = time.perf_counter()
    slots = asyncio.Semaphore(at_once)
    async with ManagerClient(ManagerAddress(where.manager_url, where.api_key)) as manager:

        async def work(account: Account) -> None:
            async with slots:
                account = await manager.account(account.task.account_id)
                urls = await import_plainly(where, account)
                task = account.task
                await manager.insert(LinkReport(task.request_id, task.account_id, tuple(urls)))

        await asyncio.gather(*map(work, await manager.pull(1000)))
    return time.perf_counter() - began_s


async def import_plainly(where: Addresses, account: Account) -> list[str]:
    """Log in, submit, poll and list."""
    base = f"{where.site_url}/{account.task.domain}"
    known = account.credentials
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as site:

        async def page(method: str, path: str, **options: object) -> str:
            async with site.request(method, f"{base}/{path}", **options) as answer:  # type: ignore[arg-type]
                return await answer.text()

        async def csrf(path: str) -> str:
            return Html(await page("GET", path)).controls["csrf"]

        login = {"csrf": await csrf("login"), "username": known.username, "password": known.password}
        await page("POST", "login", data=login)
        code = {"csrf": await csrf("login/totp"), "code": pyotp.TOTP(known.twofa).now()}
        await page("POST", "login/totp", data=code)
        feed = {"csrf": await csrf("import"), "feed_url": account.link_rss}
        row = json.loads(await page("POST", "import", data=feed))
        while row["state"] != "listed":
            await asyncio.sleep(0.5)
            row = json.loads(await page("GET", f"api/imports/{row['import_id']}"))
        listed = json.loads(await page("GET", f"api/shows/{row['show_id']}/episodes"))
        return [each["url"] for each in listed["episodes"]]


def main(*, quick: bool) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with sandbox_process(folder, *world(ACCOUNTS)) as sandbox:
            plain_s = asyncio.run(plain(Addresses(**sandbox)))
        with sandbox_process(folder, *world(ACCOUNTS)) as sandbox:
            ours_s = asyncio.run(ours(Addresses(**sandbox), folder))
    ratio = plain_s / ours_s
    case = f"{ACCOUNTS} accounts in {POSTS} posts, without Airflow"
    row(f"{case}, plain asyncio", f"{ACCOUNTS / plain_s * 60:,.0f} accounts/min")
    figure = f"{ACCOUNTS / ours_s * 60:,.0f} accounts/min, {ratio:.0%} of plain"
    row(f"{case}, the worker with its journal", figure, f"at least {GOAL:.0%}", met=ratio >= GOAL)
