"""What connections say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.sdk import Connection

from likepion_provider.errors import BadRequest, JournalUnusable, LikepionError, NotAuthorised, Transient
from likepion_provider.hooks import connections
from likepion_provider.hooks.address import address_of, base_url_of
from likepion_provider.hooks.likepion import LikepionHook
from tests import MANAGER


def connection(**fields: Any) -> Connection:
    return Connection(conn_id="c", **({"conn_type": "likepion", "password": "key-of-a-test"} | fields))


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://manager.likepion.com"),
        ({"host": "manager.example"}, "https://manager.example"),
        ({"host": "manager.example", "schema": "http", "port": 8080}, "http://manager.example:8080"),
        ({"host": "http://127.0.0.1:81/"}, "http://127.0.0.1:81"),
        ({"host": "https://manager.example/api/v1/podcast"}, "https://manager.example"),
    ],
)
def test_the_managers_address(fields: dict[str, Any], url: str) -> None:
    assert address_of("c", connection(**fields)).url == url


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://pod.example", "https://pod.example"),
        ("http://127.0.0.1:8080/studio/api", "http://127.0.0.1:8080/studio/api"),
        ("http://pod.example/https", "https://pod.example"),
        ("likepion://:key@127.0.0.1:81/http", "http://127.0.0.1:81"),
    ],
)
def test_the_scheme_of_a_uri_counts(uri: str, url: str) -> None:
    assert base_url_of(Connection.from_uri(uri, "c")) == url


def test_a_form_without_a_scheme_means_https() -> None:
    assert base_url_of(connection(conn_type="http", host="pod.example")) == "https://pod.example"


@pytest.mark.parametrize("key", ["key-of-a-test\n", " key-of-a-test", "key of a test"])
def test_a_key_with_white_space_is_told(key: str) -> None:
    with pytest.raises(NotAuthorised, match="in the Airflow connection 'c' has white space in it") as error:
        address_of("c", connection(password=key))
    assert "Paste it anew" in error.value.advice
    assert "test" not in str(error.value)


def test_the_test_button_proves_the_extras_that_tasks_use(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"conn_type": "likepion", "password": "k", "extra": {"allow_private_feeds": "perhaps"}}
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(value))
    works, message = LikepionHook().test_connection()
    assert not works
    assert "allow_private_feeds must be true or false" in message


def test_without_a_key_the_error_names_the_connection_and_the_field() -> None:
    with pytest.raises(NotAuthorised, match="'c' has no API key") as error:
        address_of("c", connection(password=None))
    assert "password field" in error.value.advice


@pytest.mark.parametrize("timeout_s", ["soon", 0, 601, None])
def test_a_timeout_out_of_bounds_is_refused(timeout_s: object) -> None:
    with pytest.raises(BadRequest, match=r"0\.1 to 600 seconds"):
        address_of("c", connection(extra=json.dumps({"timeout_s": timeout_s})))


async def test_a_missing_connection_says_how_to_make_it() -> None:
    assert await connections.afind("nobody") is None
    with pytest.raises(BadRequest, match="there is no Airflow connection 'nobody'") as error:
        address_of("nobody", connections.find("nobody"))
    assert "airflow connections add nobody" in error.value.advice


async def test_a_sites_own_domain_may_name_its_importer(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"conn_type": "http", "host": "http://127.0.0.1:9", "extra": {"platform": "sandbox_site"}}
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_PLATFORM_MY_SITE_EXAMPLE", json.dumps(value))
    settings = connections.platform_settings(["my.site.example"])["my.site.example"]
    assert (settings.base_url, settings.extra["platform"]) == ("http://127.0.0.1:9", "sandbox_site")


@pytest.mark.parametrize(
    ("ids", "value", "owner"),
    [
        (["MY_POD_EXAMPLE"], {}, "my.pod.example"),
        (["MY_POD_EXAMPLE"], {"extra": {"domain": "My-Pod.example"}}, "my-pod.example"),
        (["MY_POD_EXAMPLE"], {"host": "https://my-pod.example"}, "my-pod.example"),
        (["MY_POD_EXAMPLE"], {"host": "https://api.pod.example"}, "my.pod.example"),
        (
            ["MY_POD_EXAMPLE"],
            {"host": "https://my-pod.example", "extra": {"domain": "my.pod.example"}},
            "my.pod.example",
        ),
        (["MY-POD.EXAMPLE"], {}, "my-pod.example"),
        (["MY_POD_EXAMPLE"], {"extra": {"domain": "other.example"}}, ""),
    ],
)
def test_a_connection_is_one_domains_own(
    monkeypatch: pytest.MonkeyPatch, ids: list[str], value: dict[str, Any], owner: str
) -> None:
    for each in ids:
        name = f"AIRFLOW_CONN_LIKEPION_PLATFORM_{each}"
        monkeypatch.setenv(name, json.dumps({"conn_type": "http", "password": "canary-key"} | value))
    found = connections.platform_settings(["my-pod.example", "my.pod.example", "my-pod-example"])
    assert [domain for domain, settings in found.items() if settings.password] == ([owner] if owner else [])


@pytest.mark.parametrize(
    ("link", "error"),
    [("", "failure_link is not set"), (" ", "failure_link is not set"), ("{nope}", "makes no public http")],
)
async def test_failures_are_reported_only_where_it_is_said_with_what_address(
    link: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__LIKEPION__FAILURE_LINK", link)
    assert connections.failure_link() == "", "it is off by default"
    monkeypatch.setenv("AIRFLOW__LIKEPION__REPORT_FAILURES", "True")
    with pytest.raises(BadRequest, match=error) as refused:
        connections.failure_link()
    assert refused.value.remedy.startswith(("Set failure_link to", "Set it to a URL"))
    monkeypatch.setenv("AIRFLOW__LIKEPION__FAILURE_LINK", "{link_rss}")
    assert connections.failure_link() == "{link_rss}"


async def test_a_url_is_reported_once_per_post_or_once_per_account(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not connections.once_per_account()
    for value, is_so in (("post", False), (" account ", True)):
        monkeypatch.setenv("AIRFLOW__LIKEPION__URL_ONCE_PER", value)
        assert connections.once_per_account() is is_so
    monkeypatch.setenv("AIRFLOW__LIKEPION__URL_ONCE_PER", "group")
    with pytest.raises(BadRequest, match="url_once_per is 'group'") as refused:
        connections.once_per_account()
    assert refused.value.remedy == "Set it to post or to account."


@pytest.mark.parametrize("executor", ["CeleryExecutor", "LocalExecutor,KubernetesExecutor", "team:CeleryExecutor"])
async def test_a_sqlite_journal_is_refused_under_a_distributed_executor(
    executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    with pytest.raises(JournalUnusable, match="SQLite journal cannot be shared") as error:
        connections.journal_of(connections.find("likepion_journal"), MANAGER)
    assert "likepion_journal" in error.value.advice


async def test_the_local_executor_takes_a_sqlite_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    assert (connections.journal_of(connections.find("likepion_journal"), MANAGER)).links.listed() == []


def test_a_postgres_connection_becomes_the_journals_url() -> None:
    given = Connection(
        conn_id="likepion_journal",
        conn_type="postgres",
        host="db.example",
        login="j",
        password="p@ss-of-a-test",
        schema="journal",
        port=5433,
    )
    assert connections.journal_url(given) == "postgresql+psycopg://j:p%40ss-of-a-test@db.example:5433/journal"
    with pytest.raises(JournalUnusable, match="of type 'mysql'"):
        connections.journal_url(Connection(conn_id="likepion_journal", conn_type="mysql"))


def test_the_default_journal_lies_under_airflow_home() -> None:
    assert connections.default_journal_path().name == "likepion_journal.db"
    assert isinstance(connections.default_journal_path(), Path)


@pytest.mark.parametrize(
    ("error", "kind", "retried"),
    [
        (Transient("t"), AirflowException, True),
        (JournalUnusable("j"), AirflowException, True),
        (BadRequest("b"), AirflowFailException, False),
        (NotAuthorised("n", status=401), AirflowFailException, False),
    ],
)
def test_only_what_may_pass_by_itself_is_retried(error: LikepionError, kind: type[Exception], *, retried: bool) -> None:
    with pytest.raises(kind) as translated, connections.airflow_errors():
        raise error
    assert isinstance(translated.value, AirflowFailException) is not retried
    assert str(translated.value) == error.advice
