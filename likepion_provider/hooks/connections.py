"""What Airflow's connections say, in this package's own terms, and our errors in Airflow's."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
    Context,
    conf,
)

from likepion_provider.errors import BadRequest, JournalUnusable, LikepionError
from likepion_provider.hooks.address import address_of, base_url_of, url_of
from likepion_provider.hooks.compat import amask_secret, is_without_supervisor
from likepion_provider.hooks.internals import airflow_home, connection_of_the_server
from likepion_provider.hooks.output import mask
from likepion_provider.hooks.values import flag
from likepion_provider.journal import Journal, open_journal
from likepion_provider.manager.client import ManagerAddress
from likepion_provider.manager.protocol import failure_report
from likepion_provider.models import Account, Credentials, SecondaryTask
from likepion_provider.platforms import PlatformSettings, Registry, registry

log = logging.getLogger(__name__)

LIKEPION_CONN_ID = "likepion_default"
JOURNAL_CONN_ID = "likepion_journal"
PLATFORM_CONN_PREFIX = "likepion_platform_"
#: XCom key of the error that ended a task, with what to do; the report reads it.
ERROR = "error"

#: Executors whose tasks all run on one machine, so that a SQLite file is shared by all of them.
ONE_MACHINE_EXECUTORS = frozenset({"LocalExecutor", "SequentialExecutor", "DebugExecutor"})


@contextlib.contextmanager
def airflow_errors() -> Iterator[None]:
    """Translate our errors: what may pass by itself is retried as the task's ``retries`` say, the rest is not.

    :raises AirflowException: for what Airflow's own retries may help.
    :raises AirflowFailException: for everything else.
    """
    try:
        yield
    except LikepionError as error:
        raise (AirflowException if error.is_retried else AirflowFailException)(error.advice) from None


def find(conn_id: str) -> Any | None:
    """A connection, or None. Blocks: tasks call it before their event loop begins."""
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        return None
    except ImportError as error:
        if not is_without_supervisor(error):
            raise
        return connection_of_the_server(conn_id)


async def afind(conn_id: str) -> Any | None:
    """A connection, or None; for triggers."""
    try:
        return await BaseHook.aget_connection(conn_id)
    except AirflowNotFoundException:
        return None
    except ImportError as error:
        if not is_without_supervisor(error):
            raise
        return await asyncio.to_thread(find, conn_id)


def manager_address(conn_id: str, connection: Any | None) -> ManagerAddress:
    """Where the manager is; what of it is secret is masked from now on.

    :raises BadRequest: there is no such connection, or it makes no sense.
    :raises NotAuthorised: it has no password, which is the API key.
    """
    address = address_of(conn_id, connection)
    mask(address.secrets())
    return address


async def amanager_address(conn_id: str) -> ManagerAddress:
    """As :func:`manager_address`, for coroutines; it looks the connection up."""
    address = address_of(conn_id, await afind(conn_id))
    for secret in address.secrets():
        await amask_secret(secret)
    return address


def allows_private_feeds(connection: Any | None) -> bool:
    """Whether the connection's extra ``allow_private_feeds`` lets feeds come from private and loopback addresses.

    :raises BadRequest: it is neither on nor off.
    """
    return connection is not None and flag("allow_private_feeds", connection.extra_dejson.get("allow_private_feeds"))


def scope_of(context: Context) -> str:
    """The run that claims are given to."""
    run = context["dag_run"]
    return f"{run.dag_id}/{run.run_id}"


def importers() -> Registry:
    """All importers, those of the recipes in ``[likepion] recipes_folder`` too."""
    return registry(recipes_folder())


def recipes_folder() -> Path:
    """Where recipes are; ``likepion_recipes`` under ``AIRFLOW_HOME`` where nothing is configured."""
    return Path(conf.get("likepion", "recipes_folder", fallback="") or airflow_home() / "likepion_recipes")


def failure_link() -> str:
    """``[likepion] failure_link`` where ``report_failures`` is on; else empty.

    :raises BadRequest: it is missing, or makes no URL.
    """
    if not conf.getboolean("likepion", "report_failures", fallback=False):
        return ""
    link: str = conf.get("likepion", "failure_link", fallback="").strip()
    if not link:
        raise BadRequest(
            "[likepion] report_failures is on, but failure_link is not set",
            remedy="Set failure_link to the URL that the manager is to store as such an account's link_post.",
        )
    sample = SecondaryTask("account", "post", "group", "platform.example", website="https://site.example")
    failure_report(link, Account(sample, Credentials(), "https://feed.example"), "")
    return link


def once_per_account() -> bool:
    """Whether ``[likepion] url_once_per`` is ``account``: an account gets no episode twice, whatever the post.

    :raises BadRequest: it is neither ``post`` nor ``account``.
    """
    value: str = conf.get("likepion", "url_once_per", fallback="post").strip()
    if value not in ("post", "account"):
        raise BadRequest(f"[likepion] url_once_per is {value!r}", remedy="Set it to post or to account.")
    return value == "account"


def platform_settings(domains: Collection[str]) -> dict[str, PlatformSettings]:
    """What is set for each platform: ``likepion_platform_<domain>``, else ``likepion_platform_<importer's name>``.

    A connection's id may have an underscore for every character of the domain but letters and digits. Several domains
    have such an id in common: the connection's extra ``domain`` says whose it is, else its host; with neither, it is
    the one of letters, digits and dots. Blocks.
    """
    # Domains of one importer share its connection: it is looked up once.
    look_up = functools.cache(find)
    return {domain: _settings_of(domain, look_up) for domain in domains}


def _settings_of(domain: str, look_up: Callable[[str], Any | None]) -> PlatformSettings:
    owners = [name for name, each in importers().platforms.items() if domain in each.domains]
    folded = _folded(domain)
    for suffix in (domain, folded, *owners):
        connection = look_up(PLATFORM_CONN_PREFIX + suffix)
        if connection is None:
            continue
        if suffix == folded and not _is_for(connection, domain):
            words = "%s does not say that it is for %s: name the domain as 'domain' in its extra"
            log.warning(words, PLATFORM_CONN_PREFIX + folded, domain)
            continue
        return PlatformSettings(
            base_url=base_url_of(connection),
            login=connection.login or "",
            password=connection.password or "",
            extra=connection.extra_dejson,
        )
    return PlatformSettings()


def _folded(domain: str) -> str:
    return re.sub("[^a-z0-9]", "_", domain)


def _is_for(connection: Any, domain: str) -> bool:
    """Whether a connection is this domain's, among those that have its id in common."""
    host = urlsplit(base_url_of(connection)).netloc.lower()
    named = str(connection.extra_dejson.get("domain") or "").strip().lower()
    if named or _folded(host) == _folded(domain):
        return domain == (named or host)
    return bool(re.fullmatch("[a-z0-9.]+", domain))


def journal_for(conn_id: str) -> Journal:
    """The part of the journal that belongs to the manager of a connection. Blocks.

    :raises BadRequest: there is no such connection.
    :raises JournalUnusable: see :func:`usable_journal_url`.
    """
    return journal_of(find(JOURNAL_CONN_ID), url_of(conn_id, find(conn_id)))


def journal_of(connection: Any | None, manager: str) -> Journal:
    """A manager's part of the journal behind the connection ``likepion_journal``.

    :param manager: its address, as :attr:`~likepion_provider.manager.client.ManagerAddress.site` has it.
    :raises JournalUnusable: see :func:`usable_journal_url`; or it cannot be reached.
    """
    return open_journal(usable_journal_url(connection), manager)


def usable_journal_url(connection: Any | None) -> str:
    """The URL of the journal behind the connection ``likepion_journal``; without one, a file under ``AIRFLOW_HOME``.

    :raises JournalUnusable: the connection names none; or it is SQLite and the executor runs tasks on several machines.
    """
    url = journal_url(connection)
    if url.startswith("sqlite"):
        _refuse_sqlite_on_many_machines()
    return url


def journal_url(connection: Any | None) -> str:
    """The SQLAlchemy URL of the journal, with every parameter that the connection has.

    :raises JournalUnusable: the connection is neither PostgreSQL nor a SQLite file, which its absolute path names.
    """
    if connection is None:
        return f"sqlite:///{default_journal_path()}"
    if connection.conn_type not in ("postgres", "postgresql", "sqlite"):
        raise JournalUnusable(f"the connection {JOURNAL_CONN_ID} is of type {connection.conn_type!r}")
    from sqlalchemy import URL

    query = {name: _parameter(name, value) for name, value in connection.extra_dejson.items()}
    if connection.conn_type == "sqlite":
        # Airflow's form has the path in host, a URI has it in what Airflow calls schema.
        url = URL.create("sqlite", database=_absolute(connection.host or connection.schema or ""), query=query)
    else:
        url = URL.create(
            "postgresql+psycopg",
            username=connection.login,
            password=connection.password,
            host=connection.host,
            port=connection.port,
            database=connection.schema,
            query=query,
        )
    return url.render_as_string(hide_password=False)


def _absolute(path: str) -> str:
    if not Path(path).is_absolute():
        raise JournalUnusable(
            f"the connection {JOURNAL_CONN_ID} names the SQLite file {path!r}, which is another file in every folder",
            remedy="Put the file's absolute path into host; in a URI it has four slashes: sqlite:////folder/file.db.",
        )
    return path


def _parameter(name: str, value: Any) -> str:
    """An extra as a URL's parameter: text, a number, on or off, or null.

    :raises JournalUnusable: it is none of these.
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, int):
        return "null" if value is None else str(int(value))
    raise JournalUnusable(
        f"the extra {name!r} of the connection {JOURNAL_CONN_ID} is neither text nor a number",
        remedy="Correct the connection's extras: each is a parameter of its database's driver.",
    )


def default_journal_path() -> Path:
    """Where the journal is when nothing is configured."""
    return airflow_home() / "likepion_journal.db"


def _refuse_sqlite_on_many_machines() -> None:
    # ``Executor,alias:Executor;team=Executor,...``
    teams = conf.get("core", "executor", fallback="LocalExecutor").split(";")
    executors = [each.strip() for team in teams for each in team.rpartition("=")[2].split(",")]
    names = {each.split(":")[-1].rsplit(".", 1)[-1] for each in executors if each}
    if distributed := sorted(names - ONE_MACHINE_EXECUTORS):
        raise JournalUnusable(f"a SQLite journal cannot be shared by the machines of {', '.join(distributed)}")
