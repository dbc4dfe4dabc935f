"""What Airflow and pip see of the package."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from airflow.providers.common.compat.sdk import BaseOperator

import likepion_provider
from likepion_provider.dag import likepion_dag
from likepion_provider.errors import BadRequest
from likepion_provider.manager.protocol import LinkReport
from likepion_provider.operators import ImportRssOperator
from likepion_provider.platforms import Job, ListedEpisode, PlatformSettings, Progress, Rereads
from likepion_provider.steps.importing import ImportBounds, ImportOptions, import_options
from tests.versions import dags_in

ROOT = Path(__file__).parents[3]


def test_the_provider_info_fits_airflows_schema() -> None:
    schema = json.loads((files("airflow") / "provider_info.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(likepion_provider.get_provider_info(), schema)


def test_the_changelog_begins_with_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {likepion_provider.__version__}" in changelog


def test_the_readmes_dag_is_the_dags(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    excerpt = readme.split("```python")[1].split("```")[0]
    dag = " ".join((ROOT / "likepion_provider/dag.py").read_text(encoding="utf-8").split())
    for name in ("PullSecondaryTasksOperator", "ClaimAccountsOperator", "LinkRssSensor", "InsertLinksOperator"):
        assert f"{name}(" in excerpt
        assert f"{name}(" in dag
    for line in ("wait >> import_rss >> insert_links", "import_batch.expand(batch=claim.output)"):
        assert line in excerpt
        assert line in dag


def test_the_dag_parses_into_the_tasks_that_are_documented() -> None:
    bag = dags_in(ROOT / "dags")
    assert bag.import_errors == {}
    dag = bag.dags["likepion_podcast_secondary"]
    assert set(dag.task_ids) == {
        "pull_tasks",
        "claim_accounts",
        "import_batch.wait_for_link_rss",
        "import_batch.import_rss",
        "import_batch.insert_links",
        "import_batch.ask_person",
        "import_batch.import_assisted",
        "import_batch.insert_assisted",
        "report",
    }
    assert {"limit", "group_id", "domains", "account_ids", "batch_size", "assist", "dry_run", "resend"} == set(
        dag.params
    )


def test_the_connection_form_is_described_as_the_code_reads_it() -> None:
    (kind,) = likepion_provider.get_provider_info()["connection-types"]
    assert set(kind["conn-fields"]) == {"timeout_s", "allow_private_feeds"}
    assert yaml.safe_dump(kind)


SHORT = {
    "operators": "AskPersonOperator ClaimAccountsOperator ImportRssOperator InsertLinksOperator LikepionReportOperator"
    " PullSecondaryTasksOperator",
    "sensors": "LinkRssSensor",
    "triggers": "LinkRssTrigger",
    "hooks": "LikepionHook",
}
PUBLIC = [
    *(
        getattr(importlib.import_module(f"likepion_provider.{room}"), name)
        for room in SHORT
        for name in SHORT[room].split()
    ),
    likepion_dag,
    ImportBounds,
    LinkReport,
    Job,
    ListedEpisode,
    PlatformSettings,
    Progress,
    Rereads,
]


@pytest.mark.parametrize("room", SHORT)
def test_short_imports_name_the_classes_and_nothing_else(room: str) -> None:
    module = importlib.import_module(f"likepion_provider.{room}")
    assert module.__all__ == SHORT[room].split()
    assert all(getattr(module, name).__name__ == name for name in module.__all__)
    with pytest.raises(AttributeError, match=f"'likepion_provider.{room}' has no attribute 'Nothing'"):
        module.Nothing  # noqa: B018


@pytest.mark.parametrize("public", PUBLIC, ids=lambda each: each.__name__)
def test_every_public_parameter_is_described(public: Any) -> None:
    described = set(re.findall(r":param (\w+):", public.__doc__ or ""))
    taken = {*(public.__annotations__ if public is ImportBounds else inspect.signature(public).parameters)}
    assert {each for each in taken - {"kwargs"} - described if f"``{each}``" not in public.__doc__} == set()


@pytest.mark.parametrize(
    "public", [each for each in PUBLIC if inspect.isclass(each) and issubclass(each, BaseOperator)]
)
def test_every_operator_names_its_connection_in_its_signature(public: type[BaseOperator]) -> None:
    assert inspect.signature(public).parameters["likepion_conn_id"].annotation == "str"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_concurency": 5}, "there is no option 'max_concurency'"),
        ({"max_concurrency": 0}, "max_concurrency must be a number from 1 to 500, not 0"),
        ({"max_concurrency": 2.5}, "max_concurrency must be"),
        ({"max_failures": True}, "max_failures must be"),
        ({"feed_timeout_s": "60"}, "feed_timeout_s must be a number from 0 to 3600, not '60'"),
        ({"back_off_s": float("nan")}, "back_off_s must be"),
    ],
)
def test_a_bound_that_makes_no_sense_is_told_when_the_dag_is_read(options: Any, says: str) -> None:
    with pytest.raises(BadRequest, match=re.escape(says)):
        ImportRssOperator(task_id="import_rss", batch={}, options=options)


def test_bounds_that_are_set_are_those_that_hold() -> None:
    operator = ImportRssOperator(task_id="import_rss", batch={}, options={"max_failures": 5, "feed_timeout_s": 30})
    assert import_options(operator.options) == ImportOptions(max_failures=5, feed_timeout_s=30)
