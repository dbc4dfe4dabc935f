"""A random walk through the world of ``moments.py``: two accounts and long stories, quick enough to try many.

What a walk does follows from its number alone.
"""

from __future__ import annotations

import random

from likepion_provider.manager.protocol import Endpoint
from likepion_provider.steps.intake import Choice
from tests.fakes import Fault
from tests.faults.moments import Model, Run
from tests.faults.settled import ODD_INSERTS

STEPS = 30
#: What may happen next, and how often.
NEXT = {
    "run_begins": 3,
    "choice": 3,
    "bring_in": 5,
    "deliver": 6,
    "renewal": 2,
    "whole_run": 2,
    "time": 4,
    "stranger": 6,
    "stranger_at_once": 2,
    "request": 3,
    "refusal": 2,
    "odd_answer": 1,
    "cut": 2,
    "pending": 1,
    "refused_then_taken": 1,
    "lost_then_taken": 1,
}


class Walk:
    """One story.

    :param number: draws everything.
    """

    next = NEXT

    def __init__(self, number: int, model: type[Model] = Model) -> None:
        self.rng = random.Random(number)
        self.model = model(accounts=2, posts=1)
        self.model.rng, self.model.restless = self.rng, self.rng.choice((0.0, 0.05, 0.2))
        self.model.urls_a_part = self.rng.choice((1, 2, 200))
        self.runs: list[Run] = []

    def play(self) -> None:
        """Every step, then rest.

        :raises AssertionError: a promise was broken.
        """
        state = random.getstate()
        # What the code itself draws, such as when it renews.
        random.seed(self.rng.random())
        try:
            for step in self.rng.choices(list(self.next), list(self.next.values()), k=STEPS):
                getattr(self, f"_{step}")()
                self.model.check()
            self.model.rest()
            assert not self.model.lost(), self.model.known()
        finally:
            random.setstate(state)
            self.model.close()

    def _run_begins(self) -> None:
        self.model.play(self.model.pull(self._new_run(), self.rng.choice((1, 1000))))

    def _choice(self) -> None:
        self.model.play(self.model.choose(self._new_run(), self._any_choice(), self.rng.choice((1, 1000))))

    def _bring_in(self) -> None:
        if self.runs:
            self.model.play(self.model.bring_in(self._any_run()))

    def _deliver(self) -> None:
        if self.runs:
            self.model.play(self.model.deliver(self._any_run()))

    def _renewal(self) -> None:
        if self.runs:
            self.model.play(self.model.renew(self._any_run()))

    def _whole_run(self) -> None:
        if self.rng.random() < 0.5:
            self.model.play_whole(self._new_run())
        else:
            self.model.play_by_hand(self._new_run(), self._any_choice())

    def _time(self) -> None:
        self.model.clock.advance(self.rng.choice((1, 61, 310, 600, 830, 901)))

    def _stranger(self) -> None:
        for _ in range(3):
            self.model.stranger.step(self.rng)

    def _stranger_at_once(self) -> None:
        if held := self.model.stranger.held():
            self.model.they_go_on(held[0], inserts=self.rng.random() < 0.7)
        else:
            self.model.they_pull()

    def _request(self) -> None:
        endpoint = self.rng.choice((Endpoint.INSERT, Endpoint.INSERT, Endpoint.CLAIM, Endpoint.PULL))
        kind = self.rng.choice(("lose_request", "lose_answer", "not_sent", "429", "500", "400", "late", "crash_after"))
        self.model.faults.append(Fault(endpoint, kind))

    def _refusal(self) -> None:
        self.model.manager.refuse_records(self.rng.choice((1, 3, 3, 6)))
        self.model.refused = True

    def _odd_answer(self) -> None:
        self.model.manager.answer("insert", **self.rng.choice(ODD_INSERTS))
        self.model.refused = True

    def _cut(self) -> None:
        how = self.rng.choice((self.model.crash, self.model.suspend, self.model.be_overtaken))
        self.model.fuse.set(self.rng.randint(1, 25), how)

    def _pending(self) -> None:
        if self.rng.random() < 0.5:
            self.model.next_post_is_planned(0)
        else:
            self.model.next_posts_are_cancelled()

    def _refused_then_taken(self) -> None:
        """An insert stores nothing, its task dies, the stranger takes the accounts, and the wait still renews."""
        self._whole_run_that_fails("crash_after")
        self.model.they_pull()
        self._renewal()

    def _lost_then_taken(self) -> None:
        """An insert never arrives, the stranger takes its account, and our next runs do not see it any more."""
        self._whole_run_that_fails("lose_request")
        self.model.clock.advance(901)
        self.model.they_pull()
        self.model.play_whole(self._new_run())

    def _whole_run_that_fails(self, kind: str) -> None:
        self.model.manager.refuse_records(6)
        self.model.refused = True
        self.model.faults[:] = [Fault(Endpoint.INSERT, kind)]
        self.model.play_whole(self._new_run())
        self.model.manager.refuse_records(0)

    def _new_run(self) -> Run:
        self.runs.append(Run(f"run-{len(self.runs)}"))
        return self.runs[-1]

    def _any_run(self) -> Run:
        return self.rng.choice(self.runs[-2:])

    def _any_choice(self) -> Choice:
        accounts = (f"account-{self.rng.randrange(2)}",)
        return self.rng.choice((Choice(account_ids=accounts), Choice(group_id="group-0")))
