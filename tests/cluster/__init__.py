"""The processes of a deployment on many machines, natively on one: ``make cluster``."""

from __future__ import annotations

import os


def member_name() -> str:
    """What a member of the cluster calls its machine, so that each task tells which worker ran it."""
    return os.environ["LIKEPION_MEMBER"]
