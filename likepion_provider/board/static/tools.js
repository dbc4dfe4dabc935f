// Elements, focus and requests. Text only ever becomes a text node.
import { language, t } from "./words.js";
import { shown } from "./address.js";

export const $ = (id) => document.getElementById(id);
export const airflow = location.pathname.replace(/likepion\/?$/, "");
const framed = window.parent !== window;
const asking = {};

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export function shape(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** What a stranger wrote: its direction stays its own. */
export const theirs = (text) => make("bdi", {}, text);

/** A button; `key` names it, so that it has the focus again after it was made anew. */
export function button(key, words, onclick, attributes = {}) {
  return make("button", { type: "button", "data-key": key, onclick, ...attributes }, words);
}

const FOCUSABLE = "button:not(:disabled), a[href], input, select, textarea, summary";

/** Replace what is in an element; the focus stays where it was, or as near as can be. */
export function render(element, ...children) {
  const at = document.activeElement;
  const index = element.contains(at) ? [...element.querySelectorAll(FOCUSABLE)].indexOf(at) : -1;
  const key = at?.dataset?.key;
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  if (index < 0) return;
  const all = [...element.querySelectorAll(FOCUSABLE)];
  const next = all.find((each) => each.dataset.key === key) ?? all[Math.min(index, all.length - 1)];
  (next ?? $("accounts")).focus({ preventScroll: true });
}

/** The focus is never lost to the page as a whole. */
export function keepFocus() {
  if (document.activeElement === document.body || document.activeElement?.offsetParent === null) $("accounts").focus({ preventScroll: true });
}

export function copyable(key, text, name) {
  const copy = button(`copy ${key}`, t("Copy"), async () => {
    await copyText(text);
    say(t("Copied: {text}", { text }));
  }, { class: "small-button", "aria-label": t("Copy {name} {text}", { name, text }) });
  return make("span", { class: "copyable" }, make("code", {}, theirs(text)), copy);
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Not granted in a frame, nor without TLS.
    const field = make("textarea", { class: "unseen" });
    field.value = text;
    const before = document.activeElement;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    before?.focus();
  }
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

export function outside(url, attributes = {}) {
  if (!/^https?:\/\//i.test(url)) return theirs(url);
  return make("a", { href: url, target: "_blank", rel: "noopener noreferrer", onclick: follow, ...attributes }, theirs(url));
}

export function inside(path, words, attributes = {}) {
  return make("a", { href: airflow + path, onclick: follow, ...attributes }, words);
}

export const runPath = (dagId, runId) => `dags/${encodeURIComponent(dagId)}/runs/${encodeURIComponent(runId)}`;

export function queryOf(parameters) {
  return new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined && value !== null));
}

/** Why a question has no answer, in words that say what to do. */
export class Unanswered extends Error {
  constructor(words, kind) {
    super(words);
    this.kind = kind;
  }
}

export async function ask(path, parameters = {}, options = {}) {
  let answer;
  try {
    answer = await fetch(`api/${path}?${queryOf({ ...parameters, ...shown, lang: language })}`, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unanswered(t("Airflow's API server does not answer. The board asks again by itself; see that the server runs."), "gone");
  }
  if (answer.ok) return answer.json();
  if (answer.status === 401) throw new Unanswered(t("Your session is over. Sign in to Airflow, then open the board again."), "signed out");
  const said = await answer.json().catch(() => ({}));
  throw new Unanswered(typeof said.detail === "string" ? said.detail : t("The board answered {status}", { status: answer.status }), "refused");
}

export function post(path, body) {
  return ask(path, {}, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Likepion-Board": "1" },
    body: JSON.stringify(body),
  });
}

// Where a part is asked for twice, the last question counts, whichever answer comes first.
export function askLast(part, path, parameters) {
  asking[part]?.abort();
  asking[part] = new AbortController();
  return ask(path, parameters, { signal: asking[part].signal });
}

export function say(...words) {
  $("status").replaceChildren(...words.flat());
}

export function complain(error) {
  if (error?.name === "AbortError") return;
  const signIn = error?.kind === "signed out" ? [" ", inside("", t("Sign in"))] : [];
  $("trouble").replaceChildren(...(error ? [error.message, ...signIn] : []));
  $("trouble").hidden = !error;
}

export function sentence(words) {
  return words ? `${words[0].toUpperCase()}${words.slice(1).replace(/\.$/, "")}.` : "";
}
