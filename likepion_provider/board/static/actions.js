// What a person does. Each is one request, after one question that says what and how many.
import { NONE, filter } from "./address.js";
import { $, complain, inside, keepFocus, post, runPath, say } from "./tools.js";
import { number, parts, plural, t } from "./words.js";

let changed = async () => {};

/** Call back once something was changed. */
export function onChange(callback) { changed = callback; }

/** What an action takes for its filter: empty fields are left out. */
function which(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== "")
    .map(([name, value]) => [name, name === "map_index" ? Number(value) : value]));
}

export const one = (row) => ({ request_id: row.request_id, account_id: row.account_id });

function isAll(fields) {
  return Object.keys(NONE).every((name) => !fields[name]);
}

/** In words, what a filter names. */
function named(fields, row) {
  if (row) return row.account;
  return isAll(fields) ? t("every account of the board") : t("all that match the filter");
}

/** Ask for a word; the note, or null where it was cancelled. */
function confirmed({ title, text, subject, yes, label }) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-url").replaceChildren(Object.assign(document.createElement("bdi"), { textContent: subject }));
  $("confirm-label").textContent = label;
  $("confirm-note").value = "";
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  $("confirm-note").focus();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes" ? $("confirm-note").value : null);
  });
}

async function act(question, path, body, done) {
  const note = await confirmed(question);
  if (note === null) return;
  let words;
  try {
    words = done(await post(path, { ...body, note }));
    complain(null);
  } catch (error) {
    complain(error);
  }
  await changed();
  if (words) say(words);
  keepFocus();
}

const WHY = () => t("Why? The note is kept in the audit log with your name.");
const HOW = () => t("How do you know? The note is kept with the link and your name.");

export function runAgain(fields, count, row) {
  return act({
    title: plural(count, "Run 1 account again?", "Run {count} accounts again?"),
    text: count > 1000
      ? t("A run takes 1,000 accounts at most: those that wait longest come first. What is held back or set aside is tried at once; what is delivered already is not touched.")
      : t("A run is started now. What is held back or set aside is tried at once; what is delivered already is not touched."),
    subject: named(fields, row), yes: t("Run again"), label: WHY(),
  }, "run", { which: which(fields), number: count }, (told) => [
    ...parts(told.left ? "A run for {count} accounts was started, {left} are left: {run}" : "A run was started: {run}", {
      count: told.accounts, left: told.left, run: inside(runPath(told.dag_id, told.run_id), told.run_id),
    }),
    told.begins ? "" : ` ${t("The DAG is switched off: the run begins once somebody switches it on.")}`,
  ]);
}

export function setAside(fields, count, row) {
  return act({
    title: plural(count, "Set 1 account aside?", "Set {count} accounts aside?"),
    text: t("No run tries it by itself any more, until it is taken back or run by its group, domain or id."),
    subject: named(fields, row), yes: t("Set aside"), label: WHY(),
  }, "set-aside", { which: which(fields), number: count },
  (told) => plural(told.number, "1 account is set aside.", "{count} accounts are set aside."));
}

export function takeBack(fields, count, row) {
  return act({
    title: plural(count, "Take 1 account back?", "Take {count} accounts back?"),
    text: t("Its failures count from zero: the next run that has it tries it again."),
    subject: named(fields, row), yes: t("Take back"), label: WHY(),
  }, "take-back", { which: which(fields), number: count },
  (told) => plural(told.number, "1 account is taken back.", "{count} accounts are taken back."));
}

const VERDICTS = {
  is_there: {
    yes: t("It is there"), done: t("Filed as stored."),
    title: (count) => plural(count, "It is there?", "All {count} are there?"),
    text: t("The link is filed as stored and is never sent again."),
    many: t("The links are filed as stored and are never sent again."),
  },
  send_again: {
    yes: t("Send again"), done: t("The next run sends it again."),
    title: (count) => plural(count, "Send it again?", "Send all {count} again?"),
    text: t("The next run sends the link. If the manager has it already, it will be there twice."),
    many: t("The next run sends the links. What the manager has already will be there twice."),
  },
};

export function settle(row, verdict) {
  const said = VERDICTS[verdict];
  return act({ title: said.title(1), text: said.text, subject: row.url, yes: said.yes, label: HOW() },
    `unknown/${row.link_id}`, { verdict }, () => said.done);
}

export function settleAll(verdict, count) {
  const said = VERDICTS[verdict];
  return act({
    title: said.title(count), text: count === 1 ? said.text : said.many,
    subject: isAll(filter) ? t("{count} links: every unknown outcome of the board", { count })
      : t("{count} links: every unknown outcome that matches the filter", { count }),
    yes: said.yes, label: HOW(),
  }, "unknown", { verdict, which: which(filter), number: count },
  (told) => t("{count} links are settled.", { count: number(told.number) }));
}
