"""A run without Airflow: the batch worker with its journal beside the barest asyncio that does the same HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import pyotp

from likepion_provider.cli.local import sandbox_process
from likepion_provider.client import ManagerAddress, ManagerClient
from likepion_provider.delivery import Delivery
from likepion_provider.intake import Intake, batches
from likepion_provider.journal import open_journal
from likepion_provider.keeper import Keeper
from likepion_provider.lease import SYSTEM_CLOCK
from likepion_provider.models import Account
from likepion_provider.platforms import PlatformSettings, registry
from likepion_provider.platforms.forms import hidden_fields
from likepion_provider.protocol import LinkReport
from likepion_provider.sandbox.world import DOMAINS
from likepion_provider.worker import BatchImport, ImportOptions

ACCOUNTS, POSTS = 300, 5
WORLD = ("--world", "built", "--accounts", str(ACCOUNTS), "--posts", str(POSTS), "--listing-delay-s", "0.5")
GOAL = 0.5


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
    began_s = time.perf_counter()
    journal = open_journal(f"sqlite:///{folder / 'journal.db'}")

    settings = dict.fromkeys(DOMAINS, PlatformSettings(base_url=where.site_url))
    async with ManagerClient(ManagerAddress(where.manager_url, where.api_key)) as manager:
        intake = Intake(manager=manager, journal=journal, clock=SYSTEM_CLOCK, scope="s", run_id="r")
        tasks = await intake.reaffirm(await intake.pull(1000))

        async def work(number: int) -> None:
            keeper = Keeper(manager, journal, SYSTEM_CLOCK, "s", f"import-{number}")
            await BatchImport(
                manager=manager,
                journal=journal,
                keeper=keeper,
                registry=registry(),
                clock=SYSTEM_CLOCK,
                settings=settings,
                options=ImportOptions(allow_private_feeds=True),
            ).run(cut[number].tasks)
            keeper = Keeper(manager, journal, SYSTEM_CLOCK, "s", f"insert-{number}")
            await Delivery(manager=manager, journal=journal, keeper=keeper, clock=SYSTEM_CLOCK).run(cut[number].tasks)

        cut = batches(tasks)
        await asyncio.gather(*map(work, range(len(cut))))
    return time.perf_counter() - began_s


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
            return hidden_fields(await page("GET", path))["csrf"]

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


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with sandbox_process(folder, *WORLD) as sandbox:
            plain_s = asyncio.run(plain(Addresses(**sandbox)))
        with sandbox_process(folder, *WORLD) as sandbox:
            ours_s = asyncio.run(ours(Addresses(**sandbox), folder))
    ratio = plain_s / ours_s
    sys.stdout.write(
        f"batch    {ACCOUNTS} accounts in {POSTS} posts: ours {ACCOUNTS / ours_s * 60:.0f} accounts/min, "
        f"plain asyncio {ACCOUNTS / plain_s * 60:.0f}, ratio {ratio:.2f} "
        f"(goal {GOAL}): {'pass' if ratio >= GOAL else 'falls short'}\n"
    )
