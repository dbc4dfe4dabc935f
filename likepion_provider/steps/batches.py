"""The pieces into which a run's accounts are cut, one per mapped task instance."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from likepion_provider.models import SecondaryTask

#: Of either kind, ready or waiting. A batch costs Airflow two task instances, each some 0.4 s of CPU whatever it does,
#: and its scheduler three questions to the database for each that has not begun, twice a second: as few as fill the
#: usual slots; and accounts that are worth a batch of their own.
MAX_BATCHES = 8
MIN_BATCH = 25
#: What Airflow maps at most: its default of ``[core] max_map_length``.
MOST_BATCHES = 1024


@dataclasses.dataclass(frozen=True)
class Batch:
    """Accounts that one mapped task instance works.

    :param waits: whether their posts' feeds were not set yet.
    :param feeds: the ``link_rss`` of its posts as the pull told them, sealed, by post.
    """

    name: str
    waits: bool
    tasks: tuple[SecondaryTask, ...]
    feeds: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_public(self) -> dict[str, Any]:
        """A JSON-ready copy for XCom."""
        tasks = [task.to_public() for task in self.tasks]
        return {"name": self.name, "waits": self.waits, "tasks": tasks, "feeds": dict(self.feeds)}

    @classmethod
    def from_public(cls, fields: dict[str, Any]) -> Batch:
        """Undo :meth:`to_public`."""
        tasks = tuple(SecondaryTask.from_public(each) for each in fields["tasks"])
        return cls(fields["name"], fields["waits"], tasks, fields.get("feeds") or {})


def batches(
    tasks: Sequence[SecondaryTask],
    batch_size: int | None = None,
    feeds: Mapping[str, str] | None = None,
    *,
    most: int = MOST_BATCHES,
) -> list[Batch]:
    """Cut a run's accounts into what its mapped tasks work.

    Posts that still wait for their feed have batches of their own, so that they hold nobody else up. Of either kind,
    posts keep to themselves while that makes few enough batches, and share them otherwise.

    :param batch_size: accounts per batch; by default as many as keep ready posts to about 8 batches.
    :param feeds: the sealed ``link_rss`` of posts, by post.
    :param most: batches in all, at least 2; larger ones are made where there would be more.
    """
    size = batch_size or max(MIN_BATCH, math.ceil(len(tasks) / MAX_BATCHES))
    by_post: dict[tuple[bool, str], list[SecondaryTask]] = {}
    for task in tasks:
        by_post.setdefault((task.feed_ready, task.request_id), []).append(task)
    ready_posts = [each for (ready, _), each in by_post.items() if ready]
    waiting_posts = [each for (ready, _), each in by_post.items() if not ready]
    waiting = _all_pieces(waiting_posts, size)
    room = max(1, most - bool(ready_posts))
    if len(waiting) > (may_wait := room if batch_size else min(room, MAX_BATCHES)):
        waiting = _together(waiting_posts, may_wait)
    ready = _all_pieces(ready_posts, size)
    if (len(ready) > MAX_BATCHES and not batch_size) or len(ready) + len(waiting) > most:
        together = [task for each in ready_posts for task in each]
        ready = _pieces(together, max(size, math.ceil(len(together) / max(1, most - len(waiting)))))
    known = feeds or {}
    return [_batch(piece, known, waits=False) for piece in ready] + [
        _batch(piece, known, waits=True) for piece in waiting
    ]


def _all_pieces(posts: Sequence[list[SecondaryTask]], size: int) -> list[list[SecondaryTask]]:
    return [piece for post in posts for piece in _pieces(post, size)]


def _pieces(tasks: list[SecondaryTask], size: int) -> list[list[SecondaryTask]]:
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]


def _together(posts: Sequence[list[SecondaryTask]], most: int) -> list[list[SecondaryTask]]:
    """Posts in at most so many batches, about as many in each; none is cut."""
    each = math.ceil(len(posts) / most)
    return [[*itertools.chain(*posts[start : start + each])] for start in range(0, len(posts), each)]


def _batch(tasks: Sequence[SecondaryTask], feeds: Mapping[str, str], *, waits: bool) -> Batch:
    groups = list(dict.fromkeys(task.group_id for task in tasks))
    where = f"group {groups[0][:8]}" if len(groups) == 1 else f"{len(groups)} groups"
    count = f"{len(tasks)} account{'s' if len(tasks) > 1 else ''}"
    posts = {task.request_id: feeds[task.request_id] for task in tasks if task.request_id in feeds}
    return Batch(f"{where}, {count}{', waits for feed' if waits else ''}", waits, tuple(tasks), posts)
