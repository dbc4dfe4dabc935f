"""``python -m tests.faults [examples [answers [kills]]]``: the long campaign, and its figures."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from likepion_provider.manager.protocol import Endpoint
from tests.faults import kills, model, moments, pages, proxy, restarts, storms, workers
from tests.faults.day import Day
from tests.faults.fuzz import fuzz
from tests.faults.restores import RESTORE_REMOVALS, RestoreWalk
from tests.faults.rules import REMOVALS, broken_by
from tests.faults.walk import Walk
from tests.faults.year import Year
from tests.postgres import postgres, server_binaries


def main() -> int:
    """Run every part, or some."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("examples", type=int, nargs="?", default=1000, help="of each model (1,000)")
    parser.add_argument(
        "answers",
        type=int,
        nargs="?",
        default=100_000,
        help="odd ones to each endpoint; a tenth to importers (100,000)",
    )
    parser.add_argument("kills", type=int, nargs="?", default=200, help="in Airflow, and of workers a journal (200)")
    parser.add_argument("--accounts", type=int, default=2000, help="of the simulated year (2,000)")
    parser.add_argument("--weeks", type=int, default=52, help="of the simulated year (52)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of everything that is drawn")
    parser.add_argument("--minutes", type=float, default=120, help="after which no round of kills begins (120)")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts (all)")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    for name in args.only:
        PARTS[name](args)
    return 0


def play_models(args: argparse.Namespace) -> None:
    """Whatever may happen, in any order, on a virtual clock."""
    campaign("steps", model.Faults, model.FIGURES, args.examples, args.seed)
    campaign("moments", moments.Moments, moments.FIGURES, args.examples, args.seed)
    play_walks(args, "walks", Walk)


def play_managers(args: argparse.Namespace) -> None:
    """The steps again, for two managers with equal ids that share a journal."""
    campaign("managers", model.TwoManagers, model.FIGURES, args.examples, args.seed)


def play_walks(args: argparse.Namespace, name: str, walk: type[Walk]) -> None:
    """Long stories of two accounts."""
    moments.FIGURES.clear()
    for number in range(args.seed, args.seed + args.examples):
        try:
            walk(number).play()
        except AssertionError as error:
            raise AssertionError(f"{name} {number}") from error
    tell(name, moments.FIGURES, f"{args.examples} from {args.seed}")


def restore_journals(args: argparse.Namespace) -> None:
    """The journal is put back to backups of any moment, or lost."""
    play_walks(args, "restores", RestoreWalk)


def take_rules_away(args: argparse.Namespace) -> None:
    """Each rule of the claims, and of a restored journal, in turn; the model has to see it."""
    unseen = []
    kinds = [*((each, Walk) for each in REMOVALS), *((each, RestoreWalk) for each in RESTORE_REMOVALS)]
    for removal, walk in kinds:
        seen = broken_by(removal, range(args.seed, args.seed + args.examples), walk)
        print(f"rules     {removal.__name__}: {seen or 'nothing breaks'}", flush=True)
        unseen += [] if seen else [removal.__name__]
    if unseen:
        raise SystemExit(1)


def read_odd_answers(args: argparse.Namespace) -> None:
    """What no manager should answer."""
    for endpoint in Endpoint:
        outcomes = fuzz(endpoint, args.answers, args.seed)
        print(f"{endpoint.value:<9} {args.answers} odd answers, seed {args.seed}: {dict(outcomes)}", flush=True)


def read_odd_pages(args: argparse.Namespace) -> None:
    """What no platform should answer, to each importer."""
    is_unnamed = False
    for name in sorted(pages.platforms()):
        outcomes, unnamed = asyncio.run(pages.campaign(name, args.answers // 10, args.seed))
        tell("pages", outcomes, f"{name}, seed {args.seed}")
        for words in unnamed:
            print(f"pages     {name}: {words}", flush=True)
        is_unnamed = is_unnamed or bool(unnamed)
    if is_unnamed:
        raise SystemExit(1)


def pass_the_proxy(args: argparse.Namespace) -> None:
    """A bad network: a sequence for every five examples."""
    tell("proxy", proxy.campaign(args.examples // 5, args.seed), args.seed)


def brave_storms(_: argparse.Namespace) -> None:
    """429 and 5xx."""
    tell("storms", storms.campaign(), "all")


def kill_workers(args: argparse.Namespace) -> None:
    """Processes without Airflow, on both databases."""
    figures = workers.campaign(workers.sqlite, args.kills, args.seed, until_s=until_s(args))
    tell("workers", figures, args.seed, "SQLite")
    binaries = server_binaries()
    if binaries is None:
        print("workers   PostgreSQL: left out, no server is installed", flush=True)
        return
    with postgres(binaries) as url:
        figures = workers.campaign(workers.on_postgres(url), args.kills, args.seed, until_s=until_s(args))
        tell("workers", figures, args.seed, "PostgreSQL")


def kill_in_airflow(args: argparse.Namespace) -> None:
    """A real Airflow."""
    with tempfile.TemporaryDirectory(prefix="likepion-airflow-") as home:
        figures = kills.campaign(Path(home), args.kills, args.seed, until_s=until_s(args))
        tell("airflow", figures, args.seed, f"{kills.killed(figures)} kills")


def let_a_year_pass(args: argparse.Namespace) -> None:
    """Weeks of accounts, episodes and trouble; prints each quarter."""
    with tempfile.TemporaryDirectory() as folder:
        year = Year(Path(folder), args.accounts, args.seed)
        for number, quarter in enumerate(year.weeks(args.weeks), 1):
            print(
                f"year      quarter {number}: {quarter.deliveries} deliveries, "
                f"{1000 * quarter.cpu_s / quarter.deliveries:.1f} ms of CPU each, "
                f"{quarter.links} links stored, {quarter.journal_bytes / quarter.links:.0f} bytes of journal each",
                flush=True,
            )
        figures = Counter(
            runs=year.runs,
            crashes=year.crashes,
            by_hand=year.by_hand,
            duplicates=len(year.manager.duplicates()),
            lost=year.lost(),
            parked=year.parked(),
            disturbed=year.disturbed(),
        )
        tell("year", figures, args.seed, f"{args.accounts} accounts, {args.weeks} weeks")
        if figures["duplicates"] or figures["lost"] or figures["disturbed"]:
            raise SystemExit(1)


def let_a_day_pass(args: argparse.Namespace) -> None:
    """Every run of a day, and what a person was told of it."""
    with tempfile.TemporaryDirectory() as folder:
        day = Day(Path(folder), accounts=1000, groups=40, ticks=288, seed=args.seed)
        day.play()
        figures = Counter(
            runs=len(day.runs),
            red=sum(run.is_red for run in day.runs),
            cleared=sum(run.is_cleared for run in day.runs),
            links=len(day.manager.rows),
            duplicates=len(day.manager.duplicates()),
            lost=len(day.lost()),
            parked=day.parked(),
            badly_told=len(day.told),
        )
    tell("day", figures, args.seed, "1,000 accounts in 40 groups")
    for words in day.told[:20]:
        print(f"day       {words}", flush=True)
    if figures["duplicates"] or figures["lost"] or figures["parked"] or day.told:
        raise SystemExit(1)


def restart_in_airflow(args: argparse.Namespace) -> None:
    """Each part of a real Airflow, in the middle of runs that a person clears."""
    with tempfile.TemporaryDirectory(prefix="likepion-airflow-") as home:
        tell("restarts", restarts.campaign(Path(home), args.seed), args.seed)


def until_s(args: argparse.Namespace) -> float:
    """Until when rounds begin, on the monotonic clock."""
    return float(time.monotonic() + args.minutes * 60)


PARTS = {
    "answers": read_odd_answers,
    "pages": read_odd_pages,
    "storms": brave_storms,
    "proxy": pass_the_proxy,
    "workers": kill_workers,
    "airflow": kill_in_airflow,
    "models": play_models,
    "managers": play_managers,
    "restores": restore_journals,
    "rules": take_rules_away,
    "year": let_a_year_pass,
    "day": let_a_day_pass,
    "restarts": restart_in_airflow,
}


def tell(name: str, figures: Counter[str], *words: object) -> None:
    """Print what a part did."""
    told = ", ".join(f"{number} {what}" for what, number in sorted(figures.items()))
    print(f"{name:<9} {'; '.join(map(str, words))}: {told}", flush=True)


def campaign(
    name: str, machine: type[RuleBasedStateMachine], figures: Counter[str], examples: int, number: int
) -> None:
    """Play one model, and print what it did, whether it held or not."""
    began_s = time.monotonic()
    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(machine), settings=chosen)
    finally:
        told = ", ".join(f"{number} {what}" for what, number in figures.items())
        print(f"{name:<9} seed {number}: {told}, {time.monotonic() - began_s:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
