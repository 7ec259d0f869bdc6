// The values of the plots as a table, with one row per hour.

import { el } from "./dom.js";
import { duration, known, number, timeOrDate } from "./formatting.js";
import { failuresOf, STATUSES } from "./series.js";

const max = (values) => Math.max(...values);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Heading, value of a health check, how to combine the values of an hour, how to format the result.
const COLUMNS = [
  ["Max. backlog age", ({ backlog_age: value }) => value, max, duration],
  ["Max. backlog", ({ backlog_size: value }) => value, max, number],
  ["Max. watermark age", ({ watermark_age: value }) => value, max, duration],
  ["Max. system lag", ({ system_lag: value }) => value, max, duration],
  ["Prompts/min", ({ prompts_per_minute: value }) => value, mean, number],
  ["Images/min", ({ images_per_minute: value }) => value, mean, number],
  ["Dead letters/min", failuresOf, mean, number],
  ["Quota refusals/min", ({ quota_refusals_per_minute: value }) => value, mean, number],
];

/** A table of health checks until `to` (ms), the newest hour first. */
export function hourlyTable({ checks, to }) {
  const hours = new Map();
  for (const check of checks) {
    const start = new Date(check.t).setMinutes(0, 0, 0);
    hours.set(start, [...(hours.get(start) ?? []), check]);
  }
  const head = ["Hour", "Worst verdict", ...COLUMNS.map(([label]) => label)];
  return el(
    "table",
    null,
    el("thead", null, el("tr", null, head.map((label) => el("th", { scope: "col" }, label)))),
    el("tbody", null, [...hours].reverse().map(([start, ofHour]) => row(start, ofHour, to))),
  );
}

function row(start, checks, to) {
  const worst = Math.max(...checks.map(({ status }) => STATUSES.indexOf(status)));
  return el(
    "tr",
    null,
    el("th", { scope: "row" }, timeOrDate(new Date(start), new Date(to))),
    el("td", null, STATUSES[worst] ?? "unknown"),
    COLUMNS.map(([, valueOf, combine, format]) => {
      const values = checks.map(valueOf).filter(known);
      return el("td", { class: "n" }, values.length ? format(combine(values)) : "–");
    }),
  );
}
