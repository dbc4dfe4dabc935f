// The page as a whole: what is shown, when it is asked for again, and what a person types.
import { onChange } from "./actions.js";
import { NONE, filter, onReturn, read, shown, view, write } from "./address.js";
import {
  countDown, onChoose, showAccounts, showGroups, showOverview, showPlatforms, showReasons, showTrend, showUnknown, showWaiting, startOver,
} from "./panels.js";
import { $, complain, keepFocus, say } from "./tools.js";
import { clockTime, language, speak, t } from "./words.js";

const REFRESH_MS = 15000;
const TYPED = ["text", "group_id", "account_id"];
let asOf = "";

function theme() {
  const chosen = localStorage.getItem("theme");
  const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

function showFilter() {
  const form = $("filters").elements;
  for (const name of [...TYPED, "standing", "domain"]) form[name].value = filter[name];
  $("trend").elements.days.value = view.days;
  $("trend").elements.platform.value = view.platform;
  for (const card of $("cards").children) card.setAttribute("aria-pressed", String(card.classList.contains(filter.standing || "none")));
}

async function showChosen() {
  showFilter();
  await Promise.all([showAccounts(), showUnknown(), showWaiting()]).then(() => complain(null), complain);
}

async function choose(changes, scroll = false, samePage = false) {
  Object.assign(filter, changes);
  if (!samePage) {
    view.page = "1";
    startOver();
  }
  write();
  await showChosen();
  if (scroll) {
    $("accounts").scrollIntoView({ block: "start" });
    $("accounts").focus({ preventScroll: true });
  }
  keepFocus();
}

async function refresh(clear = true) {
  try {
    await showOverview();
    await Promise.all([showGroups(), showTrend(), showPlatforms(), showReasons(), showWaiting(), showUnknown(), showAccounts()]);
    asOf = clockTime(new Date());
    if (clear) complain(null);
  } catch (error) {
    complain(error);
  }
  tellFreshness();
}

function paused() {
  if ($("confirm").open) return t("paused while a question is open");
  if (document.activeElement?.matches("input, textarea")) return t("paused while you type");
  return "";
}

function tellFreshness() {
  const why = paused();
  $("fresh").textContent = [asOf && t("as of {time}", { time: asOf }), why].filter(Boolean).join(", ");
}

$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.currentTarget.elements;
  choose(Object.fromEntries(TYPED.map((name) => [name, form[name].value.trim()])));
});
$("filters").addEventListener("change", (event) => {
  const { name, value } = event.target;
  if (name === "sort") sortBy(...value.split(" "));
  else if (event.target.matches("select")) choose({ [name]: value });
});
$("trend").addEventListener("change", async (event) => {
  view[event.target.name] = event.target.value;
  write();
  await Promise.all([showTrend(), showPlatforms()]).catch(complain);
});
$("manager").addEventListener("change", async (event) => {
  Object.assign(shown, { manager: event.target.value, dag_id: "" });
  Object.assign(filter, NONE);
  startOver();
  view.page = "1";
  write();
  showFilter();
  await refresh();
});
$("language").elements.language.value = language;
$("language").addEventListener("change", (event) => speak(event.target.value));
$("clear").addEventListener("click", () => choose(NONE));
$("refresh").addEventListener("click", () => { say(""); refresh(); });

function sortBy(by, descending) {
  Object.assign(view, { sort: by, descending });
  choose({});
}

for (const head of document.querySelectorAll("th[data-sort] button")) {
  head.addEventListener("click", () => {
    const by = head.closest("th").dataset.sort;
    const first = ["updated_at", "links", "attempts"].includes(by) ? "true" : "false";
    sortBy(by, view.sort === by ? String(view.descending !== "true") : first);
  });
}

onChoose(choose);
onChange(() => refresh(false));
onReturn(() => { read(); startOver(); showFilter(); refresh(); });
window.addEventListener("storage", theme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
document.addEventListener("focusin", tellFreshness);
document.addEventListener("focusout", () => setTimeout(tellFreshness));
theme();
read();
showFilter();
refresh();
setInterval(countDown, 1000);
setInterval(() => { if (!document.hidden && !paused()) refresh(); }, REFRESH_MS);
