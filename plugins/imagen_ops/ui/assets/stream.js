// How the stream is: the verdict, why, what it was made of, and how old it is.

import { age } from "./ages.js";
import { el, keyed, say } from "./dom.js";
import { Panel } from "./panel.js";
import { linkTo } from "./server.js";
import { bytes, count, duration, number, UNKNOWN, known } from "./words.js";

const SYMBOLS = { HEALTHY: "✓", DEGRADED: "▲", DOWN: "✕" };
const READINGS = [
  ["system_lag", "System lag", duration, "the longest that a prompt has been worked on"],
  ["watermark_age", "Watermark age", duration, "how old the oldest unfinished prompt is"],
  ["backlog_age", "Backlog age", duration, "how long the oldest prompt has waited"],
  ["backlog_size", "Backlog", number, "messages that wait"],
  ["canary", "Canary", duration, "a probe's way there and back"],
];
const TOTALS = [
  ["prompts", (n) => count(n, "prompt")],
  ["predictions", (n) => count(n, "prediction")],
  ["reused", (n) => `${number(n)} of them reused`],
  ["failures", (n) => count(n, "failure")],
  ["images", (n) => count(n, "image")],
  ["bytes", bytes],
  ["model_calls", (n) => count(n, "model call")],
  ["quota_refusals", (n) => `${number(n)} refused for quota`],
];

export function streamPanel() {
  const body = document.querySelector("#stream .body");
  const part = (selector) => body.querySelector(selector);

  function show(data) {
    const status = data.verdict?.status;
    const badge = part(".badge");
    badge.dataset.status = status in SYMBOLS ? status : "NONE";
    badge.toggleAttribute("data-stale", data.stale === true);
    say(badge.querySelector(".symbol"), SYMBOLS[status] ?? "?");
    say(badge.querySelector(".word"), status ?? "NOT KNOWN");
    document.title = `${SYMBOLS[status] ?? "?"} ${status ?? "Not known"} · Imagen`;
    showLooked(part(".looked"), data);
    showReasons(data.verdict ?? {});
    showReadings(data);
    part(".job").replaceChildren(...aboutJob(data));
    const totals = TOTALS.filter(([name]) => data.totals?.[name]).map(([name, words]) =>
      words(data.totals[name]),
    );
    say(part(".totals"), totals.length ? `So far: ${totals.join(", ")}.` : "");
  }

  function showReasons({ status, headline = "", reasons = [] }) {
    const said = String(headline ?? "").replace(new RegExp(`^${status}: *`), "");
    const [first] = reasons;
    // A headline that repeats its first reason would be read twice.
    const repeats = first && said.startsWith(first.text.split(/\s+/).join(" "));
    say(part(".headline"), repeats ? "" : said);
    keyed(part(".reasons"), reasons, {
      key: ({ code, text }) => `${code} ${text}`,
      make: ({ code, status: worth, text }) =>
        el(
          "li",
          { "data-status": worth },
          el("span", { class: "chip", "data-status": worth }, code),
          el("span", { class: "text", dir: "auto" }, text),
        ),
    });
  }

  function showReadings(data) {
    const values = { ...data.readings, canary: data.canary_seconds };
    const items = READINGS.map(([name, label, words, means]) => ({
      name,
      label,
      means,
      value: known(values[name]) ? words(values[name]) : UNKNOWN,
    }));
    keyed(part(".readings"), items, {
      key: ({ name }) => name,
      make: ({ label, value, means }) =>
        el(
          "div",
          { title: means },
          el("dt", null, label),
          el("dd", { "data-unknown": value === UNKNOWN }, value === UNKNOWN ? "not known" : value),
        ),
    });
  }

  return new Panel({
    id: "stream",
    path: () => "api/stream",
    show,
    empty:
      "No look yet: `imagen_stream_health` runs every 5 minutes once it is unpaused. " +
      "Start the stream with `imagen_stream_start`.",
  });
}

function showLooked(element, data) {
  element.toggleAttribute("data-stale", data.stale === true);
  element.replaceChildren(
    ...(data.stale ? [el("strong", null, "Stale:"), " last looked "] : ["Looked "]),
    age(data.looked_at),
    ...(data.stale
      ? [
          ". ",
          el("code", null, "imagen_stream_health"),
          " has missed three looks or more: see whether it is paused, or its runs fail.",
        ]
      : []),
  );
}

function aboutJob({ job, wanted }) {
  const wish = wanted ? "The stream should run" : "The stream should not run";
  if (!job) return [`${wish}; no job is active.`];
  const url = linkTo(job.url);
  const id = el("code", null, job.id);
  return [
    `${wish}. Job `,
    url ? el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, id) : id,
    " is ",
    el("strong", null, job.state),
    ".",
  ];
}
