"""The report of a run as the text of any notifier's message."""

from __future__ import annotations

#: A template for a notifier's text, where the notifier is the ``on_failure_callback`` of the report task.
#:
#: .. code-block:: python
#:
#:     LikepionReportOperator(
#:         task_id="report",
#:         trigger_rule="all_done",
#:         on_failure_callback=SmtpNotifier(to="ops@example.org", subject="Likepion", html_content=REPORT_TEXT),
#:     )
#:
#: Public fields only. It is rendered once: what a platform said is never taken for a template. Nor is it for markup: in
#: HTML, and in Slack's messages, which escape the same three characters.
REPORT_TEXT = (
    "{{ ti.xcom_pull(task_ids=ti.task_id, key='summary')['text']"
    " | replace('&', '&amp;') | replace('<', '&lt;') | replace('>', '&gt;') }}"
)
