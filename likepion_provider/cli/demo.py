"""``likepion demo``: the sandbox, a real Airflow and the DAG, in one folder that is removed again."""

from __future__ import annotations

import argparse
import contextlib
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import httpx

from likepion_provider import DAG_ID
from likepion_provider.cli.local import (
    AirflowApi,
    airflow_environment,
    free_port,
    sandbox_connections,
    sandbox_process,
    standalone,
)
from likepion_provider.errors import BadRequest, Transient
from likepion_provider.plurals import counted

RUN_TIMEOUT_S = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument("--once", action="store_true", help="end after the run; status 0 only if all was delivered")
    parser.add_argument("--dags", type=Path, default=Path("dags"), help="the folder with the DAG (dags)")
    parser.add_argument("--port", type=int, default=0, help="of Airflow's UI (any free one)")
    parser.add_argument("--latency-s", default="0.2", help="the site's answers come this late (0.2)")


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    :return: 0 if every account was delivered and no URL was stored twice, else 1.
    :raises BadRequest: the DAG's folder is not there.
    :raises Transient: Airflow or the run did not come up in time.
    """
    dags = args.dags.resolve()
    if not (dags / f"{DAG_ID}.py").exists():
        raise BadRequest(f"{dags} has no {DAG_ID}.py", remedy="Run it in a checkout, or name the folder with --dags.")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-", dir=_scratch())))
            return _show(stack, home, dags, args)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130 if args.once else 0


def _show(stack: contextlib.ExitStack, home: Path, dags: Path, args: argparse.Namespace) -> int:
    port = args.port or free_port()
    sandbox = stack.enter_context(sandbox_process(home, "--latency-s", args.latency_s))
    print(f"Sandbox   manager {sandbox['manager_url']}  site {sandbox['site_url']}", flush=True)
    print(f"Airflow   starting, log in {home}/airflow.log", flush=True)
    environment = airflow_environment(home, dags, port) | sandbox_connections(sandbox)
    stack.enter_context(standalone(home, environment))
    airflow = AirflowApi(f"http://127.0.0.1:{port}", home)
    airflow.wait_until_ready()
    print(f"Airflow   {airflow.url}  user admin  password {airflow.password}", flush=True)
    began_s = time.monotonic()
    run_id = airflow.trigger({})
    state = _follow(airflow, run_id)
    print(f"Run       {run_id}: {state} after {time.monotonic() - began_s:.1f} s\n", flush=True)
    delivered = _print_table(sandbox)
    if state != "success":
        print(f"\nThe end of {home}/airflow.log:\n{_tail(home / 'airflow.log')}", flush=True)
    if not args.once:
        print("\nThe sandbox and Airflow keep running. Ctrl-C ends them.", flush=True)
        while True:
            time.sleep(3600)
    return 0 if state == "success" and delivered else 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _scratch() -> Path:
    folder = Path(".demo").resolve()
    folder.mkdir(exist_ok=True)
    return folder


def _follow(airflow: AirflowApi, run_id: str) -> str:
    deadline_s = time.monotonic() + RUN_TIMEOUT_S
    seen = ""
    while time.monotonic() < deadline_s:
        state = airflow.state(run_id)
        counts = ", ".join(f"{number} {name}" for name, number in sorted(airflow.task_states(run_id).items()))
        if counts != seen:
            print(f"Tasks     {counts}", flush=True)
            seen = counts
        if state in ("success", "failed"):
            return state
        time.sleep(0.5)
    raise Transient(f"the run did not end within {RUN_TIMEOUT_S:.0f} s")


def _tail(log: Path, lines: int = 60) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _print_table(sandbox: Mapping[str, str]) -> bool:
    """What the manager has, account by account.

    :return: whether every account has links and no URL is there twice.
    """
    with httpx.Client(base_url=sandbox["manager_url"], timeout=30, trust_env=False) as manager:
        accounts = manager.get("/sandbox/state").json()["accounts"]
        answer = manager.get("/sandbox/rows").json()
    stored = Counter(answer["accounts"])
    print(f"{'GROUP':<10}{'ACCOUNT':<26}{'OUTCOME':<14}LINKS")
    for account in accounts:
        links = stored[account["account_id"]]
        outcome = "delivered" if links else "not delivered"
        print(f"{account['group_id'][:8]:<10}{account['username'] + '@' + account['domain']:<26}{outcome:<14}{links}")
    twice = len(answer["duplicates"])
    delivered = f"{len(stored)} of {counted(len(accounts), 'account')} delivered, {counted(stored.total(), 'link')}"
    print(f"\n{delivered}, {counted(twice, 'URL')} stored twice.")
    return len(stored) == len(accounts) and not twice
