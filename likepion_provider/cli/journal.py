"""``likepion journal``: for the person who settles what the machine may not."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import re
from datetime import datetime, timedelta, timezone

from likepion_provider.cli import journal_care
from likepion_provider.cli.arguments import add_json, number, print_json
from likepion_provider.cli.configured import add_manager, chosen_journal, configured_url, existing, known_groups
from likepion_provider.errors import BadRequest
from likepion_provider.journal import Journal, Link, Managers, Submission, open_managers
from likepion_provider.journal.settling import BY_HAND, BY_REAPPEARANCE
from likepion_provider.masking import clean
from likepion_provider.models import LinkState
from likepion_provider.words import shown, state, t, tn

#: A person may still want to read what was sent lately.
LEAST_PRUNE_DAYS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument(
        "--url", help=t("the journal's SQLAlchemy URL (the connection likepion_journal, else SQLite in AIRFLOW_HOME)")
    )
    add_manager(parser)
    actions = parser.add_subparsers(title="actions", required=True, dest="action", metavar="ACTION")
    listing = actions.add_parser("list", help=t("links, newest first"))
    listing.add_argument("--state", choices=[state.value for state in LinkState], help=t("only these"))
    listing.add_argument("--group", metavar="GROUP", help=t("only this group's: its id, or the id's first characters"))
    listing.add_argument("--account", metavar="ACCOUNT", help=t("only this account's: see 'show'"))
    listing.add_argument("--retired", action="store_true", help=t("only those whose post has not run for two weeks"))
    listing.add_argument("--limit", type=number(1, 100_000), default=50, help=t("at most this many (50)"))
    add_json(listing)
    showing = actions.add_parser("show", help=t("one account: its imports and links"))
    showing.add_argument("account", help=t("its id, the id's first characters, or its name, e.g. user@anchor.fm"))
    settling = actions.add_parser("settle", help=t("say how an insert with an unknown outcome ended"))
    settling.add_argument(
        "link_id", type=number(1, 2**63 - 1), nargs="+", help=t("as 'list --state unknown' shows them")
    )
    verdict = settling.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--is-there", action="store_true", help=t("the manager has the link"))
    verdict.add_argument("--send-again", action="store_true", help=t("it has not: the next run sends it"))
    settling.add_argument("--note", default="", help=t("how you know; kept with the link"))
    pruning = actions.add_parser("prune", help=t("forget the text of links stored long ago; never that they were sent"))
    pruning.add_argument("--older-than", required=True, type=_days, metavar="DAYS", help=t("e.g. 180d; at least 30d"))
    mode = actions.add_parser("settling", help=t("show or choose how unknown outcomes are settled"))
    mode.add_argument("how", nargs="?", choices=(BY_REAPPEARANCE, BY_HAND))
    add_json(
        actions.add_parser(
            "managers", help=t("the managers that the journal has rows of, and the DAGs that work for each")
        )
    )
    renaming = actions.add_parser(
        "rename-manager", help=t("keep a manager's rows when its address changes; pause its DAG")
    )
    renaming.add_argument("old", help=t("the address that 'managers' shows"))
    renaming.add_argument("new", help=t("the address that the connection has now"))
    journal_care.add_actions(actions)


def run(args: argparse.Namespace) -> int:
    """Do what was asked.

    :return: 0; 1 where a check found something.
    :raises BadRequest: there is nothing like what was named.
    """
    if args.action in journal_care.ACTIONS:
        return journal_care.run(args)
    url = existing(args.url or configured_url())
    if of_all := {"managers": _managers, "rename-manager": _rename}.get(args.action):
        of_all(open_managers(url), args)
        return 0
    # A journal that is named by its URL need not be this Airflow's.
    journal = chosen_journal(url, args, by_default=not args.url)
    {"list": _list, "show": _show, "settle": _settle, "settling": _settling, "prune": _prune}[args.action](
        journal, args
    )
    return 0


def _managers(managers: Managers, args: argparse.Namespace) -> None:
    known = managers.listed()
    if args.json:
        counts = {each: managers.counts(each) for each in known}
        print_json(
            dataclasses.asdict(each) | {"accounts": accounts, "links": links}
            for each, (accounts, links) in counts.items()
        )
        return
    for each in known:
        accounts, links = managers.counts(each)
        used = t("last used {at}", at=f"{each.used_at:%F %T}Z") if each.used_at else t("used by no run")
        has = f"{tn('{count} account', '{count} accounts', accounts)}, {_links(links)}"
        print(f"{each.address}  {has}, {used}  {', '.join(each.dag_ids)}".rstrip())
    print(tn("{count} manager", "{count} managers", len(known)))


def _rename(managers: Managers, args: argparse.Namespace) -> None:
    managers.rename(args.old, args.new)
    print(t("What was kept for {old} is kept for {new} now.", old=args.old, new=args.new))


def _list(journal: Journal, args: argparse.Namespace) -> None:
    wanted = LinkState(args.state) if args.state else None
    (group_id,) = known_groups(journal, [args.group]) if args.group else ("",)
    account_id = _account(journal, args.account)[0].key.account_id if args.account else ""
    links = journal.links.listed(
        state=wanted, group_id=group_id, account_id=account_id, limit=args.limit, retired=args.retired
    )
    if args.json:
        print_json(dataclasses.asdict(link) for link in links)
        return
    for link in links:
        print(_line(link))
    print(_links(len(links)))


def _show(journal: Journal, args: argparse.Namespace) -> None:
    for each in _account(journal, args.account):
        print(
            t(
                "{label}  account {account}  post {post}  group {group}",
                label=clean(each.label),
                account=each.key.account_id,
                post=each.key.request_id,
                group=each.group_id,
            )
        )
        tried = tn("{count} submission", "{count} submissions", each.attempts)
        failures = tn("{count} failure", "{count} failures", each.failures)
        print(f"  {state(each.state.value)}, {tried}, {failures}, {each.updated_at:%F %T}Z")
        if each.retired:
            print("  " + t("retired: its post has not run for two weeks, so nothing is asked for any more"))
        if each.message:
            print("  " + clean(f"{shown(each.message.rstrip('.'))}. {shown(each.remedy)}"))
        for link in journal.links.of_key(each.key):
            print(f"  {_line(link)}")


def _account(journal: Journal, word: str) -> list[Submission]:
    """Every row of the account that is meant, newest first.

    :raises BadRequest: it is none that the journal has seen.
    """
    (account_id,) = journal.names.accounts([word])
    if submissions := journal.submissions.of_account(account_id):
        return submissions
    raise BadRequest(f"the journal has never seen account {account_id!r}", remedy="Check the id.")


def _settle(journal: Journal, args: argparse.Namespace) -> None:
    for link_id in args.link_id:
        link = journal.settling.settle(
            link_id,
            is_there=args.is_there,
            who=getpass.getuser(),
            note=args.note,
            at=datetime.now(timezone.utc),
        )
        print(_line(link))


def _settling(journal: Journal, args: argparse.Namespace) -> None:
    if args.how:
        journal.settling.set_mode(args.how)
    print(journal.settling.mode())


def _prune(journal: Journal, args: argparse.Namespace) -> None:
    pruned = journal.links.prune(datetime.now(timezone.utc) - args.older_than)
    print(
        tn(
            "Texts removed: those of {count} link. Hashes stay, so nothing is ever sent again.",
            "Texts removed: those of {count} links. Hashes stay, so nothing is ever sent again.",
            pruned,
        )
    )


def _days(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,5})d", text)
    if not match or int(match[1]) < LEAST_PRUNE_DAYS:
        words = t(
            "a number of days from {least}d on, such as 180d, not {text}", least=LEAST_PRUNE_DAYS, text=repr(text)
        )
        raise argparse.ArgumentTypeError(words)
    return timedelta(days=int(match[1]))


def _line(link: Link) -> str:
    sent = t("sent {at}", at=f"{link.sent_at:%F %T}Z") if link.sent_at else t("never sent")
    presumed = f" ({t('presumed')})" if link.presumed else ""
    evidence = f"  {clean(shown(link.evidence))}" if link.evidence else ""
    url = clean(link.url or f"({t('pruned')})")
    return f"{link.id:>7}  {state(link.state.value)}{presumed}  {url}  {sent}{evidence}"


def _links(count: int) -> str:
    return tn("{count} link", "{count} links", count)
