"""The end of a run: one table of every account, and red where somebody must act."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, Context

from likepion_provider.errors import LikepionError
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, airflow_errors, journal_for
from likepion_provider.hooks.language import configured_language
from likepion_provider.hooks.marks import leave_mark
from likepion_provider.hooks.values import flag
from likepion_provider.journal.marks import REMEDY
from likepion_provider.models import Outcome, SecondaryTask
from likepion_provider.operators.assist import ASKED
from likepion_provider.operators.context import ERROR, instance_of, is_cleared, left_by_all, state_of, states_of
from likepion_provider.operators.extra_links import LikepionBoardLink, board_url
from likepion_provider.operators.likepion import DROPPED, HANDED_OUT_AGAIN, LATE, NOT_TAKEN, reports_of
from likepion_provider.steps.batches import Batch
from likepion_provider.steps.intake import MAX_CHOICE
from likepion_provider.steps.reports import AccountReport, conf_for
from likepion_provider.words import shown, spoken, state, t, tn

#: Accounts that are named in the task's error, and in a message; the log has them all.
NAMED = 5
NAMED_IN_TEXT = 20
#: Accounts with the same trouble that are named.
ALIKE = 3


class LikepionReportOperator(BaseOperator):
    """Gather what the steps of a run said of every account; fail where an account needs attention.

    .. code-block:: python

        pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=200)
        claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output)
        imported = ImportRssOperator.partial(task_id="import_rss").expand(batch=claim.output)
        imported >> LikepionReportOperator(task_id="report", import_task_id="import_rss", trigger_rule="all_done")

    :param pull_task_id: the task that took the accounts; it says which of those that were asked for are not to be had.
    :param claim_task_id: the task that cut the batches.
    :param wait_task_id: the sensor, mapped over the batches.
    :param import_task_id: the import, mapped over the batches.
    :param insert_task_id: the insert, mapped over the batches.
    :param ask_task_id: the task that asked a person, mapped over the batches; and, after the answer, the import and
        the insert: ``import_assisted_task_id``, ``insert_assisted_task_id``.
    :param assist: whether the run asks; False by default.
    :param likepion_conn_id: the connection of type ``likepion`` that the run worked with.
    :return: ``counts`` by outcome, ``links`` found, the ``accounts`` that need attention with their remedies, those
        that were asked for and ``not_taken`` with the reason, what is wrong with the ``journal`` and the ``manager``,
        the ``tasks`` that failed, each with its error, the address of the ``board``, and all of it as ``text`` for a
        message.
    """

    template_fields: Sequence[str] = ("assist", "likepion_conn_id")
    operator_extra_links = (LikepionBoardLink(),)
    ui_color = "#e8e4f3"

    def __init__(
        self,
        *,
        pull_task_id: str = "pull_tasks",
        claim_task_id: str = "claim_accounts",
        wait_task_id: str = "import_batch.wait_for_link_rss",
        import_task_id: str = "import_batch.import_rss",
        insert_task_id: str = "import_batch.insert_links",
        ask_task_id: str = "import_batch.ask_person",
        import_assisted_task_id: str = "import_batch.import_assisted",
        insert_assisted_task_id: str = "import_batch.insert_assisted",
        assist: bool | str = False,
        likepion_conn_id: str = LIKEPION_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pull_task_id = pull_task_id
        self.claim_task_id = claim_task_id
        self.wait_task_id = wait_task_id
        self.import_task_id = import_task_id
        self.insert_task_id = insert_task_id
        self.ask_task_id = ask_task_id
        self.import_assisted_task_id = import_assisted_task_id
        self.insert_assisted_task_id = insert_assisted_task_id
        self.assist = assist
        self.likepion_conn_id = likepion_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Gather, print and judge, in the language that is configured."""
        with spoken(configured_language()):
            return self._report(context)

    def _report(self, context: Context) -> dict[str, Any]:
        with airflow_errors():
            assisted = flag("assist", self.assist)
        reports = self._gather(context, assisted=assisted)
        if is_cleared(context, self.retries):
            reports = [_run_anew(each) for each in reports]
        ti = instance_of(context)
        not_taken: list[dict[str, str]] = ti.xcom_pull(self.pull_task_id, key=NOT_TAKEN) or []
        summary = summarise(
            reports,
            not_taken,
            journal=self._doubts(),
            manager=_lost_rows(ti.xcom_pull(self.pull_task_id, key=HANDED_OUT_AGAIN) or []),
            tasks=self._culprits(context),
            board=board_url(context["dag_run"].dag_id, context["dag_run"].run_id),
        )
        self.log.info("%s\n%s", t("Accounts of this run"), table(reports))
        if attention := [each["account_id"] for each in summary["accounts"][:MAX_CHOICE]]:
            command = ["airflow", "dags", "trigger", context["dag_run"].dag_id, "--conf", conf_for(attention)]
            again = [_on_the_board(summary["board"]), t("or run:"), shlex.join(command)]
            self.log.info("%s", "\n".join(again))
        for each in not_taken:
            account_id = f" ({each['account_id']})" if each["account_id"] else ""
            self.log.info("%s", t("Not taken: {name}, {reason}", name=each["name"] + account_id, reason=each["reason"]))
        self._note_pace(context, reports)
        ti.xcom_push("summary", summary)
        if alarms := _alarms(summary):
            raise AirflowFailException(" ".join(alarms))
        return summary

    def _gather(self, context: Context, *, assisted: bool) -> list[AccountReport]:
        """One report per account, batch by batch."""
        rows: Sequence[dict[str, Any]] = instance_of(context).xcom_pull(self.claim_task_id) or ()
        batches = [Batch.from_public(row) for row in rows]
        tasks = [task for batch in batches for task in batch.tasks]
        said = _verdicts(context, tasks, self.import_task_id, self.insert_task_id)
        if assisted:
            said |= self._after_asking(context, tasks, said)
        reports = self._dropped(context)
        for index, batch in enumerate(batches):
            reports += [said[task.account_id] for task in batch.tasks if task.account_id in said]
            if unheard := [task for task in batch.tasks if task.account_id not in said]:
                waited = batch.waits and state_of(context, self.wait_task_id, index) == "skipped"
                error = "" if waited else self._error_of(context, index)
                reports += [_unheard(batch, task, waited=waited, error=error) for task in unheard]
        return reports

    def _error_of(self, context: Context, index: int) -> str:
        """What ended the work on a batch; empty where that is not known."""
        pull = instance_of(context).xcom_pull
        found = (pull(each, key=ERROR, map_indexes=index) for each in (self.wait_task_id, self.import_task_id))
        return next(filter(None, found), "")

    def _dropped(self, context: Context) -> list[AccountReport]:
        """The reports of accounts that were taken up and are in no batch."""
        rows = instance_of(context).xcom_pull(self.claim_task_id, key=DROPPED)
        taken: Sequence[dict[str, Any]] = (instance_of(context).xcom_pull(self.pull_task_id) or ()) if rows else ()
        return reports_of(rows or (), map(SecondaryTask.from_public, taken))

    def _after_asking(
        self, context: Context, tasks: Sequence[SecondaryTask], first: Mapping[str, AccountReport]
    ) -> dict[str, AccountReport]:
        """The reports of the accounts that a person was asked about.

        :param first: what was said of them before.
        """
        asked = left_by_all(context, self.ask_task_id, ASKED)
        if not asked:
            return {}
        second = _verdicts(context, tasks, self.import_assisted_task_id, self.insert_assisted_task_id)
        last = {**first, **second}
        return {account_id: _once_asked(last[account_id]) for account_id in asked if account_id in last}

    def _note_pace(self, context: Context, reports: Sequence[AccountReport]) -> None:
        """Let the next pull know whether this run took more than it got to; a cleared one says nothing of that."""
        if not reports or instance_of(context).try_number > 1:
            return
        late = left_by_all(context, self.import_task_id, LATE)
        with airflow_errors():
            journal_for(self.likepion_conn_id).settings.note_pace(len(reports), len(late))

    def _doubts(self) -> str:
        """What is wrong with the journal as a whole, and what to do; empty where nothing is."""
        try:
            journal = journal_for(self.likepion_conn_id)
            leave_mark(journal)
            restored = journal.marks.unaccepted()
        except LikepionError as error:
            # The task that could do nothing without it has said so.
            self.log.warning("The journal cannot be asked: %s", error.advice)
            return ""
        return f"{shown(restored.message)}. {shown(REMEDY)}" if restored else ""

    def _culprits(self, context: Context) -> list[str]:
        """The tasks that failed, in the order of the run, each with its error; those that only followed come last."""
        states = {name: state for name, state in states_of(context).items() if name != self.task_id}
        failed = Counter(_unmapped(name) for name, state in states.items() if state == "failed")
        followed = sum(state == "upstream_failed" for state in states.values())
        order = [self.pull_task_id, self.claim_task_id, self.wait_task_id, self.import_task_id, self.insert_task_id]
        lines = []
        for name in sorted(failed, key=lambda each: (order.index(each) if each in order else len(order), each)):
            errors = dict.fromkeys(filter(None, instance_of(context).xcom_pull([name], key=ERROR)))
            said = " ".join(map(shown, errors)) or t("read its log.")
            failures = tn(
                "{name} failed: {said}", "{name} failed ({count} times): {said}", failed[name], name=name, said=said
            )
            lines.append(failures)
        if followed:
            lines.append(
                tn(
                    "{count} task could not run because of that.",
                    "{count} tasks could not run because of that.",
                    followed,
                )
            )
        return lines


def _verdicts(
    context: Context, tasks: Sequence[SecondaryTask], import_task_id: str, insert_task_id: str
) -> dict[str, AccountReport]:
    """What counts of an import and an insert, by account.

    The insert's word is the later one. But an import that did not get through is not made good by links of an earlier
    run that were sent; and what needs attention is said in any case.
    """
    verdicts = {each.task.account_id: each for each in reports_of(left_by_all(context, import_task_id), tasks)}
    for inserted in reports_of(left_by_all(context, insert_task_id), tasks):
        imported = verdicts.get(inserted.task.account_id)
        if imported is None or imported.outcome is Outcome.COLLECTED or inserted.outcome.needs_attention:
            verdicts[inserted.task.account_id] = inserted
    return verdicts


def _run_anew(report: AccountReport) -> AccountReport:
    """Whoever clears a task waits for what it does: that it did nothing is no matter for a later run."""
    if report.outcome is not Outcome.LEASE_LOST:
        return report
    remedy = "Run it anew, or leave it to a scheduled run."
    return dataclasses.replace(report, outcome=Outcome.NOT_RUN, remedy=remedy)


def _once_asked(report: AccountReport) -> AccountReport:
    """Whoever was asked in this run needs no second alarm."""
    if report.outcome is not Outcome.NEEDS_PERSON:
        return report
    message = f"{report.message.rstrip('.')}; a person was asked in this run"
    return dataclasses.replace(report, outcome=Outcome.WAITING, message=message)


def _unheard(batch: Batch, task: SecondaryTask, *, waited: bool, error: str) -> AccountReport:
    """The report of an account that no step has reported.

    :param waited: for its feed, in vain.
    :param error: what ended the task that worked it; empty where that is not known.
    """
    if waited:
        return AccountReport(task, Outcome.WAITING, message="the primary site has not set link_rss yet")
    return AccountReport(
        task,
        Outcome.FAILED,
        message=f"the task that worked its batch ({batch.name}) did not finish" + (f": {error}" if error else ""),
        remedy="A later run takes the account again."
        if error
        else "Read its log; a later run takes the account again.",
    )


def _unmapped(name: str) -> str:
    """A task's id, without the map index that :func:`~likepion_provider.operators.context.states_of` puts behind."""
    return re.sub(r"_\d+$", "", name)


def _lost_rows(again: Sequence[Mapping[str, str]]) -> str:
    """What a manager has to be told that hands out what it had confirmed; empty where it did not.

    :param again: the accounts, with ``label`` and ``group_id``.
    """
    if not again:
        return ""
    labels = ", ".join(each["label"] for each in again[:NAMED]) + (", ..." if len(again) > NAMED else "")
    groups = list(dict.fromkeys(each["group_id"] for each in again))[:NAMED]
    confs = t(" and with ").join(json.dumps({"resend": True, "group_id": each}) for each in groups)
    return tn(
        "the manager handed out {count} account whose links it had confirmed ({labels}): it has lost them, or counts "
        "otherwise than it did. Look there. Where they are missing, trigger the DAG with {confs}. Unknown outcomes are "
        "settled by hand meanwhile (likepion journal settle); 'likepion journal settling reappearance' ends that.",
        "the manager handed out {count} accounts whose links it had confirmed ({labels}): it has lost them, or counts "
        "otherwise than it did. Look there. Where they are missing, trigger the DAG with {confs}. Unknown outcomes are "
        "settled by hand meanwhile (likepion journal settle); 'likepion journal settling reappearance' ends that.",
        len(again),
        labels=labels,
        confs=confs,
    )


def _alarms(summary: Mapping[str, Any]) -> list[str]:
    """Why a run is red, sentence by sentence; nothing where nobody has to act."""
    alarms = [*filter(None, (summary["journal"], summary["manager"])), *summary["tasks"]]
    if attention := summary["accounts"]:
        sentences, left = _sentences(attention, NAMED)
        named = "; ".join(
            [*(each.rstrip(".") for each in sentences), *([t("and {left} more", left=left)] if left else [])]
        )
        alarms.append(
            tn(
                "{count} account needs attention: {named}. {again}",
                "{count} accounts need attention: {named}. {again}",
                len(attention),
                named=named,
                again=_again(attention[:NAMED], summary["board"]),
            )
        )
    return alarms


def _sentences(attention: Sequence[Mapping[str, Any]], most: int) -> tuple[list[str], int]:
    """What ails the accounts, and what to do: once for those that one thing ails, such as their post's feed.

    :param most: sentences.
    :return: and how many accounts are in none of them.
    """
    labels: dict[str, list[str]] = {}
    for each in attention:
        labels.setdefault(f"{each['message']}. {each['remedy']}", []).append(each["label"])
    sentences = [f"{_named(named)}: {words}" for words, named in [*labels.items()][:most]]
    return sentences, sum(len(named) for named in [*labels.values()][most:])


def _named(labels: Sequence[str]) -> str:
    listed = ", ".join(labels[:ALIKE])
    return t("{labels} and {left} more", labels=listed, left=len(labels) - ALIKE) if len(labels) > ALIKE else listed


def summarise(
    reports: Iterable[AccountReport],
    not_taken: Sequence[Mapping[str, str]] = (),
    *,
    journal: str = "",
    manager: str = "",
    tasks: Sequence[str] = (),
    board: str = "",
) -> dict[str, Any]:
    """What a notifier needs: public fields only.

    :param not_taken: the accounts that were asked for and are not to be had, with ``name`` and ``reason``.
    :param journal: what is wrong with it, and what to do.
    :param manager: likewise.
    :param tasks: those that failed, each with its error.
    :param board: the address of the board with the run's accounts; empty where it is not known.
    """
    reports = list(reports)
    counts = Counter(each.outcome.value for each in reports)
    summary: dict[str, Any] = {
        "counts": dict(counts),
        "links": sum(each.found for each in reports if each.outcome is Outcome.DELIVERED),
        "accounts": [
            {
                "account_id": each.task.account_id,
                "label": each.task.label,
                "group_id": each.task.group_id,
                "outcome": each.outcome.value,
                "message": shown(each.message.rstrip(".")),
                "remedy": shown(each.remedy),
            }
            for each in reports
            if each.outcome.needs_attention
        ],
        "not_taken": [{**each, "name": shown(each["name"]), "reason": shown(each["reason"])} for each in not_taken],
        "journal": journal,
        "manager": manager,
        "tasks": [*tasks],
        "board": board,
    }
    return summary | {"text": _text(summary)}


def _again(accounts: Sequence[Mapping[str, str]], board: str) -> str:
    """How some accounts are run again at once; a later run takes them up by itself in its time."""
    conf = conf_for(each["account_id"] for each in accounts)
    return f"{_on_the_board(board)} ({t('or trigger the DAG with {conf}', conf=conf)})"


def _on_the_board(board: str) -> str:
    """The same without an id. It ends with the address: what follows close upon one is taken for a part of it."""
    if not board:
        return t('Once that is done, press "{button}" on the board', button=t("Run again"))
    return t('Once that is done, press "{button}" on the board: {board}', button=t("Run again"), board=board)


def _text(summary: Mapping[str, Any]) -> str:
    """What a message says: a line of counts, and one for each thing that needs somebody."""
    counts = ", ".join(f"{number} {state(outcome)}" for outcome, number in sorted(summary["counts"].items()))
    links = tn("{count} link delivered.", "{count} links delivered.", summary["links"])
    lines = [f"Likepion: {counts or t('no accounts')}; {links}"]
    lines += [f"- {each}" for each in (summary["journal"], summary["manager"], *summary["tasks"]) if each]
    attention = summary["accounts"]
    sentences, left = _sentences(attention, NAMED_IN_TEXT)
    lines += [f"- {each}" for each in sentences]
    if left:
        lines.append(t("and {left} more: see the report task's log.", left=left))
    lines += [_again(attention[:NAMED_IN_TEXT], summary["board"])] if attention else []
    refused = summary["not_taken"]
    lines += [
        "- " + t("not taken: {name}, {reason}", name=each["name"], reason=each["reason"])
        for each in refused[:NAMED_IN_TEXT]
    ]
    if len(refused) > NAMED_IN_TEXT:
        left = len(refused) - NAMED_IN_TEXT
        lines.append(t("and {left} more that were not taken: see the report task's log.", left=left))
    return "\n".join(lines)


def table(reports: Sequence[AccountReport]) -> str:
    """The accounts as aligned text, those that need attention last."""
    if not reports:
        return t("none")
    ordered = sorted(reports, key=lambda each: (each.outcome.needs_attention, each.task.group_id, each.task.label))
    rows = [(t("GROUP"), t("ACCOUNT"), t("OUTCOME"), t("LINKS"), "")]
    rows += [
        (
            each.task.group_id[:8],
            each.task.label,
            state(each.outcome.value),
            str(each.found),
            f"{shown(each.message.rstrip('.'))}. {shown(each.remedy)}".strip(". ") if each.message else "",
        )
        for each in ordered
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False)) + f"  {row[4]}" for row in rows
    )
