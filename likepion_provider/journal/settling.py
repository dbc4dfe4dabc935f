"""How a link whose outcome is unknown, or final, may be sent once more: by proof, by inference, or by a person's word.

The manager hands out only accounts without a row for their post (inferred). Two things follow, both at least a claim's
length after the insert: an account that is handed out again has nothing stored, so its links may be sent; an account
that a pull of everything does not have was served, so its links are taken for stored. Where neither applies, a person
decides.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, or_, select, update

from likepion_provider.errors import BadRequest
from likepion_provider.journal import failures
from likepion_provider.journal.claims import claimed
from likepion_provider.journal.database import Database
from likepion_provider.journal.keys import (
    among,
    each_named,
    in_parts,
    key_columns,
    named,
    of_key,
    read_keys,
    read_rows,
    row_columns,
)
from likepion_provider.journal.links import LINK, Link, park, unsettled
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import link, submission
from likepion_provider.journal.settings import get, put
from likepion_provider.journal.tally import state_within_key, tally
from likepion_provider.journal.unfinished import Left, due, put_off
from likepion_provider.manager.protocol import CLAIM_TTL_S, MAX_PULL
from likepion_provider.models import ImportState, LinkState, PostAccount

#: The setting that says how unknown outcomes are settled.
SETTLE_UNKNOWN = "settle_unknown"
BY_REAPPEARANCE, BY_HAND = "reappearance", "manual"


class Settling:
    """Settles links that may not be sent again blindly."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mode(self) -> str:
        """How unknown outcomes are settled: :data:`BY_REAPPEARANCE` or :data:`BY_HAND`."""
        with self._database.reading() as connection:
            return get(connection, SETTLE_UNKNOWN) or BY_REAPPEARANCE

    def set_mode(self, mode: str) -> None:
        """Choose how unknown outcomes are settled.

        :raises BadRequest: ``mode`` is neither :data:`BY_REAPPEARANCE` nor :data:`BY_HAND`.
        """
        if mode not in (BY_REAPPEARANCE, BY_HAND):
            raise BadRequest(f"{SETTLE_UNKNOWN} is {BY_REAPPEARANCE} or {BY_HAND}, not {mode!r}")
        with self._database.writing() as connection:
            put(connection, SETTLE_UNKNOWN, mode)

    # --- by the pull of a run ---

    def park_stale(self, at: datetime) -> int:
        """Park what was left between request and answer in accounts that nobody takes over any more.

        :param at: aware; an insert that began a claim's length before that has no attempt left that could end it.
        :return: how many links.
        """
        stale = and_(of_manager(link), link.c.state == LinkState.SENDING, link.c.sent_at <= _over_since(at))
        with self._database.writing() as connection:
            return park(connection, read_keys(connection, select(*_KEY).where(stale).distinct()), stale, at)

    def reappeared(self, pulled: Collection[PostAccount], pulled_at: datetime) -> tuple[int, set[PostAccount]]:
        """Draw the conclusion from accounts that the manager handed out: they have no row for their post (inferred).

        Links, and reports of failure, that were sent at least a claim's length ago are not there, so they may be sent.
        Should an account come back although the manager had *confirmed* its links, the inference is wrong: settling
        by reappearance is switched off for good, and nothing is concluded. A link that was confirmed after the pull
        was sent proves nothing: the pull's reader may have slept while another run delivered.

        :param pulled_at: aware; the clock before the pull was sent.
        :return: how many links may be sent again, and the accounts that proved the inference wrong.
        """
        with self._database.writing() as connection:
            sent = _sent(connection, pulled, _state.in_((LinkState.SENDING, LinkState.UNKNOWN, LinkState.STORED)))
            confirmed = {key: [row.updated_at for row in rows if row.is_confirmed] for key, rows in sent.items()}
            proof = {key for key, times in confirmed.items() if times and min(times) < pulled_at}
            if proof:
                put(connection, SETTLE_UNKNOWN, BY_HAND)
            if get(connection, SETTLE_UNKNOWN) == BY_HAND:
                return 0, proof
            _trust(connection, pulled)
            over = _over_since(pulled_at)
            silent = [row for key, rows in sent.items() if not confirmed[key] for row in rows]
            absent = [row.id for row in silent if row.is_over(over) and row.url]
            evidence = f"handed out again at {_shown(pulled_at)}: was not stored"
            for part in in_parts(absent):
                # Nothing is there, so the next insert counts as the account's first: see presumable().
                again = _filed(LinkState.PREPARED, evidence, pulled_at)
                connection.execute(update(link).where(of_manager(link), link.c.id.in_(part)).values(sends=0, **again))
            tally(connection, sent, pulled_at)
            failures.send_again(connection, pulled, over)
            return len(absent), proof

    def presumable(self, pulled: Collection[PostAccount], pulled_at: datetime) -> list[PostAccount]:
        """Accounts whose unknown links an *exhaustive* pull speaks for by not having them.

        Only where that insert was the account's first for the post, it is at least a claim's length ago, and neither a
        claim of ours nor a report of failure can be why the account was not handed out. The caller still has to see
        that the post is active. Where more is to be sent, a person has to say: an inference lets nobody claim the
        account, and no pull brings it back.

        Those whose turn it is come first; what the pull does not speak for waits for another.
        """
        with self._database.writing() as connection:
            if get(connection, SETTLE_UNKNOWN) == BY_HAND:
                return []
            asked = due(connection, Left.OUTCOME, MAX_PULL, pulled_at)
            absent = set(asked).difference(pulled)
            absent -= _has_more_to_come(connection, absent)
            sent = _sent(connection, absent, link.c.sends > 0)
            busy = claimed(connection, {key.account_id for key in absent}, pulled_at)
            silent = {
                key
                for key in absent
                if key.account_id not in busy and _is_one_first_insert(sent[key], _over_since(pulled_at))
            }
            put_off(connection, set(asked) - silent, pulled_at + timedelta(seconds=CLAIM_TTL_S))
        return sorted(silent)

    def presume(self, key: PostAccount, at: datetime) -> None:
        """Take an account's unknown links for stored: see :meth:`presumable`."""
        evidence = f"not handed out any more at {_shown(at)}: taken for stored"
        stored = _filed(LinkState.STORED, evidence, at, presumed=True)
        with self._database.writing() as connection:
            connection.execute(update(link).where(_OF_KEY, unsettled()).values(stored), named(key))
            tally(connection, [key], at)

    # --- by a person ---

    def settle(self, link_id: int, *, is_there: bool, who: str, note: str, at: datetime) -> Link:
        """Take a person's word on one unknown link.

        :param is_there: True files it as stored, False sends it again with the next run.
        :raises BadRequest: there is no such link, or its outcome is not unknown.
        """
        with self._database.writing() as connection:
            changed = self.settle_all([link_id], is_there=is_there, who=who, note=note, at=at)
            is_it = and_(of_manager(link), link.c.id == link_id)
            found = read_rows(connection, select(*LINK).where(is_it), Link)
        if not found:
            raise BadRequest(f"the journal has no link {link_id}")
        if not changed:
            message = f"link {link_id} is {found[0].state.value}, not unknown"
            raise BadRequest(message, remedy="Only unknown outcomes are settled.")
        return found[0]

    def settle_all(self, link_ids: Iterable[int], *, is_there: bool, who: str, note: str, at: datetime) -> int:
        """As :meth:`settle`, many links in one transaction.

        :return: how many; those whose outcome is not unknown stay as they are.
        """
        verdict = "is there" if is_there else "send again"
        evidence = f"{who} at {_shown(at)}: {verdict}" + (f" ({note})" if note else "")
        settled = _filed(LinkState.STORED if is_there else LinkState.PREPARED, evidence, at)
        number = 0
        with self._database.writing() as connection:
            for part in in_parts(sorted(link_ids)):
                are_they = and_(of_manager(link), link.c.id.in_(part), link.c.state == LinkState.UNKNOWN)
                keys = read_keys(connection, select(*_KEY).where(are_they).distinct())
                number += connection.execute(update(link).where(are_they).values(settled)).rowcount
                tally(connection, keys, at)
        return number

    def resend(self, keys: Collection[PostAccount], sent_before: datetime, who: str, at: datetime) -> int:
        """Take a person's word that the manager has lost what it had confirmed: send those links again.

        Pruned links cannot be; they, and a report of failure, count as confirmed no longer.

        :param sent_before: what went out since then stays; so saying it again for the same run sends nothing more.
        :return: how many links.
        """
        if not keys:
            return 0
        evidence = f"{who} at {_shown(at)}: send again although it was stored"
        # Without a time of sending, a person has said that it is stored, after the journal was restored.
        went_out = or_(link.c.sent_at.is_(None), link.c.sent_at < sent_before)
        lost = and_(_state == LinkState.STORED, went_out)
        again = update(link).where(_OF_KEY, lost, link.c.url != "").values(_filed(LinkState.PREPARED, evidence, at))
        with self._database.writing() as connection:
            changed = connection.execute(again, each_named(keys)).rowcount
            connection.execute(update(link).where(_OF_KEY, lost).values(presumed=True), each_named(keys))
            failures.doubt(connection, keys)
            tally(connection, keys, at)
        return changed

    def forgive(self, keys: Collection[PostAccount], at: datetime) -> None:
        """Count accounts' failures from zero, and let what was refused be sent once more, however often that was.

        A person has changed something and wants another try. Only the posts that are named are touched: an earlier
        post of the account runs no more.

        :param at: aware.
        """
        if not keys:
            return
        with self._database.writing() as connection:
            connection.execute(_FORGIVE, each_named(keys))
            failures.withdraw(connection, keys)
            query = select(*key_columns(submission)).where(submission.c.refused > 0)
            refused = [key for part in among(submission, keys) for key in read_keys(connection, query.where(part))]
            if refused:
                connection.execute(_OFFER_AGAIN, each_named(refused, {"at": at}))
                tally(connection, refused, at)


@dataclasses.dataclass(frozen=True)
class _Sent:
    """A link that was in an insert, as far as settling needs it."""

    key: PostAccount
    id: int
    state: LinkState
    send_id: str
    sends: int
    #: None where it may have been sent by what a restored journal has forgotten.
    sent_at: datetime | None
    presumed: bool
    updated_at: datetime
    #: Empty where it was pruned.
    url: str

    @property
    def is_confirmed(self) -> bool:
        """Whether the manager, or a person, said that it is stored."""
        return self.state is LinkState.STORED and not self.presumed

    def is_over(self, over: datetime) -> bool:
        """Whether its last insert has ended, whatever became of it.

        :param over: an insert that began until then has.
        """
        return self.sent_at is None or self.sent_at <= over


_KEY = key_columns(link)
_OF_KEY = of_key(link)
_SENT = select(*row_columns(link, _Sent))
_state = state_within_key(link)
_FORGIVE = update(submission).where(of_key(submission)).values(failures=0, setbacks=0, not_before=None, set_aside="")
_OFFER_AGAIN = (
    update(link)
    .where(_OF_KEY, _state == LinkState.REFUSED)
    .values(state=LinkState.PREPARED, updated_at=bindparam("at"))
)


def _sent(
    connection: Connection, keys: Collection[PostAccount], which: ColumnElement[bool]
) -> defaultdict[PostAccount, list[_Sent]]:
    found: defaultdict[PostAccount, list[_Sent]] = defaultdict(list)
    for part in among(link, keys):
        for row in read_rows(connection, _SENT.where(part, which), _Sent):
            found[row.key].append(row)
    return found


def _trust(connection: Connection, keys: Collection[PostAccount]) -> None:
    """Doubt accounts no longer: the manager has no row of them, so the journal knows all that there is."""
    for part in among(submission, keys):
        connection.execute(update(submission).where(part, submission.c.doubted > 0).values(doubted=0))


def _has_more_to_come(connection: Connection, keys: Collection[PostAccount]) -> set[PostAccount]:
    """The accounts with links that are still to be sent, or of which more episodes may be listed."""
    under_way = submission.c.state.in_([state for state in ImportState if state.is_under_way])
    found: set[PostAccount] = set()
    for table, condition in ((link, _state == LinkState.PREPARED), (submission, under_way)):
        for part in among(table, keys):
            found.update(read_keys(connection, select(*key_columns(table)).where(part, condition).distinct()))
    return found


def _is_one_first_insert(rows: Sequence[_Sent], over: datetime) -> bool:
    """Whether all of an account's sent links were in one insert and in none before it, which is over by now."""
    return len({row.send_id for row in rows}) == 1 and all(
        row.sends == 1
        and row.state in (LinkState.SENDING, LinkState.UNKNOWN)
        and row.sent_at is not None
        and row.is_over(over)
        for row in rows
    )


def _filed(state: LinkState, evidence: str, at: datetime, *, presumed: bool = False) -> dict[str, Any]:
    return {"state": state, "presumed": presumed, "evidence": evidence, "updated_at": at}


def _over_since(at: datetime) -> datetime:
    """An insert that began until then has ended, whatever became of it: no claim lasts longer."""
    return at - timedelta(seconds=CLAIM_TTL_S)


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
