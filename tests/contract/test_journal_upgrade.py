"""A journal of any earlier schema, brought to the newest, keeps every row."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, DateTime, Engine, Float, Integer, MetaData, create_engine, select, text

from likepion_provider.journal import database

ROWS = 50
#: A revision that no release has: what the next one may do to tables that have rows.
NEXT = f"""
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{database.HEAD}"


def upgrade():
    op.add_column("likepion_link", sa.Column("next", sa.Text, nullable=False, server_default="by default"))
    op.create_index("likepion_link_next", "likepion_link", ["next"])
"""


def configuration(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    return config


REVISIONS = [each.revision for each in ScriptDirectory.from_config(configuration(database.MIGRATIONS)).walk_revisions()]


@pytest.fixture
def engine(journal_url: str) -> Iterator[Engine]:
    engine = create_engine(journal_url)
    yield engine
    engine.dispose()


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as it will be once it has a newer schema."""
    migrations = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    (migrations / "versions/next.py").write_text(NEXT, encoding="utf-8")
    monkeypatch.setattr(database, "MIGRATIONS", migrations)
    monkeypatch.setattr(database, "HEAD", "next")


def fill(engine: Engine, revision: str) -> None:
    """Make the schema of a revision, with rows in every table."""
    config = configuration(database.MIGRATIONS)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    with engine.begin() as connection:
        for table in tables(engine):
            given = [column for column in table.columns if column.computed is None]
            rows = [{column.name: value(column.type, number) for column in given} for number in range(ROWS)]
            connection.execute(table.insert(), rows)


def tables(engine: Engine) -> list[Any]:
    metadata = MetaData()
    metadata.reflect(engine)
    return [table for table in metadata.sorted_tables if table.name != "likepion_journal_version"]


def value(kind: Any, number: int) -> Any:
    if isinstance(kind, DateTime):
        return datetime(2026, 1, 1, 12, number, tzinfo=timezone.utc)
    if isinstance(kind, Boolean):
        return number % 2 == 0
    if isinstance(kind, Integer | Float):
        return kind.python_type(number)
    return f"text {number}"


def contents(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    with engine.connect() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(select(table).order_by(*table.columns)).mappings()]
            for table in tables(engine)
        }


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.usefixtures("next_release")
def test_every_row_of_an_earlier_schema_is_kept(engine: Engine, journal_url: str, revision: str) -> None:
    fill(engine, revision)
    before = contents(engine)
    assert {name: len(rows) for name, rows in before.items()} == dict.fromkeys(before, ROWS)
    database.Database(journal_url).close()
    after = contents(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM likepion_journal_version")).scalar() == "next"
    assert {row["next"] for row in after["likepion_link"]} == {"by default"}
    for name, rows in before.items():
        # The upgrade itself notes who may use the new schema.
        old = [row for row in after[name] if row.get("name") != "schema_takes"]
        kept = [{column: row[column] for column in rows[0]} for row in old]
        assert kept == rows, name


def test_the_head_is_the_newest_revision() -> None:
    assert REVISIONS[0] == database.HEAD
