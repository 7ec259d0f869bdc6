// The plots. All share the time axis, what was done in it, and the selected health check.

import { Chart } from "./chart.js";
import { el, renderList, setText } from "./dom.js";
import { timeOrDate } from "./formatting.js";
import { hourlyTable } from "./hourly-table.js";
import { Panel } from "./panel.js";
import { linkTo } from "./server.js";
import { checksOf, failuresOf, findGaps, REASONS, reasonsOf } from "./series.js";

const field = (name) => (check) => check[name];

const SPECS = [
  {
    spec: { id: "status", title: "Verdict", kind: "states", height: 3.6 },
    series: () => [{ text: ({ status }) => status ?? "unknown", value: () => null }],
  },
  {
    spec: { id: "backlog-age", title: "Backlog age", kind: "line", unit: "duration", height: 11 },
    series: (_, { backlog_age: limit }) => [{ tone: "tone-a", value: field("backlog_age"), limit }],
  },
  {
    spec: { id: "backlog-size", title: "Backlog (messages)", kind: "line", unit: "count", height: 11 },
    series: (_, { backlog_size: limit }) => [{ tone: "tone-a", value: field("backlog_size"), limit }],
  },
  {
    spec: { id: "lags", title: "Lag", kind: "line", unit: "duration", height: 11 },
    series: (_, limits) => [
      { label: "watermark age", tone: "tone-a", value: field("watermark_age"), limit: limits.watermark_age },
      { label: "system lag", tone: "tone-b", value: field("system_lag"), limit: limits.system_lag },
    ],
  },
  {
    spec: { id: "throughput", title: "Throughput per minute", kind: "line", unit: "rate", height: 11 },
    series: () => [
      { label: "prompts", tone: "tone-a", value: field("prompts_per_minute") },
      { label: "images", tone: "tone-b", value: field("images_per_minute") },
    ],
  },
  {
    spec: { id: "failures", title: "Dead letters per minute", kind: "bars", unit: "rate", height: 11 },
    series: (checks) => {
      const reasons = reasonsOf(checks);
      if (!reasons.length) return [{ value: failuresOf }];
      return reasons.map((reason) => ({
        label: reason,
        tone: REASONS.includes(reason) ? `reason-${REASONS.indexOf(reason)}` : "reason-other",
        // If a health check knows the failures, a reason that it does not list had none.
        value: ({ failures_per_minute: failures }) => (failures ? (failures[reason] ?? 0) : null),
      }));
    },
  },
  {
    spec: { id: "quota", title: "Quota refusals per minute", kind: "bars", unit: "rate", height: 11 },
    series: () => [{ tone: "reason-0", value: field("quota_refusals_per_minute") }],
  },
];

const NAMES = { start: "Start", drain: "Drain", restart: "Restart", backfill: "Backfill", deployment: "Deployment" };
const SHORTEST_ZOOM_MS = 60_000;
const HOUR_MS = 3_600_000;
// What is loaded until the reader chooses a time, and what may be shown of it.
const LOADED_HOURS = 24;
const SHORTER_HOURS = [1, 6];

/** The time that all plots show, the health checks in it, and what was done. */
function frameOf(data) {
  const [from, to] = [data.from, data.to].map((time) => Date.parse(time));
  const inside = ({ t }) => t >= from && t <= to;
  return { checks: checksOf(data.points).filter(inside), marks: checksOf(data.marks ?? []).filter(inside), from, to };
}

/** The fewest hours that hold all there is: in a day, a deployment of an hour is a sliver. */
function hoursOfAll({ points, marks, to, earlier }) {
  const first = Math.min(...[...points, ...(marks ?? [])].map(({ at }) => Date.parse(at)));
  const enough = SHORTER_HOURS.find((hours) => Date.parse(to) - hours * HOUR_MS <= first);
  return (earlier === false && enough) || LOADED_HOURS;
}

/** `2026-11-20T14:05`: a time as an input of the browser takes it, in the reader's time zone. */
function forInput(t) {
  const date = new Date(t);
  return new Date(t - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function plotsPanel() {
  const section = document.getElementById("plots");
  const part = (selector) => section.querySelector(selector);
  const shownAt = part(".shown-at");
  const table = part(".by-hour");
  const [start, end] = section.querySelectorAll(".own-range input");
  const charts = SPECS.map(({ spec, series }) => ({ chart: new Chart(spec, select, zoom), series }));
  part(".charts").append(...charts.map(({ chart }) => chart.node));
  charts[0].chart.node.after(part(".marks"));
  let frame = null;
  let limits = {};
  let selectedTime = null; // of the selected health check, in ms
  let range = null; // until the reader chooses one
  let latest = null;

  function select(index) {
    selectedTime = index === null ? null : frame.checks[index].t;
    showSelected();
  }

  function showSelected() {
    // By its time, because a refresh may have shifted every index.
    const index = selectedTime === null ? -1 : frame.checks.findIndex(({ t }) => t === selectedTime);
    for (const { chart } of charts) chart.select(index < 0 ? null : index);
    const time = timeOrDate(new Date(index < 0 ? frame.checks.at(-1).t : selectedTime), new Date(frame.to));
    setText(shownAt, index < 0 ? `Values of the latest health check, ${time}` : `Values at ${time}`);
  }

  function draw() {
    for (const { chart, series } of charts) chart.draw(frame, series(frame.checks, limits));
    showSelected();
  }

  function showTable() {
    if (table.open) table.querySelector(".sideways").replaceChildren(hourlyTable(frame));
  }

  function show(answer) {
    latest = answer;
    const hours = range ? null : hoursOfAll(answer);
    const shorter = SHORTER_HOURS.includes(hours);
    const data = shorter ? { ...answer, from: new Date(Date.parse(answer.to) - hours * HOUR_MS).toISOString() } : answer;
    press(range ? range.hours : String(hours));
    frame = frameOf(data);
    limits = data.limits ?? {};
    part(".legend-of-gaps").hidden = !findGaps(frame.checks, frame.from, frame.to).length;
    setText(part(".each"), data.each > 1 ? `Each point is of ${data.each} health checks: their worst verdict, highest readings and mean rates.` : "");
    renderList(part(".marks"), frame.marks, { key: ({ t, what }) => `${t} ${what}`, create: mark });
    draw();
    showTable();
  }

  function mark({ t, what, by, url, image }) {
    const href = linkTo(url);
    const name = NAMES[what] ?? what;
    return el(
      "li",
      { title: image },
      el("span", { class: `swatch mark ${what}`, "aria-hidden": "true" }),
      href ? el("a", { href, target: "_top" }, name) : name,
      `${by ? ` by ${by}` : ""}, ${timeOrDate(new Date(t), new Date(frame.to))}`,
    );
  }

  function press(hours) {
    for (const button of part(".ranges").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === hours));
    }
  }

  /** Show another time: the last hours, or from one time (ms) to another. */
  function choose(chosen) {
    range = chosen;
    press(chosen.hours);
    if (chosen.from) [start.value, end.value] = [chosen.from, chosen.to].map(forInput);
    setText(part(".range-trouble"), "");
    part(".own-range").open ||= Boolean(chosen.from);
    // What is loaded may be more than what was shown.
    if (panel.loadedPath === path() && !panel.body.hidden) show(latest);
    return panel.refreshIfOther();
  }

  function zoom(from, to) {
    if (to - from >= SHORTEST_ZOOM_MS) choose({ from: Math.floor(from), to: Math.ceil(to) });
  }

  function showOwn() {
    const [from, to] = [start.value, end.value].map((value) => new Date(value).getTime());
    if (Number.isNaN(from) || Number.isNaN(to)) return setText(part(".range-trouble"), "Fill in both times.");
    if (to <= from) return setText(part(".range-trouble"), "This time ends before it begins.");
    return choose({ from, to });
  }

  for (const button of part(".ranges").querySelectorAll("button")) {
    button.addEventListener("click", () => choose({ hours: button.value }));
  }
  part(".show-own").addEventListener("click", showOwn);
  part(".own-range").addEventListener("toggle", () => {
    if (frame && !start.value) [start.value, end.value] = [frame.from, frame.to].map(forInput);
  });
  table.addEventListener("toggle", showTable);
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (frame && contentRect.width !== width) draw();
    width = contentRect.width;
  }).observe(part(".charts"));

  const path = () => {
    const iso = (t) => new Date(t).toISOString();
    const { hours, from, to } = range ?? { hours: LOADED_HOURS };
    const query = hours ? { hours } : { from: iso(from), to: iso(to) };
    return `api/plots?${new URLSearchParams(query)}`;
  };
  const panel = new Panel({
    id: "plots",
    path,
    show,
    isEmpty: (data) => !frameOf(data).checks.length,
    empty:
      "Nothing to plot in this time. Each health check adds a point, every 5 minutes once you unpause " +
      "`imagen_stream_health`.",
  });
  return panel;
}
