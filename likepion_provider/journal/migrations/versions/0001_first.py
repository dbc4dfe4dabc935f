"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)
_STANDING = (
    "CASE WHEN retired > 0 THEN 'retired'"
    " WHEN parked > 0 THEN 'unknown'"
    " WHEN state = 'needs_verification' THEN 'needs_person'"
    " WHEN state IN ('failed', 'locked') OR refused > 0 THEN 'failed'"
    " WHEN links > 0 AND stored = links THEN 'delivered'"
    " ELSE 'waiting' END"
)
_LEFT = (
    "CASE WHEN retired > 0 OR (doubted > 0 AND stored + reported = 0) OR NOT (parked > 0 OR (stored + reported > 0"
    " AND (links > stored OR state IN ('submitting', 'submitted', 'in_review')))) THEN 0"
    " WHEN asked > 0 THEN 3"
    " WHEN stored + reported > 0 THEN 1"
    " ELSE 2 END"
)
_SEARCH = "lower(label || ' ' || account_id || ' ' || group_id || ' ' || request_id)"
_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, length: int | None = None, default: str | None = "") -> sa.Column[str]:
    return sa.Column(name, sa.String(length) if length else sa.Text, nullable=False, server_default=default)


def _number(name: str, default: int = 0) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=str(default))


def _manager(*, primary_key: bool = True) -> sa.Column[int]:
    return sa.Column("manager_id", sa.SmallInteger, primary_key=primary_key, autoincrement=False, nullable=False)


#: Changes of an account that are remembered.
_REMEMBERED = 30
_HAS_CHANGED = (
    "old.standing <> new.standing OR old.state <> new.state OR old.set_aside <> new.set_aside"
    " OR (old.message <> new.message AND new.message <> '')"
)
_OF_ACCOUNT = "account_id = new.account_id AND request_id = new.request_id AND manager_id = new.manager_id"


def _kept(age_s: str, all_but: str) -> str:
    """Statements of a trigger: note a change, and forget the oldest."""
    return f"""
        INSERT INTO likepion_history
            (manager_id, request_id, account_id, domain, standing, state, message, run_id, age_s, at)
        VALUES (new.manager_id, new.request_id, new.account_id, new.domain, new.standing, new.state,
            CASE WHEN old.set_aside = new.set_aside THEN new.message
                WHEN new.set_aside = '' THEN 'taken back' ELSE 'set aside: ' || new.set_aside END,
            new.run_id, {age_s}, new.updated_at);
        DELETE FROM likepion_history WHERE id IN
            (SELECT id FROM likepion_history WHERE {_OF_ACCOUNT} ORDER BY id DESC {all_but} OFFSET {_REMEMBERED});
    """  # noqa: S608


#: By triggers, so that no writer can forget it, and none pays another statement. What is copied fires none.
_KEEP_HISTORY = {
    "sqlite": [
        f"""CREATE TRIGGER likepion_keep_history AFTER UPDATE ON likepion_submission WHEN {_HAS_CHANGED} BEGIN
        {_kept("strftime('%s', new.updated_at) - strftime('%s', new.noted_at)", "LIMIT -1")} END"""
    ],
    "postgresql": [
        f"""CREATE FUNCTION likepion_keep_history() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        {_kept("extract(epoch FROM new.updated_at - new.noted_at)::integer", "")} RETURN NULL; END $$""",
        f"""CREATE TRIGGER likepion_keep_history AFTER UPDATE ON likepion_submission FOR EACH ROW
        WHEN ({_HAS_CHANGED}) EXECUTE FUNCTION likepion_keep_history()""",
    ],
}


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "likepion_manager",
        sa.Column("id", sa.SmallInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        _text("address", 512, None),
        sa.UniqueConstraint("address", name="likepion_manager_once"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "likepion_dag",
        sa.Column("dag_id", sa.String(250), primary_key=True),
        _manager(),
        sa.Column("used_at", _TIME, nullable=False),
    )
    op.create_table(
        "likepion_submission",
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("account_id", sa.String(64), primary_key=True),
        _manager(),
        _text("group_id", 64, None),
        _text("domain", 255, None),
        _text("label", 320, None),
        _text("state", 32, None),
        _text("reference"),
        _number("attempts"),
        _number("failures"),
        _number("setbacks"),
        sa.Column("not_before", _TIME),
        sa.Column("trouble_since", _TIME),
        _text("message"),
        _text("remedy"),
        _text("dag_id", 250),
        _text("run_id", 250),
        _text("task_id", 250),
        _number("map_index", -1),
        sa.Column("noted_at", _TIME, nullable=False, server_default="1970-01-01 00:00:00+00:00"),
        _number("feed_ready", 1),
        _text("set_aside"),
        _number("links"),
        _number("stored"),
        _number("parked"),
        _number("refused"),
        _number("reported"),
        _number("asked"),
        sa.Column("asked_since", _TIME),
        sa.Column("ask_after", _TIME, nullable=False, server_default="1970-01-01 00:00:00+00:00"),
        _number("retired"),
        _number("doubted"),
        sa.Column("left", sa.Integer, sa.Computed(_LEFT, persisted=True), nullable=False),
        sa.Column("standing", sa.String(16), sa.Computed(_STANDING, persisted=True), nullable=False),
        sa.Column("search", sa.Text, sa.Computed(_SEARCH, persisted=True), nullable=False),
        sa.Column("pulled_at", _TIME),
        _text("delivered_first", 10),
        _text("delivered_on", 10),
        sa.Column("submitted_at", _TIME),
        sa.Column("refreshed_at", _TIME),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    for name, columns in (
        ("account", ["account_id"]),
        ("label", ["label", "account_id"]),
        ("group", ["group_id", "standing", "links", "stored"]),
    ):
        # PostgreSQL would sort the first as its language does, which tells nothing of what begins alike.
        by_character = {columns[0]: "varchar_pattern_ops"}
        op.create_index(
            f"likepion_submission_{name}",
            "likepion_submission",
            [*columns, "manager_id"],
            postgresql_ops=by_character,
        )
    for name, columns in (
        ("domain", ["domain", "standing"]),
        ("standing", ["standing", "updated_at", "request_id", "account_id"]),
        ("newest", ["updated_at", "request_id", "account_id"]),
        ("left", ["left", "ask_after", "request_id", "account_id"]),
        ("run", ["run_id", "map_index"]),
        ("noted", ["standing", "noted_at", "request_id", "account_id"]),
        ("delivered", ["delivered_on", "delivered_first", "domain", "stored"]),
    ):
        op.create_index(f"likepion_submission_{name}", "likepion_submission", [*columns, "manager_id"])
    op.create_table(
        "likepion_history",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        _manager(primary_key=False),
        _text("request_id", 64, None),
        _text("account_id", 64, None),
        _text("domain", 255, None),
        _text("standing", 16, None),
        _text("state", 32, None),
        _text("message"),
        _text("run_id", 250),
        sa.Column("age_s", sa.Integer, nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_index("likepion_history_account", "likepion_history", ["account_id", "request_id", "manager_id"])
    columns = ["standing", "at", "domain", "age_s", "manager_id"]
    op.create_index("likepion_history_standing", "likepion_history", columns)
    for statement in _KEEP_HISTORY[op.get_bind().dialect.name]:
        op.execute(statement)
    op.create_table(
        "likepion_claim",
        sa.Column("account_id", sa.String(64), primary_key=True),
        _manager(),
        _text("request_id", 64, None),
        _text("scope", 512),
        _text("holder", 64),
        _text("insert_id", 64),
        sa.Column("expires_at", _TIME, nullable=False),
        _text("boot_id", 64),
        sa.Column("boot_expires_s", sa.Float, nullable=False, server_default="0"),
    )
    op.create_index("likepion_claim_scope", "likepion_claim", ["scope", "manager_id"])
    op.create_table(
        "likepion_link",
        sa.Column("id", _NUMBER, primary_key=True, autoincrement=True),
        _manager(primary_key=False),
        _text("request_id", 64, None),
        _text("account_id", 64, None),
        _text("url_sha256", 64, None),
        _text("url", default=None),
        _text("episode", 64, None),
        _text("state", 16, None),
        _text("send_id", 64),
        _number("sends"),
        sa.Column("sent_at", _TIME),
        sa.Column("presumed", sa.Boolean, nullable=False, server_default=sa.false()),
        _text("evidence"),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.UniqueConstraint("account_id", "request_id", "url_sha256", "manager_id", name="likepion_link_once"),
    )
    op.create_index("likepion_link_state", "likepion_link", ["state", "sent_at", "manager_id"])
    op.create_table(
        "likepion_failure",
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("account_id", sa.String(64), primary_key=True),
        _manager(),
        _text("note", default=None),
        _text("state", 16, None),
        _text("send_id", 64),
        sa.Column("sent_at", _TIME),
    )
    op.create_table(
        "likepion_setting",
        sa.Column("name", sa.String(64), primary_key=True),
        _manager(),
        _text("value", default=None),
    )
    op.create_table(
        "likepion_site_turn",
        sa.Column("site", sa.String(512), primary_key=True),
        sa.Column("manager", sa.SmallInteger, nullable=False),
        _text("account_id", 64, None),
        _text("holder", 64, None),
    )
    op.create_table(
        "likepion_mark",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("journal", sa.String(16), primary_key=True),
        sa.Column("token", sa.String(16), primary_key=True),
    )
    op.create_table(
        "likepion_restore",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("noticed_at", _TIME, nullable=False),
        sa.Column("accepted_at", _TIME),
    )


def downgrade() -> None:
    """Refuse: dropping the journal would forget what was sent.

    :raises NotImplementedError: always.
    """
    raise NotImplementedError("the journal is never dropped: it is what keeps a URL from being sent twice")
