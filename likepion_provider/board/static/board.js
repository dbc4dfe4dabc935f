"use strict";

const NAMES = {
  delivered: "Delivered", waiting: "Waiting", needs_person: "Needs a person", failed: "Failed", unknown: "Unknown outcome",
  retired: "Retired",
};
const ACCOUNTS_A_PAGE = 50;
const GROUPS_A_PAGE = 7;
const UNKNOWN_A_PAGE = 10;
const REFRESH_MS = 15000;
const COLOURS = 6;
const FILTERS = ["text", "standing", "domain", "group_id", "run_id", "map_index"];

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const airflow = location.pathname.replace(/likepion\/?$/, "");
const framed = window.parent !== window;

const filter = Object.fromEntries(FILTERS.map((name) => [name, new URLSearchParams(location.search).get(name) ?? ""]));
const given = new URLSearchParams(location.search);
// Whose rows are shown: what the address says, else what the board answers.
const shown = { manager: given.get("manager") ?? "", dag_id: given.get("dag_id") ?? "" };
const offset = { groups: 0, unknown: 0, accounts: 0 };
const opened = new Set();
const asking = {};
let maySettle = false;
let several = false;
let clockSkewMs = 0;

// --- small tools; text only ever becomes a text node ---

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function shape(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function plural(count, noun) {
  return `${number.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function when(iso) {
  return iso ? new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "";
}

function ago(iso) {
  const seconds = Math.max(0, Math.round((Date.now() + clockSkewMs - new Date(iso)) / 1000));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return "just now";
}

// Airflow shows the board in a frame that may neither open tabs nor leave: its own page does that for us.
function follow(event) {
  if (!framed) return;
  event.preventDefault();
  const link = window.parent.document.createElement("a");
  link.href = event.currentTarget.href;
  link.target = event.currentTarget.target;
  link.rel = "noopener noreferrer";
  window.parent.document.body.append(link);
  link.click();
  link.remove();
}

function outside(url, text = url) {
  if (!/^https?:\/\//i.test(url)) return document.createTextNode(text);
  return make("a", { href: url, target: "_blank", rel: "noopener noreferrer", onclick: follow }, text);
}

function inside(path, text) {
  return make("a", { href: airflow + path, onclick: follow }, text);
}

async function ask(path, parameters = {}, options = {}) {
  const answer = await fetch(`api/${path}?${queryOf({ ...parameters, ...shown })}`, { credentials: "same-origin", ...options });
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({}));
  const words = typeof said.detail === "string" ? said.detail : `The board answered ${answer.status}`;
  throw new Error(answer.status === 401 ? "You are signed out. Sign in to Airflow and open the board again." : words);
}

function queryOf(parameters) {
  return new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined));
}

// Where a part is asked for twice, the last question counts, whichever answer comes first.
function askLast(part, path, parameters) {
  asking[part]?.abort();
  asking[part] = new AbortController();
  return ask(path, parameters, { signal: asking[part].signal });
}

function say(words) { $("status").textContent = words; }

function complain(error) {
  if (error?.name === "AbortError") return;
  $("trouble").textContent = error ? error.message : "";
  $("trouble").hidden = !error;
}

function theme() {
  const chosen = localStorage.getItem("theme");
  const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

function pages(where, total, size, load) {
  const nav = $(`${where}-pages`);
  nav.replaceChildren();
  if (total <= size) return;
  const step = (by, words) => make("button", {
    type: "button",
    "aria-label": `${words} page of ${where}`,
    disabled: by < 0 ? (offset[where] === 0 ? "" : null) : (offset[where] + size >= total ? "" : null),
    onclick: async () => {
      offset[where] += by;
      await load().catch(complain);
      const again = [...nav.querySelectorAll("button")];
      (again.find((each) => each.textContent === words && !each.disabled) ?? again.find((each) => !each.disabled))?.focus();
    },
  }, words);
  const last = Math.min(offset[where] + size, total);
  nav.append(
    make("span", { class: "muted" }, `${number.format(offset[where] + 1)}–${number.format(last)} of ${number.format(total)}`),
    step(-size, "Previous"), step(size, "Next"),
  );
}

// --- the parts of the page ---

async function showOverview() {
  const told = await askLast("overview", "overview");
  clockSkewMs = new Date(told.now) - Date.now();
  maySettle = told.may_settle;
  Object.assign(shown, { manager: told.manager, dag_id: "" });
  several = told.managers.length > 1;
  $("manager").hidden = !several;
  $("manager").elements.manager.replaceChildren(...told.managers.map((each) => make("option", { value: each }, each)));
  $("manager").elements.manager.value = told.manager;
  const counts = Object.fromEntries(Object.keys(NAMES).map((name) => [name, 0]));
  for (const each of Object.values(told.domains)) {
    for (const [standing, count] of Object.entries(each)) counts[standing] += count;
  }
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const domains = Object.keys(told.domains);
  $("summary").textContent = all
    ? `${plural(all, "account")} on ${plural(domains.length, "platform")}, signed in as ${told.user}${maySettle ? "" : " (read only)"}`
    : "Nothing yet: the first run of the DAG fills the board.";
  $("cards").replaceChildren(...Object.entries(NAMES).map(([standing, name]) => make("button", {
    type: "button", class: `card ${standing}`, "aria-pressed": String(filter.standing === standing),
    onclick: () => choose({ standing: filter.standing === standing ? "" : standing }),
  }, make("span", { class: "number" }, number.format(counts[standing])), make("span", { class: "name" }, name))));
  const select = $("filters").elements.domain;
  const options = [...new Set([...domains, filter.domain].filter(Boolean))].sort();
  select.replaceChildren(make("option", { value: "" }, "All"), ...options.map((each) => make("option", { value: each }, each)));
  select.value = filter.domain;
  $("unknown-how").textContent = told.settling === "manual"
    ? "Nothing is sent again by itself: each of these needs a word from a person."
    : "The answer to these inserts was lost. A later pull usually settles them by itself; settle one here if you know better.";
}

async function showGroups() {
  const told = await askLast("groups", "groups", { offset: offset.groups, limit: GROUPS_A_PAGE });
  $("groups-count").textContent = number.format(told.total);
  $("groups").replaceChildren(...told.rows.map((row) => {
    const all = Object.values(row.counts).reduce((sum, count) => sum + count, 0);
    const words = Object.entries(NAMES).filter(([standing]) => row.counts[standing])
      .map(([standing, name]) => `${number.format(row.counts[standing])} ${name.toLowerCase()}`).join(", ");
    const bar = make("div", { class: "bar", role: "img", "aria-label": words, title: words });
    for (const standing of Object.keys(NAMES)) {
      if (!row.counts[standing]) continue;
      const part = make("span", { class: standing });
      part.style.flexGrow = row.counts[standing];
      bar.append(part);
    }
    return make("li", {},
      make("button", {
        type: "button", class: "link id", title: `Show the accounts of group ${row.group_id}`,
        onclick: () => choose({ group_id: row.group_id }, true),
      }, row.group_id),
      bar,
      make("span", { class: "how" }, `${number.format(row.counts.delivered)} of ${number.format(all)} delivered`));
  }));
  pages("groups", told.total, GROUPS_A_PAGE, showGroups);
}

async function showChart() {
  const told = await askLast("chart", "delivered");
  const days = Array.from({ length: told.days }, (_, index) =>
    new Date(new Date(told.since).getTime() + index * 86400000).toISOString().slice(0, 10));
  const sums = new Map();
  for (const row of told.rows) sums.set(row.domain, (sums.get(row.domain) ?? 0) + row.links);
  const ranked = [...sums.keys()].sort((a, b) => sums.get(b) - sums.get(a));
  const shown = ranked.slice(0, COLOURS);
  const names = ranked.length > COLOURS ? [...shown, "others"] : shown;
  const stacks = days.map((day) => {
    const stack = names.map(() => 0);
    for (const row of told.rows) {
      if (row.day === day) stack[shown.includes(row.domain) ? shown.indexOf(row.domain) : COLOURS] += row.links;
    }
    return stack;
  });
  const total = [...sums.values()].reduce((sum, count) => sum + count, 0);
  $("legend").replaceChildren(...names.map((name, index) => {
    const count = name === "others" ? ranked.slice(COLOURS).reduce((sum, each) => sum + sums.get(each), 0) : sums.get(name);
    return make("li", {}, make("i", { class: `c${index}` }), `${name} ${number.format(count)}`);
  }));
  if (!total) {
    $("chart").replaceChildren(make("p", { class: "empty" }, "No link was delivered in the last 30 days."));
    return;
  }
  $("chart").replaceChildren(drawing(days, stacks, names, total));
}

function drawing(days, stacks, names, total) {
  const [width, height, left, bottom, top] = [620, 240, 44, 22, 8];
  const most = Math.max(...stacks.map((stack) => stack.reduce((sum, count) => sum + count, 0)));
  const power = 10 ** Math.floor(Math.log10(most));
  const ceiling = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((each) => each >= most);
  const y = (count) => height - bottom - (count / ceiling) * (height - bottom - top);
  const slot = (width - left) / days.length;
  const svg = shape("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${plural(total, "link")} delivered in ${days.length} days`,
  });
  for (const part of ceiling % 2 ? [0, 1] : [0, 0.5, 1]) {
    svg.append(
      shape("line", { class: "grid", x1: left, x2: width, y1: y(part * ceiling), y2: y(part * ceiling) }),
      shape("text", { x: left - 6, y: y(part * ceiling) + 4, "text-anchor": "end" }, number.format(part * ceiling)),
    );
  }
  days.forEach((day, index) => {
    let below = 0;
    stacks[index].forEach((count, which) => {
      if (!count) return;
      const bar = shape("rect", {
        class: `c${which}`, x: left + index * slot + slot * 0.14, width: slot * 0.72,
        y: y(below + count), height: Math.max(y(below) - y(below + count), 1), rx: 1.5,
      }, shape("title", {}, `${day}, ${names[which]}: ${plural(count, "link")}`));
      svg.append(bar);
      below += count;
    });
    if (index % 7 === days.length % 7 - 1 || index === days.length - 1) {
      const label = new Date(`${day}T00:00:00Z`).toLocaleDateString([], { day: "numeric", month: "short", timeZone: "UTC" });
      svg.append(shape("text", { x: Math.min(left + (index + 0.5) * slot, width - 20), y: height - 6, "text-anchor": "middle" }, label));
    }
  });
  return svg;
}

async function showUnknown() {
  const told = await askLast("unknown", "unknown", { offset: offset.unknown, limit: UNKNOWN_A_PAGE, group_id: filter.group_id });
  if (offset.unknown && !told.rows.length) {
    offset.unknown = Math.max(0, offset.unknown - UNKNOWN_A_PAGE);
    return showUnknown();
  }
  $("unknown-panel").hidden = told.total === 0;
  $("unknown-count").textContent = number.format(told.total);
  $("unknown").replaceChildren(...told.rows.map((row) => make("li", { "data-link": row.link_id },
    make("div", {},
      make("div", { class: "url" }, outside(row.url)),
      make("div", { class: "small" }, `${row.account}, group ${row.group_id}`),
      make("div", { class: "evidence" }, `Sent ${when(row.sent_at)}${row.sends > 1 ? ` (${row.sends} times)` : ""}. ${sentence(row.evidence)}`),
      make("div", { class: "evidence" }, sentence(row.seen_again))),
    maySettle ? make("div", { class: "actions" },
      make("button", { type: "button", onclick: () => settle(row, "is_there") }, "It is there"),
      make("button", { type: "button", onclick: () => settle(row, "send_again") }, "Send again")) : null)));
  pages("unknown", told.total, UNKNOWN_A_PAGE, showUnknown);
}

function sentence(words) {
  return words ? `${words[0].toUpperCase()}${words.slice(1).replace(/\.$/, "")}.` : "";
}

async function showAccounts() {
  const told = await askLast("accounts", "accounts", { ...filter, offset: offset.accounts, limit: ACCOUNTS_A_PAGE });
  $("accounts-count").textContent = number.format(told.total);
  $("nothing").hidden = told.total > 0;
  $("csv").href = `api/accounts.csv?${query()}`;
  $("rows").replaceChildren(...told.rows.flatMap(accountRows));
  pages("accounts", told.total, ACCOUNTS_A_PAGE, showAccounts);
  const named = filter.run_id ? `run ${filter.run_id}${filter.map_index === "" ? "" : `, batch ${filter.map_index}`}` : "";
  $("batch").hidden = !named;
  $("batch").replaceChildren(`Only what ${named} worked last. `, make("button", {
    type: "button", class: "link", onclick: () => choose({ run_id: "", map_index: "" }),
  }, "Show all runs"));
  count();
}

function accountRows(row) {
  const key = `${row.request_id} ${row.account_id}`;
  const open = opened.has(key);
  const id = `links-of-${row.request_id}-${row.account_id}`.replace(/[^\w-]/g, "_");
  const cell = (name, ...children) => make("td", { "data-name": name, class: children.some(Boolean) ? null : "none" }, ...children);
  const links = row.links ? make("button", {
    type: "button", class: "link nowrap", "aria-expanded": String(open), "aria-controls": id,
    "aria-label": `${plural(row.links, "link")} of ${row.account}, ${row.stored} stored`,
    onclick: async () => {
      if (open) opened.delete(key); else opened.add(key);
      await showAccounts().catch(complain);
      document.querySelector(`[aria-controls="${id}"]`)?.focus();
    },
  }, row.stored === row.links ? number.format(row.links) : `${number.format(row.stored)} of ${number.format(row.links)}`) : "";
  const first = make("tr", { class: open ? "open" : null },
    make("td", {},
      make("div", { class: "who" }, row.account),
      make("div", { class: "small" }, "group ", make("button", {
        type: "button", class: "link", title: row.group_id, onclick: () => choose({ group_id: row.group_id }),
      }, row.group_id.slice(0, 8)))),
    cell("State", make("div", {},
      make("span", { class: `state ${row.standing}` }, row.state),
      row.last_error ? make("div", { class: "trouble" }, sentence(row.last_error), " ", make("span", { class: "do" }, row.what_to_do)) : null,
      row.next_try_at ? make("div", { class: "trouble do" },
        "Tried again by itself after ", make("time", { class: "nowrap", datetime: row.next_try_at }, when(row.next_try_at)),
        "; a run by its group, domain or id tries it at once.") : null)),
    cell("Links", links),
    cell("Attempts", row.attempts ? String(row.attempts) : ""),
    cell("Claim", row.claimed_until ? make("span", { class: "nowrap", "data-until": row.claimed_until, title: `Held until ${when(row.claimed_until)}` }) : ""),
    cell("Worked by", worker(row)),
    cell("Changed", make("time", { class: "nowrap small", datetime: row.updated_at, title: when(row.updated_at) }, ago(row.updated_at))));
  if (!open) return [first];
  const list = make("ul", { class: "links", id, "aria-label": `Links of ${row.account}` });
  showLinks(row, list).catch(complain);
  return [first, make("tr", { class: "detail" }, make("td", { colspan: "7" }, list))];
}

function worker(row) {
  if (!row.task_id) return row.run_id ? make("span", { class: "small" }, row.run_id) : "";
  const part = (text) => encodeURIComponent(text);
  const run = `dags/${part(row.dag_id)}/runs/${part(row.run_id)}`;
  const task = `${run}/tasks/${part(row.task_id)}${row.map_index >= 0 ? `/mapped/${row.map_index}` : ""}`;
  const name = row.task_id.split(".").pop() + (row.map_index >= 0 ? ` [${row.map_index}]` : "");
  return make("div", { class: "small" },
    make("div", { class: "nowrap" }, inside(task, name)), make("div", {}, inside(run, "Open the run")));
}

async function showLinks(row, list) {
  const told = await ask("links", { request_id: row.request_id, account_id: row.account_id });
  const words = { stored: "", prepared: "not sent yet", sending: "being sent", refused: "refused", unknown: "unknown outcome" };
  list.replaceChildren(...told.rows.map((each) => {
    const state = each.presumed ? "taken for stored" : words[each.state];
    return make("li", {}, each.url ? outside(each.url) : "(text pruned)", state ? make("span", { class: "muted", title: each.evidence }, ` (${state})`) : null);
  }));
  if (told.rows.length < row.links) list.append(make("li", { class: "muted" }, `and ${plural(row.links - told.rows.length, "link")} more: likepion journal ${several ? `--manager ${shown.manager} ` : ""}show ${row.account_id}`));
}

function count() {
  for (const element of document.querySelectorAll("[data-until]")) {
    const left = Math.round((new Date(element.dataset.until) - Date.now() - clockSkewMs) / 1000);
    element.textContent = left > 0 ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left` : "lapsed";
  }
}

// --- what a person does ---

function query() {
  return queryOf({ ...filter, ...shown });
}

async function choose(changes, scroll = false) {
  Object.assign(filter, changes);
  offset.accounts = 0;
  offset.unknown = 0;
  for (const name of ["text", "standing", "domain", "group_id"]) $("filters").elements[name].value = filter[name];
  const words = queryOf({ ...filter, ...(several ? shown : {}) }).toString();
  history.replaceState(null, "", words ? `?${words}` : location.pathname);
  for (const card of $("cards").children) card.setAttribute("aria-pressed", String(card.classList.contains(filter.standing || "none")));
  await Promise.all([showAccounts(), showUnknown()]).then(() => complain(null), complain);
  if (scroll) $("accounts").scrollIntoView({ block: "start" });
}

function settle(row, verdict) {
  const there = verdict === "is_there";
  $("confirm-title").textContent = there ? "It is there?" : "Send it again?";
  $("confirm-text").textContent = there
    ? "The link is filed as stored and is never sent again."
    : "The next run sends the link. If the manager has it already, it will be there twice.";
  $("confirm-url").textContent = row.url;
  $("confirm-note").value = "";
  $("confirm-yes").textContent = there ? "It is there" : "Send again";
  const dialog = $("confirm");
  dialog.returnValue = "";
  dialog.onclose = async () => {
    if (dialog.returnValue !== "yes") return;
    try {
      await ask(`unknown/${row.link_id}`, {}, {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Likepion-Board": "1" },
        body: JSON.stringify({ verdict, note: $("confirm-note").value }),
      });
      say(there ? "Filed as stored." : "The next run sends it again.");
      complain(null);
    } catch (error) {
      complain(error);
    }
    await refresh(false);
  };
  dialog.showModal();
  $("confirm-note").focus();
}

async function refresh(clear = true) {
  try {
    await showOverview();
    await Promise.all([showGroups(), showChart(), showUnknown(), showAccounts()]);
    $("fresh").textContent = `as of ${new Date().toLocaleTimeString([], { timeStyle: "medium" })}`;
    if (clear) complain(null);
  } catch (error) {
    complain(error);
  }
}

function busy() {
  const at = document.activeElement;
  return document.hidden || $("confirm").open || (at && at !== document.body && at.closest("main") !== null);
}

$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.currentTarget.elements;
  choose({ text: form.text.value.trim(), standing: form.standing.value, domain: form.domain.value, group_id: form.group_id.value.trim() });
});
$("filters").addEventListener("change", (event) => {
  if (event.target.matches("select")) choose({ [event.target.name]: event.target.value });
});
$("manager").addEventListener("change", async (event) => {
  Object.assign(shown, { manager: event.target.value, dag_id: "" });
  offset.groups = 0;
  await choose(Object.fromEntries(FILTERS.map((name) => [name, ""])));
  await refresh();
});
$("clear").addEventListener("click", () => choose(Object.fromEntries(FILTERS.map((name) => [name, ""]))));
$("refresh").addEventListener("click", () => { say(""); refresh(); });
window.addEventListener("storage", theme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
theme();
for (const name of ["text", "standing", "group_id"]) $("filters").elements[name].value = filter[name];
refresh();
setInterval(count, 1000);
setInterval(() => { if (!busy()) refresh(); }, REFRESH_MS);
