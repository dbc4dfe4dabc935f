"""The trigger behind :class:`~likepion_provider.sensors.likepion.LinkRssSensor`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.errors import LikepionError
from likepion_provider.hooks.connections import ERROR, JOURNAL_CONN_ID, afind, amanager_address, journal_of
from likepion_provider.steps.batches import Batch
from likepion_provider.steps.waiting import shared_waits


class LinkRssTrigger(BaseTrigger):
    """Ends its task by itself: success once a ``link_rss`` is set, skipped where none is in time.

    It only polls and renews claims, so it may run in two triggerers at once. All triggers of a triggerer share one
    client, one poll per post and the renewals.

    :param likepion_conn_id: a connection of type ``likepion``.
    :param batch: a waiting :class:`~likepion_provider.steps.batches.Batch` in its public form.
    :param scope: the run that holds the claims.
    :param poke_interval_s: seconds between polls of a post.
    :param ends_at: until when it waits, aware, in ISO 8601; a trigger that is started again waits no longer.
    """

    def __init__(
        self, likepion_conn_id: str, batch: dict[str, Any], scope: str, poke_interval_s: float, ends_at: str
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.likepion_conn_id = likepion_conn_id
        self.batch = batch
        self.scope = scope
        self.poke_interval_s = poke_interval_s
        self.ends_at = ends_at

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments; nothing secret."""
        arguments = ("likepion_conn_id", "batch", "scope", "poke_interval_s", "ends_at")
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: getattr(self, name) for name in arguments}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and end the task."""
        try:
            address = await amanager_address(self.likepion_conn_id)
            connection = await afind(JOURNAL_CONN_ID)
            journal = await asyncio.to_thread(journal_of, connection, address.site)
            async with shared_waits(address, journal) as waits:
                is_set = await waits.any_feed_set(
                    scope=self.scope,
                    tasks=Batch.from_public(self.batch).tasks,
                    poke_interval_s=self.poke_interval_s,
                    timeout_s=(datetime.fromisoformat(self.ends_at) - SYSTEM_CLOCK.now()).total_seconds(),
                )
        except LikepionError as error:
            self.log.error("%s", error.advice)  # noqa: TRY400 - the message is the instruction
            yield TaskFailedEvent(xcoms={ERROR: error.advice})
        else:
            yield TaskSuccessEvent() if is_set else TaskSkippedEvent()
