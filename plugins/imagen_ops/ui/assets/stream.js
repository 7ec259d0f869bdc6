// The state of the stream now, the readings of the last health check, and how old that is.

import { copyButton, formAsJson, whereToPaste } from "./clipboard.js";
import { el, renderList, renderSentence, setText } from "./dom.js";
import { bytes, count, dollars, duration, known, number, UNKNOWN } from "./formatting.js";
import { Panel } from "./panel.js";
import { lasting, relativeTime } from "./relative-time.js";
import { chip } from "./runbook.js";
import { airflowUrl, linkTo } from "./server.js";

const SYMBOLS = { HEALTHY: "✓", DEGRADED: "▲", DOWN: "✕", STOPPED: "■", STOPPING: "◧", STARTING: "▷", RUNNING: "▶" };
// What their texts say, the page says itself, from facts that are newer.
const OF_THE_STATE = new Set(["RUNNING", "DRAINED", "STOPPING", "STARTING", "NO_JOB", "UNWANTED_JOB"]);
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
  let form = {};
  part(".form").append(
    copyButton("Copy the running form as JSON", () => formAsJson(form)), " ", ...whereToPaste("imagen_stream_start"),
  );

  function show(data) {
    const word = data.word ?? "UNKNOWN";
    const check = data.check ?? {};
    const badge = part(".badge");
    badge.dataset.status = word in SYMBOLS ? word : "NONE";
    badge.toggleAttribute("data-stale", check.stale === true && data.checked === true);
    setText(badge.querySelector(".symbol"), SYMBOLS[word] ?? "?");
    setText(badge.querySelector(".word"), word);
    document.title = `${SYMBOLS[word] ?? "?"} ${word} · Imagen`;
    const { wanted, asked, job, last_job: last, start, waiting, checked } = data;
    const size = waiting?.backlog_size ?? check.readings?.backlog_size;
    renderSentence(part(".job"), { word, wanted, asked, job, last, start, size }, jobSentence);
    renderSentence(part(".checked"), { check: data.check && { ...check, readings: null }, checked }, checkSentence);
    part(".checked").toggleAttribute("data-stale", check.stale === true);
    showReasons(check.reasons ?? [], data.checked);
    showReadings(check, data);
    const totals = TOTALS.filter(([name]) => data.totals?.[name]).map(([name, format]) => format(data.totals[name]));
    setText(part(".totals"), totals.length ? `In the last 24 hours: ${totals.join(", ")}.` : "");
    setText(part(".cost"), costSentence(data.cost ?? {}));
    form = data.form ?? {};
    part(".form").hidden = !Object.keys(form).length;
  }

  /** The worst reason in one line, and the codes of the others; below, folded, all of them in full. */
  function showReasons(reasons, checked) {
    const told = reasons.filter(({ status }) => status !== "HEALTHY" || !checked || reasons.length > 1);
    const [first, ...others] = checked ? told : [];
    const line = part(".reason");
    line.hidden = !first;
    renderSentence(line, { told: checked ? told : [] }, () => [
      ...(first ? [chip(first.code, { "data-status": first.status }), " "] : []),
      el("span", { class: "text", dir: "auto" }, first && !OF_THE_STATE.has(first.code) ? firstSentence(first.text) : ""),
      ...(others.length ? [" Also: ", ...others.flatMap(({ code, status }) => [chip(code, { "data-status": status }), " "])] : []),
    ]);
    renderList(part(".reasons"), reasons, {
      key: (reason) => `${reason.code} ${reason.text}`,
      create: (reason) =>
        el(
          "li",
          { "data-status": reason.status },
          chip(reason.code, { "data-status": reason.status }),
          el("span", { class: "text", dir: "auto" }, reason.text),
        ),
    });
  }

  function showReadings({ readings, canary_seconds: canary, limits }, { waiting, checked }) {
    const values = { ...readings, canary, ...waiting };
    const items = READINGS.map(([name, label, format, tooltip]) => ({
      name,
      label,
      over: checked && known(limits?.[name]) && values[name] > limits[name],
      tooltip: known(limits?.[name]) ? `${tooltip}; the limit is ${format(limits[name])}` : tooltip,
      value: known(values[name]) ? format(values[name]) : UNKNOWN,
    }));
    renderList(part(".readings"), items, {
      key: ({ name }) => name,
      create: ({ label, value, tooltip, over }) =>
        el(
          "div",
          { title: tooltip },
          el("dt", null, label),
          el(
            "dd",
            { "data-unknown": value === UNKNOWN, "data-over": over },
            value === UNKNOWN ? "unknown" : value,
            over && el("span", { class: "over" }, " over its limit"),
          ),
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

/** Up to the first full stop before a capital letter: not that of “1.5 s”, of “16 h.”, or within a quotation. */
const firstSentence = (text) => String(text ?? "").match(/^(?:“[^”]*”|[^“])*?[.!?](?=\s+\p{Lu})/su)?.[0] ?? text;

function checkSentence({ check, checked }) {
  const health = el("a", { href: airflowUrl("dags/imagen_stream_health").href, target: "_top" }, "Check now");
  if (!check) return ["No health check yet. ", health, "."];
  const when = relativeTime(check.at);
  if (check.stale) {
    const dag = el("code", null, "imagen_stream_health");
    return [
      el("strong", null, "Stale:"), " last health check ", when, ". ", dag,
      " has missed three or more health checks. Check whether the DAG is paused or its runs fail.",
    ];
  }
  if (checked) return ["Last health check ", when, "."];
  return ["The last health check, ", when, `, was before that, and found it ${check.status}. `, health, " for a verdict."];
}

/** `ada, 2 min ago`: who asked for it and when, as far as that is known, with a link to the run. */
function request(asked) {
  const url = linkTo(asked?.url);
  const who = asked?.by ?? (url ? "a run" : null);
  if (!who) return [];
  const linked = url ? el("a", { href: url, target: "_top" }, who) : who;
  return [" by ", linked, ...(asked.at ? [", ", relativeTime(asked.at)] : [])];
}

/** The state of the stream in a sentence or two. Ages are counted here, not where it was found. */
function jobSentence(data) {
  const { word, wanted, job, start } = data;
  const by = request(data.asked);
  if (!job) {
    if (start) return ["Being started", ...request(start), ". No job is active yet.", ...lastJob(data)];
    if (wanted) return ["No job is active, but the stream should run.", ...lastJob(data)];
    return [...stopped(data, by), ...waitingPrompts(data), ...lastJob(data)];
  }
  const state = el("strong", null, job.state);
  const since = sinceWhen(job, state);
  const sentence = ["Job ", jobName(job), ...since];
  if (word === "STOPPING" && wanted === false) return [...sentence, ", stopped on purpose", ...by, "."];
  if (wanted === false) return [...sentence, ", but the stream should not run."];
  if (start) return [...sentence, ". A start is under way", ...request(start), "."];
  return [...sentence, ...(by.length ? [". Started", ...by] : []), "."];
}

function sinceWhen({ state, since }, shown) {
  // A launch is answered without a state.
  if (state === "UNKNOWN") return [" was launched", ...(since ? [" ", relativeTime(since)] : [])];
  return since ? [" has been ", shown, " for ", lasting(since)] : [" is ", shown];
}

function stopped({ wanted, asked }, by) {
  if (asked?.at) return ["Stopped on purpose", ...by, "."];
  if (asked) return ["Nobody has started the stream yet."];
  // As a record of an earlier version has it.
  return [wanted === false ? "No job is active, as intended." : "No job is active."];
}

function waitingPrompts({ size }) {
  return known(size) ? [` ${count(size, "prompt")} ${size === 1 ? "waits" : "wait"} for the next start.`] : [];
}

function lastJob({ last: job }) {
  if (!job) return [];
  const ended = el("strong", null, job.state);
  return [" The last job, ", jobName(job), ", ended as ", ended, ...(job.since ? [" ", relativeTime(job.since)] : []), "."];
}

function jobName(job) {
  const url = linkTo(job.url);
  const id = el("code", null, job.id);
  return url ? el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, id) : id;
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
