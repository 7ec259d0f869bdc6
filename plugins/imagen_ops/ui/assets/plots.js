// The plots of the last 24 hours. All share the time axis and the selected health check.

import { Chart } from "./chart.js";
import { setText } from "./dom.js";
import { count, known, parseTime, timeOrDate } from "./formatting.js";
import { hourlyTable } from "./hourly-table.js";
import { Panel } from "./panel.js";
import { checksOf, failuresOf, findGaps, REASONS, reasonsOf } from "./series.js";

const HOUR_MS = 3_600_000;
const field = (name) => (check) => check[name];

const SPECS = [
  {
    spec: { id: "status", title: "Verdict", kind: "states", height: 3.6 },
    series: () => [{ text: ({ status }) => status ?? "unknown", value: () => null }],
  },
  {
    spec: { id: "backlog-age", title: "Backlog age", kind: "line", unit: "duration", height: 11 },
    series: () => [{ tone: "tone-a", value: field("backlog_age") }],
  },
  {
    spec: { id: "backlog-size", title: "Backlog (messages)", kind: "line", unit: "count", height: 11 },
    series: () => [{ tone: "tone-a", value: field("backlog_size") }],
  },
  {
    spec: { id: "lags", title: "Lag", kind: "line", unit: "duration", height: 11 },
    series: () => [
      { label: "watermark age", tone: "tone-a", value: field("watermark_age") },
      { label: "system lag", tone: "tone-b", value: field("system_lag") },
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

const hoursOf = ({ hours }) => (known(hours) ? hours : 24);

/** The time that all plots show, which ends at the answer's time, and the health checks in it. */
function frameOf(data, at) {
  const to = (parseTime(at) ?? new Date()).getTime();
  const from = to - hoursOf(data) * HOUR_MS;
  return { checks: checksOf(data.points).filter(({ t }) => t >= from && t <= to), from, to };
}

export function plotsPanel() {
  const section = document.getElementById("plots");
  const shownAt = section.querySelector(".shown-at");
  const table = section.querySelector(".by-hour");
  const charts = SPECS.map(({ spec, series }) => ({ chart: new Chart(spec, select), series }));
  section.querySelector(".charts").append(...charts.map(({ chart }) => chart.node));
  let frame = null;
  let selectedTime = null; // of the selected health check, in ms

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
    for (const { chart, series } of charts) chart.draw(frame, series(frame.checks));
    showSelected();
  }

  function showTable() {
    if (table.open) table.querySelector(".sideways").replaceChildren(hourlyTable(frame));
  }

  function show(data, at) {
    for (const element of section.querySelectorAll(".hours")) setText(element, count(hoursOf(data), "hour"));
    frame = frameOf(data, at);
    section.querySelector(".legend-of-gaps").hidden = !findGaps(frame.checks, frame.from, frame.to).length;
    draw();
    showTable();
  }

  table.addEventListener("toggle", showTable);
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (frame && contentRect.width !== width) draw();
    width = contentRect.width;
  }).observe(section.querySelector(".charts"));

  return new Panel({
    id: "plots",
    path: () => "api/plots",
    show,
    isEmpty: (data, at) => !frameOf(data, at).checks.length,
    empty:
      "Nothing to plot yet. Each health check adds a point, every 5 minutes once you unpause " +
      "`imagen_stream_health`.",
  });
}
