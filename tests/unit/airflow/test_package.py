"""What Airflow and pip see of the package."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import yaml
from airflow.dag_processing.dagbag import DagBag

import likepion_provider

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
    bag = DagBag(ROOT / "dags")
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
