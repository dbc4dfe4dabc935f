"""``likepion sandbox``: its arguments and what it does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from likepion_provider.sandbox.server import Sandbox, run_sandbox
from likepion_provider.sandbox.site import SiteSettings
from likepion_provider.sandbox.world import (
    DOMAINS,
    World,
    build_world,
    demo_world,
    troubled_world,
    walkthrough_world,
)

_WORLDS: Mapping[str, Callable[[int], World]] = {
    "demo": demo_world,
    "walkthrough": walkthrough_world,
    "troubled": troubled_world,
}


def _whole(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    if not 0 <= (number := float(text)) < float("inf"):
        raise ValueError
    return number


def _port(text: str) -> int:
    if (number := _whole(text)) > 65535:
        raise ValueError
    return number


_whole.__name__, _seconds.__name__, _port.__name__ = "whole number", "number of seconds", "port"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser.

    :param parser: gets them; :func:`run` takes what it parses.
    """
    parser.description = "Run a manager, a podcast site and feeds on loopback, until Ctrl-C. Nothing is kept."
    parser.add_argument("--world", choices=(*_WORLDS, "built"), default="demo", help="what is in it")
    parser.add_argument("--accounts", type=_whole, default=24, help="--world built: how many accounts (24)")
    parser.add_argument("--posts", type=_whole, default=3, help="--world built: how many posts, one per group (3)")
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), help="--world built: the platforms")
    parser.add_argument("--episodes", type=_whole, default=5, help="--world built: episodes a feed (5)")
    parser.add_argument("--target", type=_whole, default=5, help="--world built: episodes wanted (5)")
    parser.add_argument("--waiting-posts", type=_whole, default=0, help="--world built: posts without a feed yet (0)")
    parser.add_argument("--seed", type=int, default=0, help="of ids, secrets and faults (0)")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (127.0.0.1)")
    parser.add_argument("--manager-port", type=_port, default=0, help="0: any free port, as for the others")
    parser.add_argument("--site-port", type=_port, default=0)
    parser.add_argument("--feeds-port", type=_port, default=0)
    parser.add_argument("--api-key", default="", help="what the manager asks for (a new random one)")
    parser.add_argument("--latency-s", type=_seconds, default=0.0, help="added to each answer of the site (0)")
    parser.add_argument("--listing-delay-s", type=_seconds, default=1.0, help="from import to public episodes (1)")
    parser.add_argument("--json", action="store_true", help="print the addresses as one line of JSON")


def run(args: argparse.Namespace) -> int:
    """Run the sandbox until it is told to end.

    :param args: what :func:`add_arguments` asked for.
    :return: the exit status; 0 after SIGINT or SIGTERM, 1 if a port is taken, 2 if the arguments make no world.
    """
    try:
        world = _world(args)
    except ValueError as error:
        sys.stderr.write(f"likepion sandbox: {error}\n")
        return 2
    sandbox = Sandbox(
        world,
        api_key=args.api_key,
        host=args.host,
        manager_port=args.manager_port,
        site_port=args.site_port,
        feeds_port=args.feeds_port,
        settings=SiteSettings(latency_s=args.latency_s, listing_delay_s=args.listing_delay_s),
        seed=args.seed,
    )
    try:
        run_sandbox(sandbox, as_json=args.json)
    except OSError as error:
        sys.stderr.write(f"likepion sandbox: cannot listen: {error}. Choose another port, or 0 for any free one.\n")
        return 1
    return 0


def _world(args: argparse.Namespace) -> World:
    if args.world == "built":
        return build_world(
            accounts=args.accounts,
            posts=args.posts,
            domains=args.domains,
            episodes=args.episodes,
            target=args.target,
            waiting_posts=args.waiting_posts,
            seed=args.seed,
        )
    return _WORLDS[args.world](args.seed)
