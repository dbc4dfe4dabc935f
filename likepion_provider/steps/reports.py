"""How an account came out of a step, for the report of a run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from likepion_provider.errors import LikepionError
from likepion_provider.masking import clean
from likepion_provider.models import Outcome, SecondaryTask


@dataclasses.dataclass(frozen=True)
class AccountReport:
    """How one account came out of a step; public.

    :param found: episodes of the feed that the platform lists, but for those that another post has.
    :param new: those of them that the journal did not have.
    """

    task: SecondaryTask
    outcome: Outcome
    found: int = 0
    new: int = 0
    message: str = ""
    remedy: str = ""
    #: The import's time, on the boot clock; for metrics, not stored.
    took_s: float = 0.0
    #: A renewed cookie; in memory only, the operator seals it.
    cookie: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        # A platform's own words are in them where no error was.
        object.__setattr__(self, "message", clean(self.message))
        object.__setattr__(self, "remedy", clean(self.remedy))

    def to_public(self) -> dict[str, Any]:
        """A JSON-ready copy for XCom: the account by its id, since the run's batches have the rest, and no cookie."""
        return {
            "account_id": self.task.account_id,
            "outcome": self.outcome.value,
            "found": self.found,
            "new": self.new,
            "message": self.message,
            "remedy": self.remedy,
        }

    @classmethod
    def from_public(cls, fields: Mapping[str, Any], task: SecondaryTask) -> AccountReport:
        """Undo :meth:`to_public`.

        :param task: of the account that the fields name.
        """
        return cls(
            task=task,
            outcome=Outcome(fields["outcome"]),
            found=fields["found"],
            new=fields["new"],
            message=fields["message"],
            remedy=fields["remedy"],
        )


def conf_for(account_ids: Iterable[str]) -> str:
    """The conf of a run for some accounts, ready to paste."""
    return json.dumps({"account_ids": [*account_ids]}, ensure_ascii=False)


def failed(task: SecondaryTask, error: LikepionError) -> AccountReport:
    """The report of an account that an error ended."""
    return AccountReport(task, error.outcome, message=error.message, remedy=error.remedy)
