// The state of the stream: the verdict and its reasons, the readings behind it, and how old it is.

import { el, renderList, setText } from "./dom.js";
import { bytes, count, dollars, duration, known, number, UNKNOWN } from "./formatting.js";
import { Panel } from "./panel.js";
import { relativeTime } from "./relative-time.js";
import { linkTo } from "./server.js";

const SYMBOLS = { HEALTHY: "✓", DEGRADED: "▲", DOWN: "✕" };
// Name, label, how to format the value, tooltip.
const READINGS = [
  ["system_lag", "System lag", duration, "How long the slowest prompt has been in progress"],
  ["watermark_age", "Watermark age", duration, "How old the oldest unfinished prompt is"],
  ["backlog_age", "Backlog age", duration, "How long the oldest unread prompt has been waiting"],
  ["backlog_size", "Backlog (messages)", number, "How many messages are waiting in the subscription"],
  ["canary", "Canary", duration, "How long a test message took through the stream"],
];
const TOTALS = [
  ["prompts", (n) => count(n, "prompt")],
  ["predictions", (n) => count(n, "prediction")],
  ["reused", (n) => `${number(n)} of them already stored`],
  ["failures", (n) => count(n, "dead letter")],
  ["images", (n) => count(n, "new image")],
  ["bytes", bytes],
  ["model_calls", (n) => count(n, "model call")],
  ["quota_refusals", (n) => count(n, "quota refusal")],
];

export function streamPanel() {
  const body = document.querySelector("#stream .body");
  const part = (selector) => body.querySelector(selector);

  function show(data) {
    const status = data.verdict?.status;
    const badge = part(".badge");
    badge.dataset.status = status in SYMBOLS ? status : "NONE";
    badge.toggleAttribute("data-stale", data.stale === true);
    setText(badge.querySelector(".symbol"), SYMBOLS[status] ?? "?");
    setText(badge.querySelector(".word"), status ?? "UNKNOWN");
    document.title = `${SYMBOLS[status] ?? "?"} ${status ?? "Unknown"} · Imagen`;
    showCheckTime(part(".checked"), data);
    showReasons(data.verdict ?? {});
    showReadings(data);
    part(".job").replaceChildren(...jobSentence(data));
    const totals = TOTALS.filter(([name]) => data.totals?.[name]).map(([name, format]) =>
      format(data.totals[name]),
    );
    setText(part(".cost"), costSentence(data.cost ?? {}));
    setText(part(".totals"), totals.length ? `Since the job started: ${totals.join(", ")}.` : "");
  }

  function showReasons({ status, headline = "", reasons = [] }) {
    const text = String(headline ?? "").replace(new RegExp(`^${status}: *`), "");
    const [first] = reasons;
    // Leave out a headline that only repeats the first reason.
    const repeats = first && text.startsWith(first.text.split(/\s+/).join(" "));
    setText(part(".headline"), repeats ? "" : text);
    renderList(part(".reasons"), reasons, {
      key: (reason) => `${reason.code} ${reason.text}`,
      create: (reason) =>
        el(
          "li",
          { "data-status": reason.status },
          el("span", { class: "chip", "data-status": reason.status }, reason.code),
          el("span", { class: "text", dir: "auto" }, reason.text),
        ),
    });
  }

  function showReadings(data) {
    const values = { ...data.readings, canary: data.canary_seconds };
    const items = READINGS.map(([name, label, format, tooltip]) => ({
      name,
      label,
      tooltip,
      value: known(values[name]) ? format(values[name]) : UNKNOWN,
    }));
    renderList(part(".readings"), items, {
      key: ({ name }) => name,
      create: ({ label, value, tooltip }) =>
        el(
          "div",
          { title: tooltip },
          el("dt", null, label),
          el("dd", { "data-unknown": value === UNKNOWN }, value === UNKNOWN ? "unknown" : value),
        ),
    });
  }

  return new Panel({
    id: "stream",
    path: () => "api/stream",
    show,
    empty:
      "No health check yet: `imagen_stream_health` runs every 5 minutes once you unpause it. " +
      "Start the stream with `imagen_stream_start`.",
  });
}

function showCheckTime(element, data) {
  element.toggleAttribute("data-stale", data.stale === true);
  element.replaceChildren(
    ...(data.stale ? [el("strong", null, "Stale:"), " last health check "] : ["Last health check "]),
    relativeTime(data.looked_at),
    ...(data.stale
      ? [
          ". ",
          el("code", null, "imagen_stream_health"),
          " has missed three or more health checks. Check whether the DAG is paused or its runs fail.",
        ]
      : []),
  );
}

/** What model calls cost, as far as it is known: an unknown cost is never shown as 0. */
function costSentence({ hour, day }) {
  const parts = [
    ["in the last hour", hour],
    ["in the last 24 hours", day],
  ].map(([when, spent]) => {
    const usd = known(spent?.usd) ? dollars(spent.usd) : "unknown";
    const unpriced = spent?.unpriced_calls > 0 ? ` and ${count(spent.unpriced_calls, "call")} of unknown price` : "";
    return `${usd}${unpriced} ${when}`;
  });
  return `Cost of model calls: ${parts.join(", ")}.`;
}

function jobSentence({ job, wanted }) {
  const wish = wanted ? "The stream should be running" : "The stream should not be running";
  if (!job) return [wanted ? `${wish}, but no job is active.` : `${wish}, and no job is active.`];
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
