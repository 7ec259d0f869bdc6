// The last day: one plot per question, all over the same time, and looked at the same moment.

import { Chart } from "./chart.js";
import { say } from "./dom.js";
import { byHour } from "./hours.js";
import { Panel } from "./panel.js";
import { failuresOf, holes, looksOf, REASONS, reasonsOf } from "./series.js";
import { known, moment, number, when } from "./words.js";

const HOUR_MS = 3_600_000;
const field = (name) => (look) => look[name];

const SPECS = [
  {
    spec: { id: "status", title: "Verdict", kind: "states", height: 3.6 },
    series: () => [{ words: ({ status }) => status ?? "not known", value: () => null }],
  },
  {
    spec: { id: "backlog-age", title: "Backlog age", kind: "line", unit: "duration", height: 11 },
    series: () => [{ tone: "tone-a", value: field("backlog_age") }],
  },
  {
    spec: { id: "backlog-size", title: "Backlog, messages", kind: "line", unit: "count", height: 11 },
    series: () => [{ tone: "tone-a", value: field("backlog_size") }],
  },
  {
    spec: { id: "lags", title: "Lags", kind: "line", unit: "duration", height: 11 },
    series: () => [
      { label: "watermark age", tone: "tone-a", value: field("watermark_age") },
      { label: "system lag", tone: "tone-b", value: field("system_lag") },
    ],
  },
  {
    spec: { id: "throughput", title: "Per minute", kind: "line", unit: "rate", height: 11 },
    series: () => [
      { label: "prompts", tone: "tone-a", value: field("prompts_per_minute") },
      { label: "images", tone: "tone-b", value: field("images_per_minute") },
    ],
  },
  {
    spec: { id: "failures", title: "Failures per minute", kind: "bars", unit: "rate", height: 11 },
    series: (looks) => {
      const reasons = reasonsOf(looks);
      if (!reasons.length) return [{ value: failuresOf }];
      return reasons.map((reason) => ({
        label: reason,
        tone: REASONS.includes(reason) ? `reason-${REASONS.indexOf(reason)}` : "reason-other",
        // Of a look that knows the failures, a reason that is not there had none.
        value: ({ failures_per_minute: failures }) => (failures ? (failures[reason] ?? 0) : null),
      }));
    },
  },
  {
    spec: { id: "quota", title: "Refused for quota, per minute", kind: "bars", unit: "rate", height: 11 },
    series: () => [{ tone: "reason-0", value: field("quota_refusals_per_minute") }],
  },
];

const hoursOf = ({ hours }) => (known(hours) ? hours : 24);

/** What all plots are drawn of: the time that the answer is about, and the looks within it. */
function frameOf(data, at) {
  const to = (moment(at) ?? new Date()).getTime();
  const from = to - hoursOf(data) * HOUR_MS;
  return { looks: looksOf(data.points).filter(({ t }) => t >= from && t <= to), from, to };
}

export function plotsPanel() {
  const section = document.getElementById("plots");
  const shownAt = section.querySelector(".shown-at");
  const table = section.querySelector(".by-hour");
  const charts = SPECS.map(({ spec, series }) => ({ chart: new Chart(spec, look), series }));
  section.querySelector(".charts").append(...charts.map(({ chart }) => chart.node));
  let frame = null;
  let seen = null; // the time (ms) of the look that the reader points at

  function look(index) {
    seen = index === null ? null : frame.looks[index].t;
    mark();
  }

  function mark() {
    // A refresh may have moved every index; the moment that is looked at stays what it is.
    const found = seen === null ? -1 : frame.looks.findIndex(({ t }) => t === seen);
    for (const { chart } of charts) chart.mark(found < 0 ? null : found);
    const last = frame.looks.at(-1);
    const date = new Date(found < 0 ? last.t : seen);
    say(shownAt, `${found < 0 ? "Values of the latest look, " : "Values at "}${when(date, new Date(frame.to))}`);
  }

  function draw() {
    for (const { chart, series } of charts) chart.draw(frame, series(frame.looks));
    mark();
  }

  function showTable() {
    if (table.open) table.querySelector(".sideways").replaceChildren(byHour(frame));
  }

  function show(data, at) {
    for (const element of section.querySelectorAll(".hours")) say(element, number(hoursOf(data)));
    frame = frameOf(data, at);
    section.querySelector(".legend-of-gaps").hidden = !holes(frame.looks, frame.from, frame.to).length;
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
    isEmpty: (data, at) => !frameOf(data, at).looks.length,
    empty:
      "Nothing to plot yet: each run of `imagen_stream_health` adds a point, every 5 minutes once " +
      "it is unpaused.",
  });
}
