// Days as bars, each with a table that says the same.
import { make, render, shape, theirs } from "./tools.js";
import { day, number, parts, plural, t } from "./words.js";

const COLOURS = 6;

/** The days of an answer, as YYYY-MM-DD. */
export function daysOf(told) {
  return Array.from({ length: told.days }, (_, index) =>
    new Date(new Date(told.since).getTime() + index * 86400000).toISOString().slice(0, 10));
}

/** What an answer counts, stacked by platform: the largest, and the others together. */
function stacked(days, rows, value) {
  const sums = new Map();
  for (const row of rows) sums.set(row.domain, (sums.get(row.domain) ?? 0) + row[value]);
  const ranked = [...sums.keys()].sort((a, b) => sums.get(b) - sums.get(a));
  const largest = ranked.slice(0, COLOURS);
  const names = ranked.length > COLOURS ? [...largest, null] : largest;
  const at = new Map(days.map((each) => [each, names.map(() => 0)]));
  for (const row of rows) {
    const stack = at.get(row.day);
    if (stack) stack[largest.includes(row.domain) ? largest.indexOf(row.domain) : COLOURS] += row[value];
  }
  const totals = names.map((_, index) => [...at.values()].reduce((sum, stack) => sum + stack[index], 0));
  return { names, stacks: [...at.values()], totals, total: totals.reduce((sum, each) => sum + each, 0) };
}

/** The two trends, one below the other, over the same days. */
export function showTrends(where, legend, table, links, failures) {
  const days = daysOf(links);
  const delivered = stacked(days, links.rows, "links");
  const failed = days.map((each) => failures.rows.filter((row) => row.day === each).reduce((sum, row) => sum + row.failures, 0));
  const failedTotal = failed.reduce((sum, each) => sum + each, 0);
  const title = (index) => delivered.names[index] ?? t("others");
  render(where,
    make("p", { class: "trend" }, plural(delivered.total, "1 link delivered", "{count} links delivered")),
    delivered.total ? drawing(days, delivered.stacks, (index) => `c${index}`, 190) : null,
    make("p", { class: "trend" }, plural(failedTotal, "1 failure", "{count} failures")),
    failedTotal ? drawing(days, failed.map((each) => [each]), () => "failures", 90) : null);
  render(legend, delivered.names.map((_, index) => make("li", {},
    make("i", { class: `c${index}` }), theirs(title(index)), ` ${number(delivered.totals[index])}`)));
  render(table, days.map((each, index) => [each, delivered.stacks[index], failed[index]])
    .filter(([, stack, failures_]) => failures_ || stack.some(Boolean)).reverse()
    .map(([each, stack, failures_]) => make("tr", {},
      make("th", { scope: "row" }, day(each)),
      make("td", {}, number(stack.reduce((sum, count) => sum + count, 0))),
      make("td", {}, number(failures_)),
      make("td", {}, stack.map((count, which) => [count, which]).filter(([count]) => count).flatMap(([count, which], place) => [
        place ? ", " : "", ...parts("{platform} {count}", { platform: theirs(title(which)), count }),
      ])))));
}

// The table says the same in text, so to a screen reader this is decoration.
function drawing(days, stacks, tone, height) {
  const [width, left, bottom, top] = [620, 44, 22, 8];
  const most = Math.max(...stacks.map((stack) => stack.reduce((sum, count) => sum + count, 0)));
  const power = 10 ** Math.floor(Math.log10(most));
  const ceiling = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((each) => each >= most);
  const y = (count) => height - bottom - (count / ceiling) * (height - bottom - top);
  const slot = (width - left) / days.length;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const part of ceiling % 2 ? [0, 1] : [0, 0.5, 1]) {
    svg.append(
      shape("line", { class: "grid", x1: left, x2: width, y1: y(part * ceiling), y2: y(part * ceiling) }),
      shape("text", { x: left - 6, y: y(part * ceiling) + 4, "text-anchor": "end" }, number(part * ceiling)),
    );
  }
  const every = Math.ceil(days.length / 5);
  days.forEach((each, index) => {
    let below = 0;
    stacks[index].forEach((count, which) => {
      if (!count) return;
      svg.append(shape("rect", {
        class: tone(which), x: left + index * slot + slot * 0.14, width: slot * 0.72,
        y: y(below + count), height: Math.max(y(below) - y(below + count), 1), rx: 1.5,
      }, shape("title", {}, `${day(each)}: ${number(count)}`)));
      below += count;
    });
    if ((days.length - 1 - index) % every === 0) {
      const x = Math.min(left + (index + 0.5) * slot, width - 20);
      svg.append(shape("text", { x, y: height - 6, "text-anchor": "middle" }, day(each)));
    }
  });
  return svg;
}
