// Every word, number and time that a person reads passes here.

// The languages that there are words in; the first one is the page's own.
const LANGUAGES = ["en", "vi"];
const CHOSEN = "likepion-language";

const wanted = [localStorage.getItem(CHOSEN) ?? "", ...(navigator.languages ?? [])].map((each) => each.split("-")[0]);
export const language = wanted.find((each) => LANGUAGES.includes(each)) ?? LANGUAGES[0];
document.documentElement.lang = language;
const catalogue = language === LANGUAGES[0] ? {} : await words();
translatePage();

async function words() {
  // Without them the page still works, in its own language.
  const answer = await fetch(`static/words.${language}.json`, { credentials: "same-origin" }).catch(() => null);
  return answer?.ok ? answer.json() : {};
}

function translatePage() {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    const own = text.data.trim();
    if (own && text.parentElement.translate) text.data = text.data.replace(own, () => said(own));
  }
  for (const name of ["aria-label", "placeholder", "title"]) {
    for (const element of document.querySelectorAll(`[${name}]`)) element.setAttribute(name, said(element.getAttribute(name)));
  }
}

function said(text) { return catalogue[text.replace(/\s+/g, " ")] || text; }

/** Show the page in another language from now on, in this browser. */
export function speak(chosen) {
  localStorage.setItem(CHOSEN, chosen);
  location.reload();
}

// Numbers and times as the reader's region writes them, where it speaks the page's language.
const locale = navigator.languages?.find((each) => each.split("-")[0] === language) ?? language;

const numbers = new Intl.NumberFormat(locale);
const percents = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });
const times = new Intl.DateTimeFormat(locale, {
  day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
});
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
const days = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone: "UTC" });

const shown = (value) => (typeof value === "number" ? numbers.format(value) : String(value));

// Blanks at the ends belong to a sentence of the code's.
function message(text) { return catalogue[text] || text; }

/** A sentence with its fields filled in. */
export function t(text, fields = {}) {
  return message(text).replace(/\{(\w+)\}/g, (_, name) => shown(fields[name]));
}

/** A sentence whose fields may be elements, as a list of texts and elements. */
export function parts(text, fields) {
  return message(text).split(/(\{\w+\})/).filter(Boolean).map((part) => {
    const value = fields[/^\{(\w+)\}$/.exec(part)?.[1]];
    return value === undefined ? part : value instanceof Node ? value : shown(value);
  });
}

/** One of two sentences, by a number. */
export function plural(count, one, many, fields = {}) {
  return t(count === 1 ? one : many, { count, ...fields });
}

export const number = (value) => numbers.format(value);
export const percent = (value) => percents.format(value);
export const when = (iso) => (iso ? times.format(new Date(iso)) : "");
export const clockTime = (date) => clock.format(date);
/** A day of UTC. */
export const day = (iso) => days.format(new Date(`${iso}T00:00:00Z`));

/** How long, in its largest unit. */
export function lasting(seconds) {
  if (seconds >= 172800) return t("{count} days", { count: Math.floor(seconds / 86400) });
  if (seconds >= 7200) return t("{count} h", { count: Math.floor(seconds / 3600) });
  if (seconds >= 60) return t("{count} min", { count: Math.floor(seconds / 60) });
  return t("less than a minute");
}

export const NAMES = {
  delivered: t("Delivered"), waiting: t("Waiting"), needs_person: t("Needs a person"), failed: t("Failed"),
  unknown: t("Unknown outcome"), retired: t("Retired"),
};
