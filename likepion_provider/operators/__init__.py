"""Airflow operators: the steps of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from likepion_provider._lazy import lazily

if TYPE_CHECKING:
    from likepion_provider.operators.assist import AskPersonOperator
    from likepion_provider.operators.likepion import (
        ClaimAccountsOperator,
        ImportRssOperator,
        InsertLinksOperator,
        PullSecondaryTasksOperator,
    )
    from likepion_provider.operators.report import LikepionReportOperator

__all__ = [
    "AskPersonOperator",
    "ClaimAccountsOperator",
    "ImportRssOperator",
    "InsertLinksOperator",
    "LikepionReportOperator",
    "PullSecondaryTasksOperator",
]

__getattr__ = lazily(
    __name__,
    {
        "AskPersonOperator": "assist",
        "ClaimAccountsOperator": "likepion",
        "ImportRssOperator": "likepion",
        "InsertLinksOperator": "likepion",
        "LikepionReportOperator": "report",
        "PullSecondaryTasksOperator": "likepion",
    },
)
