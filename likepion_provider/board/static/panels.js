// The parts of the page, each from one question.
import { one, runAgain, setAside, settle, settleAll, takeBack } from "./actions.js";
import { filter, manySites, shown, view } from "./address.js";
import { showTrends } from "./charts.js";
import {
  $, ask, askLast, button, complain, copyable, inside, make, outside, queryOf, render, runPath, sentence, theirs,
} from "./tools.js";
import { NAMES, language, lasting, number, parts, percent, plural, t, when } from "./words.js";

const ACCOUNTS_A_PAGE = 50;
const GROUPS_A_PAGE = 7;
const UNKNOWN_A_PAGE = 10;
const PLATFORMS_SHOWN = 8;
const REASONS_SHOWN = 8;

const offset = { groups: 0, unknown: 0 };
const opened = new Set();
let mayAct = false;
let several = false;
let allPlatforms = false;
let clockSkewMs = 0;
let domains = {};
let choose = async () => {};

/** Call back with what a person chooses to see. */
export function onChoose(callback) { choose = callback; }

export function startOver() {
  offset.groups = 0;
  offset.unknown = 0;
}

const since = (iso) => Math.max(0, Math.round((Date.now() + clockSkewMs - new Date(iso)) / 1000));
const ago = (iso) => t("{time} ago", { time: lasting(since(iso)) });
const time = (iso, words, attributes = {}) => make("time", { datetime: iso, title: when(iso), ...attributes }, words);

function pager(where, from, size, total, go) {
  if (total <= size) return render($(`${where}-pages`));
  const step = (key, to, words, name) => button(key, words, () => go(to), {
    "aria-label": name, disabled: to < 0 || to >= total ? "" : null,
  });
  const last = Math.min(from + size, total);
  return render($(`${where}-pages`),
    make("span", { class: "muted" }, t("{first}–{last} of {total}", { first: from + 1, last, total })),
    step("previous", from - size, t("Previous"), t("Previous page of {part}", { part: $(`${where}-title`).textContent })),
    step("next", from + size, t("Next"), t("Next page of {part}", { part: $(`${where}-title`).textContent })));
}

export async function showOverview() {
  const told = await askLast("overview", "overview");
  clockSkewMs = new Date(told.now) - Date.now();
  mayAct = told.may_act;
  Object.assign(shown, { manager: told.manager, dag_id: "" });
  several = told.managers.length > 1;
  manySites(several);
  domains = told.domains;
  $("manager").hidden = !several;
  options($("manager").elements.manager, told.managers.map((each) => [each, each]), told.manager);
  const counts = Object.fromEntries(Object.keys(NAMES).map((name) => [name, 0]));
  for (const each of Object.values(domains)) {
    for (const [standing, count] of Object.entries(each)) counts[standing] += count;
  }
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const names = Object.keys(domains);
  $("summary").textContent = !all ? t("Nothing yet: the first run of the DAG fills the board.") : t("{accounts} on {platforms}, {user}", {
    accounts: plural(all, "{count} account", "{count} accounts"),
    platforms: plural(names.length, "{count} platform", "{count} platforms"),
    user: mayAct ? t("signed in as {user}", { user: told.user }) : t("signed in as {user} (read only)", { user: told.user }),
  });
  $("empty").hidden = all > 0;
  $("filled").hidden = all === 0;
  render($("empty"), make("p", {}, t("No run has taken up an account yet.")), make("p", {},
    inside("dags/likepion_podcast_secondary", t("Open the DAG")), " ", t("and switch it on, or trigger it.")));
  render($("cards"), Object.entries(NAMES).map(([standing, name]) => button(`card ${standing}`, "",
    () => choose({ standing: filter.standing === standing ? "" : standing }),
    { class: `card ${standing}`, "aria-pressed": String(filter.standing === standing) })));
  for (const card of $("cards").children) {
    const standing = card.classList[1];
    card.append(make("span", { class: "number" }, number(counts[standing])), make("span", { class: "name" }, NAMES[standing]));
  }
  const known = [...new Set([...names, filter.domain, view.platform].filter(Boolean))].sort().map((each) => [each, each]);
  options($("filters").elements.domain, [["", t("All")], ...known], filter.domain);
  options($("trend").elements.platform, [["", t("All platforms")], ...known], view.platform);
  $("unknown-how").textContent = told.settling === "manual"
    ? t("Nothing is sent again by itself: each of these needs a word from a person.")
    : t("The answer to these inserts was lost. A later pull usually settles them by itself; settle one here if you know better.");
}

// Made anew only where they changed: a list that somebody has open stays open.
function options(select, wanted, value) {
  const words = JSON.stringify(wanted);
  if (select.dataset.made !== words) {
    select.replaceChildren(...wanted.map(([each, name]) => make("option", { value: each }, name)));
    select.dataset.made = words;
  }
  select.value = value;
}

export async function showGroups() {
  const told = await askLast("groups", "groups", { offset: offset.groups, limit: GROUPS_A_PAGE });
  $("groups-count").textContent = number(told.total);
  render($("groups"), told.rows.map((row) => {
    const all = Object.values(row.counts).reduce((sum, count) => sum + count, 0);
    const words = Object.entries(NAMES).filter(([standing]) => row.counts[standing])
      .map(([standing, name]) => `${number(row.counts[standing])} ${name.toLowerCase()}`).join(", ");
    const bar = make("div", { class: "bar", role: "img", "aria-label": words, title: words });
    for (const standing of Object.keys(NAMES)) {
      if (!row.counts[standing]) continue;
      const part = make("span", { class: standing });
      part.style.flexGrow = row.counts[standing];
      bar.append(part);
    }
    const show = button(`group ${row.group_id}`, theirs(row.group_id), () => choose({ group_id: row.group_id }, true),
      { class: "link id", "aria-label": t("{group}: show the group's accounts", { group: row.group_id }) });
    return make("li", {}, show, bar,
      make("span", { class: "how" }, t("{delivered} of {all} delivered", { delivered: row.counts.delivered, all })));
  }));
  pager("groups", offset.groups, GROUPS_A_PAGE, told.total, (to) => { offset.groups = to; showGroups().catch(complain); });
}

export async function showTrend() {
  const [links, failures] = await Promise.all([
    askLast("delivered", "delivered", { days: view.days }), askLast("failed", "failed", { days: view.days }),
  ]);
  const ofPlatform = (told) => ({ ...told, rows: told.rows.filter((row) => !view.platform || row.domain === view.platform) });
  showTrends($("chart"), $("legend"), $("trend-rows"), ofPlatform(links), ofPlatform(failures));
}

export async function showPlatforms() {
  const told = await askLast("times", "times", { days: view.days });
  const steps = new Map();
  for (const row of told.rows) steps.set(row.domain, [...(steps.get(row.domain) ?? []), row]);
  const within = (rows, share) => {
    const all = rows.reduce((sum, row) => sum + row.accounts, 0);
    let reached = 0;
    for (const row of rows) {
      reached += row.accounts;
      if (reached >= all * share) {
        return row.step < told.steps_s.length ? lasting(told.steps_s[row.step])
          : t("longer than {time}", { time: lasting(told.steps_s.at(-1)) });
      }
    }
    return "–";
  };
  const rows = Object.entries(domains).map(([domain, counts]) => {
    const of = (name) => counts[name] ?? 0;
    const bad = of("failed") + of("needs_person");
    const ended = of("delivered") + bad;
    return { domain, all: Object.values(counts).reduce((sum, count) => sum + count, 0), bad, rate: ended ? of("delivered") / ended : null };
  }).sort((a, b) => b.all - a.all);
  render($("platforms"), rows.slice(0, allPlatforms ? rows.length : PLATFORMS_SHOWN).map((row) => make("tr", {},
    make("th", { scope: "row" }, button(`platform ${row.domain}`, theirs(row.domain), () => choose({ domain: row.domain }, true),
      { class: "link", "aria-label": t("{platform}: show the platform's accounts", { platform: row.domain }) })),
    make("td", {}, number(row.all)),
    make("td", {}, row.rate === null ? "–" : percent(row.rate)),
    make("td", {}, number(row.bad)),
    make("td", {}, within(steps.get(row.domain) ?? [], 0.5)),
    make("td", {}, within(steps.get(row.domain) ?? [], 0.9)))));
  render($("platforms-more"), rows.length > PLATFORMS_SHOWN ? button("all platforms",
    allPlatforms ? t("Show fewer") : t("Show all {count} platforms", { count: rows.length }),
    () => { allPlatforms = !allPlatforms; showPlatforms().catch(complain); }) : null);
}

export async function showReasons() {
  const told = await askLast("reasons", "reasons");
  // Numbers apart, one reason is one row; the words themselves are what the accounts are found by.
  const merged = new Map();
  for (const row of told.rows) {
    const key = `${row.standing} ${row.message.replace(/\d+/g, "#")}`;
    const known = merged.get(key) ?? { ...row, accounts: 0, platforms: new Map(), messages: new Set() };
    known.accounts += row.accounts;
    known.platforms.set(row.domain, (known.platforms.get(row.domain) ?? 0) + row.accounts);
    known.messages.add(row.message);
    merged.set(key, known);
  }
  const rows = [...merged.values()].sort((a, b) => b.accounts - a.accounts).slice(0, REASONS_SHOWN);
  $("reasons-none").hidden = rows.length > 0;
  render($("reasons"), rows.map((row) => {
    const words = row.words || (row.standing === "failed" ? t("the manager refused links") : t("no reason was noted"));
    const platforms = [...row.platforms].sort((a, b) => b[1] - a[1]);
    const exact = row.messages.size === 1 && row.message;
    return make("li", {},
      make("span", { class: `number ${row.standing}` }, number(row.accounts)),
      make("div", {},
        exact ? button(`reason ${row.message}`, theirs(sentence(words)), () => choose({ reason: row.message, standing: row.standing }, true), { class: "link" })
          : make("span", {}, theirs(sentence(words))),
        make("div", { class: "small" }, platforms.slice(0, 4).flatMap(([domain, count], place) => [
          place ? ", " : "", ...parts("{platform} {count}", { platform: theirs(domain), count }),
        ]), platforms.length > 4 ? t(" and {count} more", { count: platforms.length - 4 }) : "")));
  }));
}

export async function showWaiting() {
  const told = await askLast("waiting", "waiting", { domain: filter.domain, group_id: filter.group_id });
  $("waiting-none").hidden = told.rows.length > 0;
  render($("waiting"), told.rows.map((row) => make("li", {},
    make("span", { class: `number ${row.standing}` }, time(row.noted_at, lasting(since(row.noted_at)))),
    make("div", {},
      button(`waiting ${row.request_id} ${row.account_id}`, theirs(row.account), () => choose({ account_id: row.account_id }, true),
        { class: "link", "aria-label": t("{account}: show the account", { account: row.account }) }),
      make("div", { class: "small" }, theirs(sentence(row.state)), " ", row.last_error && row.last_error !== row.state ? theirs(sentence(row.last_error)) : "",
        " ", t("Since {time}.", { time: when(row.noted_at) }))))));
}

export async function showUnknown() {
  const told = await askLast("unknown", "unknown", { ...filter, offset: offset.unknown, limit: UNKNOWN_A_PAGE });
  if (offset.unknown && !told.rows.length) {
    offset.unknown = Math.max(0, offset.unknown - UNKNOWN_A_PAGE);
    return showUnknown();
  }
  $("unknown-panel").hidden = told.total === 0;
  $("unknown-count").textContent = number(told.total);
  render($("unknown-all"), mayAct && told.total > 1 ? [
    make("span", { class: "muted" }, t("{count} links match.", { count: told.total })),
    button("all there", t("All are there"), () => settleAll("is_there", told.total)),
    button("all again", t("Send all again"), () => settleAll("send_again", told.total)),
  ] : []);
  render($("unknown"), told.rows.map((row) => make("li", { "data-link": row.link_id },
    make("div", {},
      make("div", { class: "url" }, outside(row.url)),
      make("div", { class: "small" }, parts("{account}, group {group}", { account: theirs(row.account), group: theirs(row.group_id) })),
      make("div", { class: "evidence" }, t("Sent {time}.", { time: when(row.sent_at) }), " ",
        row.sends > 1 ? t("It was sent {count} times.", { count: row.sends }) : "", " ", theirs(sentence(row.evidence))),
      make("div", { class: "evidence" }, sentence(row.seen_again))),
    mayAct ? make("div", { class: "actions" },
      button(`there ${row.link_id}`, t("It is there"), () => settle(row, "is_there"),
        { "aria-label": t("It is there: {url} of {account}", { url: row.url, account: row.account }) }),
      button(`again ${row.link_id}`, t("Send again"), () => settle(row, "send_again"),
        { "aria-label": t("Send again: {url} of {account}", { url: row.url, account: row.account }) })) : null)));
  return pager("unknown", offset.unknown, UNKNOWN_A_PAGE, told.total, (to) => { offset.unknown = to; showUnknown().catch(complain); });
}

export async function showAccounts() {
  const at = (Number(view.page) - 1) * ACCOUNTS_A_PAGE;
  const order = { sort: view.sort, descending: view.descending };
  const told = await askLast("accounts", "accounts", { ...filter, ...order, offset: at, limit: ACCOUNTS_A_PAGE });
  if (at && !told.rows.length) {
    view.page = "1";
    return showAccounts();
  }
  $("accounts-count").textContent = number(told.total);
  $("accounts-table").hidden = told.total === 0;
  $("csv").href = `api/accounts.csv?${queryOf({ ...filter, ...shown, lang: language })}`;
  const filtered = Object.values(filter).some(Boolean);
  $("nothing").hidden = told.total > 0;
  render($("nothing"), filtered && !told.total ? [t("No account fits these filters."), " ",
    button("clear", t("Clear the filters"), () => $("clear").click(), { class: "link" })] : []);
  render($("bulk"), mayAct && filtered && told.total ? [
    make("span", { class: "muted" }, plural(told.total, "1 account matches.", "{count} accounts match.")),
    button("run all", t("Run them again"), () => runAgain(filter, told.total)),
    button("set all aside", t("Set them aside"), () => setAside(filter, told.total)),
    button("take all back", t("Take them back"), () => takeBack(filter, told.total)),
  ] : []);
  for (const head of document.querySelectorAll("th[data-sort]")) {
    const mine = head.dataset.sort === view.sort;
    head.setAttribute("aria-sort", mine ? (view.descending === "true" ? "descending" : "ascending") : "none");
  }
  $("filters").elements.sort.value = `${view.sort} ${view.descending}`;
  render($("rows"), told.rows.flatMap(accountRows));
  pager("accounts", at, ACCOUNTS_A_PAGE, told.total, (to) => {
    view.page = String(to / ACCOUNTS_A_PAGE + 1);
    choose({}, false, true);
  });
  const named = [
    filter.run_id ? (filter.map_index === "" ? t("run {run}", { run: filter.run_id }) : t("run {run}, batch {batch}", { run: filter.run_id, batch: filter.map_index })) : "",
  ].filter(Boolean);
  $("batch").hidden = !named.length && !filter.reason;
  render($("batch"), filter.reason ? [t("Only those whose trouble is:"), " ", theirs(told.reason), " ",
    button("all reasons", t("Show all reasons"), () => choose({ reason: "" }), { class: "link" }), " "] : [],
  named.length ? [t("Only what {run} worked last.", { run: named[0] }), " ",
    button("all runs", t("Show all runs"), () => choose({ run_id: "", map_index: "" }), { class: "link" })] : []);
  return countDown();
}

function accountRows(row) {
  const key = `${row.request_id} ${row.account_id}`;
  const open = opened.has(key);
  const id = `details-of-${row.request_id}-${row.account_id}`.replace(/[^\w-]/g, "_");
  const cell = (name, ...children) => make("td", { "data-name": name, class: children.flat().some(Boolean) ? null : "none" }, ...children);
  const toggle = (name, words, label, attributes) => button(`${name} ${key}`, words, async () => {
    if (open) opened.delete(key); else opened.add(key);
    await showAccounts().catch(complain);
  }, { class: "link nowrap", "aria-expanded": String(open), "aria-controls": open ? id : null, "aria-label": label, ...attributes });
  const numbers = row.stored === row.links ? number(row.links) : t("{stored} of {links}", { stored: row.stored, links: row.links });
  const links = row.links ? toggle("links", numbers, plural(row.links, "{count} link of {account}, {stored} stored",
    "{count} links of {account}, {stored} stored", { account: row.account, stored: row.stored })) : "";
  const first = make("tr", { class: open ? "open" : null },
    make("td", {},
      make("div", { class: "who" }, theirs(row.account)),
      make("div", { class: "small" }, parts("group {group}", {
        group: button(`of group ${key}`, theirs(row.group_id.slice(0, 8)), () => choose({ group_id: row.group_id }),
          { class: "link", title: row.group_id, "aria-label": t("{group}: show the group of {account}", { group: row.group_id.slice(0, 8), account: row.account }) }),
      }), " ", toggle("details", open ? t("Hide details") : t("Details"), open ? t("Hide details of {account}", { account: row.account }) : t("Details of {account}", { account: row.account })))),
    cell(t("State"), make("div", {},
      make("span", { class: `state ${row.standing}` }, row.state),
      row.last_error && row.last_error !== row.state ? make("div", { class: "trouble" }, theirs(sentence(row.last_error)), " ",
        make("span", { class: "do" }, theirs(row.what_to_do))) : null,
      row.next_try_at ? make("div", { class: "trouble do" }, parts(
        "Tried again by itself after {time}; a run by its group, domain or id tries it at once.",
        { time: time(row.next_try_at, when(row.next_try_at), { class: "nowrap" }) })) : null,
      row.required_action ? make("div", { class: "trouble" }, inside(
        `${runPath(row.dag_id, row.run_id)}/tasks/${encodeURIComponent(row.required_action)}/mapped/${row.map_index}/required_actions`,
        t("Answer the required action"), { "aria-label": t("Answer the required action for {account}", { account: row.account }) })) : null)),
    cell(t("Links"), links),
    cell(t("Attempts"), row.attempts ? number(row.attempts) : ""),
    cell(t("Worked by"), worker(row)),
    cell(t("Taken up"), time(row.noted_at, ago(row.noted_at), { class: "nowrap small" })),
    cell(t("Changed"), time(row.updated_at, ago(row.updated_at), { class: "nowrap small" })),
    cell(t("Actions"), mayAct ? acts(key, row) : ""));
  if (!open) return [first];
  const details = make("td", { colspan: "8", id });
  showDetails(row, key, details).catch(complain);
  return [first, make("tr", { class: "detail" }, details)];
}

function acts(key, row) {
  const act = (name, words, label, action) => button(`${name} ${key}`, words, () => action(one(row), 1, row), { "aria-label": label, class: "small-button" });
  return make("div", { class: "row-actions" },
    act("run", t("Run again"), t("Run again: {account}", { account: row.account }), runAgain),
    row.set_aside ? act("aside", t("Take back"), t("Take back: {account}", { account: row.account }), takeBack)
      : act("aside", t("Set aside"), t("Set aside: {account}", { account: row.account }), setAside));
}

function worker(row) {
  const claim = row.claimed_until ? make("div", { class: "nowrap", "data-until": row.claimed_until, title: t("Held until {time}", { time: when(row.claimed_until) }) }) : null;
  if (!row.task_id) return row.run_id || claim ? make("div", { class: "small" }, theirs(row.run_id), claim) : "";
  const run = runPath(row.dag_id, row.run_id);
  const task = `${run}/tasks/${encodeURIComponent(row.task_id)}${row.map_index >= 0 ? `/mapped/${row.map_index}` : ""}`;
  const name = row.task_id.split(".").pop() + (row.map_index >= 0 ? ` [${row.map_index}]` : "");
  const key = `${row.request_id} ${row.account_id}`;
  return make("div", { class: "small" },
    make("div", { class: "nowrap" }, inside(task, name, { "data-key": `task ${key}`, "aria-label": t("{task} of {account}", { task: name, account: row.account }) })),
    make("div", {}, inside(run, t("Open the run"), { "data-key": `run of ${key}`, "aria-label": t("Open the run of {account}", { account: row.account }) })), claim);
}

async function showDetails(row, key, into) {
  const of = { request_id: row.request_id, account_id: row.account_id };
  const [links, history] = await Promise.all([row.links ? ask("links", of) : { rows: [] }, ask("history", of)]);
  const words = { stored: "", prepared: t("not sent yet"), sending: t("being sent"), refused: t("refused"), unknown: t("unknown outcome") };
  const list = make("ul", { class: "links", "aria-label": t("Links of {account}", { account: row.account }) }, links.rows.map((each) => {
    const state = each.presumed ? t("taken for stored") : words[each.state];
    return make("li", {}, each.url ? outside(each.url, { "data-key": `link ${each.id}` }) : t("(text pruned)"),
      state ? make("span", { class: "muted", title: each.evidence }, ` (${state})`) : null);
  }));
  if (links.rows.length < row.links) {
    list.append(make("li", { class: "muted" }, t("and {count} more:", { count: row.links - links.rows.length }),
      ` likepion journal ${several ? `--manager ${shown.manager} ` : ""}show ${row.account_id}`));
  }
  const names = { new: t("Taken up"), submitting: t("Being handed to the platform"), submitted: t("Handed to the platform"),
    in_review: t("Not all listed"), listed: t("Listed"), needs_verification: t("Needs a person"), locked: t("Locked"), failed: t("Failed") };
  const changes = history.rows.map((each) => make("li", {},
    time(each.at, when(each.at), { class: "nowrap" }), " ",
    make("span", { class: `state ${each.standing}` }, NAMES[each.standing], " · ", names[each.state]),
    each.message ? make("span", {}, ": ", theirs(sentence(each.words))) : null,
    each.run_id ? make("span", { class: "muted" }, " ", inside(runPath(row.dag_id || "likepion_podcast_secondary", each.run_id), theirs(each.run_id), { "data-key": `change ${each.at} ${key}` })) : null));
  changes.push(make("li", {}, time(row.noted_at, when(row.noted_at), { class: "nowrap" }), " ", t("Taken up first")));
  render(into, make("div", { class: "details" },
    make("p", { class: "ids" },
      make("span", {}, parts("Account {id}", { id: copyable(`account ${key}`, row.account_id, t("the account's id")) })),
      make("span", {}, parts("Group {id}", { id: copyable(`group ${key}`, row.group_id, t("the group's id")) })),
      make("span", {}, parts("Post {id}", { id: copyable(`post ${key}`, row.request_id, t("the post's id")) }))),
    row.links ? list : null,
    make("h3", {}, t("History")),
    make("ol", { class: "history", "aria-label": t("History of {account}", { account: row.account }) }, changes)));
}

export function countDown() {
  for (const element of document.querySelectorAll("[data-until]")) {
    const left = Math.round((new Date(element.dataset.until) - Date.now() - clockSkewMs) / 1000);
    element.textContent = left > 0 ? t("claimed, {minutes}:{seconds} left", { minutes: Math.floor(left / 60), seconds: String(left % 60).padStart(2, "0") }) : t("claim lapsed");
  }
}
