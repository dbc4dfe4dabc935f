"""``likepion demo``: the sandbox, a real Airflow and the DAG, in one folder that is removed again."""

from __future__ import annotations

import argparse
import contextlib
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from likepion_provider import DAG_ID
from likepion_provider.cli.arguments import number
from likepion_provider.cli.local import (
    STOP_TIMEOUT_S,
    AirflowApi,
    airflow_environment,
    free_port,
    sandbox_connections,
    sandbox_process,
    standalone,
)
from likepion_provider.errors import BadRequest, Transient
from likepion_provider.plurals import counted
from likepion_provider.words import t

RUN_TIMEOUT_S = 600.0
#: A schedule, which backfills need too; its first run begins as soon as the DAG is switched on, and no other while
#: somebody looks.
A_DAY_MIN = "1440"
#: How the accounts that were made for trouble must end.
TROUBLES = ["failed", "needs_person", "unknown"]
LINE = "{:<10}{:<26}{:<15}{}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument(
        "--once", action="store_true", help=t("end by itself; status 0 only if all came out as it must")
    )
    parser.add_argument("--dags", type=Path, default=Path("dags"), help=t("the folder with the DAG (dags)"))
    parser.add_argument("--port", type=number(0, 65535), default=0, help=t("of Airflow's UI (any free one)"))
    parser.add_argument(
        "--latency-s", type=number(0, kind=float), default=0.2, help=t("the site's answers come this late (0.2)")
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    :return: 0 if every account was delivered but those that were made for trouble, these ended as they must, and no
        URL was stored twice; else 1.
    :raises BadRequest: the DAG's folder is not there.
    :raises Transient: Airflow or the run did not come up in time, or a server did not answer.
    """
    dags = args.dags.resolve()
    if not (dags / f"{DAG_ID}.py").exists():
        raise BadRequest(f"{dags} has no {DAG_ID}.py", remedy="Run it in a checkout, or name the folder with --dags.")
    for signal_number in _ENDING:
        signal.signal(signal_number, _interrupt)
    try:
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-", dir=_scratch())))
            return _show(stack, home, dags, args)
    except httpx.HTTPError as error:
        words = f"{type(error).__name__}: {error}".rstrip(": ")
        raise Transient(f"a server of the demo did not answer ({words})", remedy="Run it again.") from None
    except KeyboardInterrupt:
        print(t("Stopped; nothing is left behind."))
        return 130 if args.once else 0


def _show(stack: contextlib.ExitStack, home: Path, dags: Path, args: argparse.Namespace) -> int:
    port = args.port or free_port()
    print("Starting a sandbox and an Airflow: about a minute, and on a busy machine several.", flush=True)
    arguments = ("--world", "walkthrough", "--latency-s", str(args.latency_s))
    sandbox = stack.enter_context(sandbox_process(home, *arguments))
    print(f"Sandbox   manager {sandbox['manager_url']}  site {sandbox['site_url']}", flush=True)
    print(f"Airflow   starting, log in {home}/airflow.log", flush=True)
    environment = airflow_environment(home, dags, port) | sandbox_connections(sandbox)
    environment["AIRFLOW__LIKEPION__SCHEDULE_MINUTES"] = A_DAY_MIN
    stack.enter_context(standalone(home, environment))
    airflow = AirflowApi(f"http://127.0.0.1:{port}", home)
    airflow.wait_until_ready()
    airflow.add_connections(sandbox_connections(sandbox))
    print(f"Airflow   {airflow.url}  user admin  password {airflow.password}", flush=True)
    manager = stack.enter_context(httpx.Client(base_url=sandbox["manager_url"], timeout=30, trust_env=False))
    is_good = _run_twice(airflow, manager)
    if not is_good:
        print(f"\nThe end of {home}/airflow.log:\n{_tail(home / 'airflow.log')}", flush=True)
    if not args.once:
        print("\n" + t("The sandbox and Airflow keep running. Ctrl-C ends them."), flush=True)
        while True:
            time.sleep(3600)
    return 0 if is_good else 1


def _run_twice(airflow: AirflowApi, manager: httpx.Client) -> bool:
    """A run of the accounts that are well, and beside it one of those that were made for trouble.

    :return: whether both came out as they must.
    """
    posts = manager.get("/sandbox/state").json()["posts"]
    (rough,) = (post for post in posts if post["status"] == "pending")
    began_s = time.monotonic()
    run_id = airflow.switch_on()
    _wait_for_pull(manager)
    lost = {"endpoint": "insert", "kind": "lose_answer", "about": rough["request_id"]}
    manager.post("/sandbox/faults", json=lost).raise_for_status()
    manager.patch(f"/sandbox/posts/{rough['request_id']}", json={"status": "running"}).raise_for_status()
    rough_id = airflow.trigger({})
    state = _follow(airflow, run_id)
    print(f"Run       {run_id}: {state} after {time.monotonic() - began_s:.1f} s", flush=True)
    print("Trouble   the second run has three accounts that somebody is needed for, so it ends red", flush=True)
    rough_state = _follow(airflow, rough_id)
    print(f"Run       {rough_id}: {rough_state} after {time.monotonic() - began_s:.1f} s\n", flush=True)

    accounts = manager.get("/sandbox/state").json()["accounts"]
    rows = manager.get("/sandbox/rows").json()
    delivered = _print_delivered([each for each in accounts if each["group_id"] != rough["group_id"]], rows)
    troubles: Sequence[Mapping[str, str]] = ()
    # A report that failed otherwise than by its word has left none.
    with contextlib.suppress(httpx.HTTPStatusError):
        troubles = airflow.summary(rough_id)["accounts"]
    explained = _print_troubles(troubles, rows["accounts"])
    return state == "success" and delivered and explained


def _wait_for_pull(manager: httpx.Client) -> None:
    """Until the first run has its accounts: what is handed out after that is the second's."""
    deadline_s = time.monotonic() + RUN_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if manager.get("/sandbox/log").json()["events"]:
            return
        time.sleep(0.2)
    raise Transient(f"the run pulled nothing within {RUN_TIMEOUT_S:.0f} s")


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(*_: object) -> None:
    # Another Ctrl-C must not end the clean-up half way.
    for signal_number in _ENDING:
        signal.signal(signal_number, signal.SIG_IGN)
    print(f"\nStopping, which takes up to {2 * STOP_TIMEOUT_S:.0f} s ...", flush=True)
    raise KeyboardInterrupt


def _scratch() -> Path:
    folder = Path(".demo").resolve()
    folder.mkdir(exist_ok=True)
    return folder


def _follow(airflow: AirflowApi, run_id: str) -> str:
    deadline_s = time.monotonic() + RUN_TIMEOUT_S
    seen = ""
    while time.monotonic() < deadline_s:
        # A machine that is busy answers late: the next question is as good.
        with contextlib.suppress(httpx.TransportError):
            state = airflow.state(run_id)
            states = airflow.task_states(run_id)
            counts = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
            if counts != seen:
                print(f"Tasks     {counts}", flush=True)
                seen = counts
            if state in ("success", "failed"):
                return state
        time.sleep(0.5)
    raise Transient(f"the run did not end within {RUN_TIMEOUT_S:.0f} s")


def _tail(log: Path, lines: int = 60) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _print_delivered(accounts: Sequence[Mapping[str, str]], rows: Mapping[str, Any]) -> bool:
    """What the manager has, account by account.

    :return: whether every account has links and no URL is there twice.
    """
    links = [rows["accounts"].get(each["account_id"], 0) for each in accounts]
    print(LINE.format("GROUP", "ACCOUNT", "OUTCOME", "LINKS"))
    for account, count in zip(accounts, links, strict=True):
        outcome = "delivered" if count else "not delivered"
        print(LINE.format(account["group_id"][:8], f"{account['username']}@{account['domain']}", outcome, count))
    delivered, twice = sum(map(bool, links)), len(rows["duplicates"])
    told = f"{delivered} of {counted(len(accounts), 'account')} delivered, {counted(sum(links), 'link')}"
    print(f"\n{told}, {counted(twice, 'URL')} stored twice.")
    return delivered == len(accounts) and not twice


def _print_troubles(accounts: Sequence[Mapping[str, str]], stored: Mapping[str, int]) -> bool:
    """What the report says of the accounts that somebody is needed for.

    :param stored: how many links the manager has, by account.
    :return: whether they are those that were made so.
    """
    print("\nBeside these, accounts that were made for trouble, with what the report says of them:\n")
    for each in accounts:
        links = stored.get(each["account_id"], 0)
        print(LINE.format(each["group_id"][:8], each["label"], each["outcome"].replace("_", " "), links))
        print(f"          {each['message']}. {each['remedy']}", flush=True)
    return sorted(each["outcome"] for each in accounts) == TROUBLES
