// The plots in numbers, an hour a row.

import { el } from "./dom.js";
import { failuresOf, STATUSES } from "./series.js";
import { duration, known, number, when } from "./words.js";

const highest = (values) => Math.max(...values);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

const COLUMNS = [
  ["Backlog age, highest", ({ backlog_age: value }) => value, highest, duration],
  ["Backlog, highest", ({ backlog_size: value }) => value, highest, number],
  ["Watermark age, highest", ({ watermark_age: value }) => value, highest, duration],
  ["System lag, highest", ({ system_lag: value }) => value, highest, duration],
  ["Prompts a minute", ({ prompts_per_minute: value }) => value, mean, number],
  ["Images a minute", ({ images_per_minute: value }) => value, mean, number],
  ["Failures a minute", failuresOf, mean, number],
  ["Refused for quota a minute", ({ quota_refusals_per_minute: value }) => value, mean, number],
];

/** A table of the looks until `to` (ms), the newest hour first. */
export function byHour({ looks, to }) {
  const hours = new Map();
  for (const look of looks) {
    const start = new Date(look.t).setMinutes(0, 0, 0);
    hours.set(start, [...(hours.get(start) ?? []), look]);
  }
  const head = ["Hour", "Worst verdict", ...COLUMNS.map(([label]) => label)];
  return el(
    "table",
    null,
    el("thead", null, el("tr", null, head.map((label) => el("th", { scope: "col" }, label)))),
    el("tbody", null, [...hours].reverse().map(([start, those]) => row(start, those, to))),
  );
}

function row(start, looks, to) {
  const worst = Math.max(...looks.map(({ status }) => STATUSES.indexOf(status)));
  return el(
    "tr",
    null,
    el("th", { scope: "row" }, when(new Date(start), new Date(to))),
    el("td", null, STATUSES[worst] ?? "not known"),
    COLUMNS.map(([, valueOf, combine, words]) => {
      const values = looks.map(valueOf).filter(known);
      return el("td", { class: "n" }, values.length ? words(combine(values)) : "–");
    }),
  );
}
