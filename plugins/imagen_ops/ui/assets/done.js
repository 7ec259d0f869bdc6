// What was done, by whom and with which form, the newest first.

import { copyButton, formAsJson } from "./clipboard.js";
import { el, renderList } from "./dom.js";
import { Panel } from "./panel.js";
import { relativeTime } from "./relative-time.js";
import { linkTo } from "./server.js";

const NAMES = {
  start: "Start",
  drain: "Drain",
  restart: "Restart by the health check",
  backfill: "Backfill",
  replay: "Replay of dead letters",
};
// What a form says by itself: fields that are empty say nothing.
const isGiven = ([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length);
const MAX_SHOWN = 4;

export function donePanel() {
  const list = document.querySelector("#done ul");
  return new Panel({
    id: "done",
    path: () => "api/done",
    show: ({ runs }) => renderList(list, runs, { key: ({ url }) => url, create: item }),
    isEmpty: ({ runs }) => !runs.length,
    empty: "Nothing was done in the last 14 days. The first start is that of `imagen_stream_start`.",
  });
}

function item({ what, at, by, url, form, job, result, run_id: id }) {
  const href = linkTo(url);
  const name = NAMES[what] ?? what;
  const given = Object.entries(form ?? {}).filter(isGiven);
  const shown = given.slice(0, MAX_SHOWN).map(([field, value]) => `${field} = ${JSON.stringify(value)}`);
  return el(
    "li",
    null,
    href ? el("a", { href, target: "_top", title: id }, name) : el("span", null, name),
    el("span", { class: "by" }, by ? `by ${by}` : "scheduled"),
    relativeTime(at),
    el("span", { class: result === "failed" ? "no" : "result" }, result ?? "end unknown"),
    job && el("code", null, job),
    given.length > 0 && el(
      "details",
      null,
      el("summary", null, `${shown.join(", ")}${given.length > MAX_SHOWN ? ", …" : ""}`),
      el("pre", null, formAsJson(form)),
      copyButton("Copy the form as JSON", () => formAsJson(form)),
    ),
  );
}
