// What came of each backfill's prompts, what it cost, and whether every prompt is accounted for.

import { el, renderList } from "./dom.js";
import { count, dollars, known, number, UNKNOWN } from "./formatting.js";
import { Panel } from "./panel.js";
import { relativeTime } from "./relative-time.js";
import { linkTo } from "./server.js";

const COLUMNS = ["Planned", "Predictions", "Already stored", "Dead letters", "Cost"];

export function backfillsPanel() {
  const rows = document.querySelector("#backfills tbody");
  return new Panel({
    id: "backfills",
    path: () => "api/backfills",
    show: ({ runs }) => renderList(rows, runs, { key: (run) => `${run.run_id} ${run.at}`, create: row }),
    isEmpty: ({ runs }) => !runs.length,
    empty:
      "No backfill has finished yet. Every midnight (UTC) one runs over the prompt files of the day " +
      "before. For any other files, trigger `imagen_backfill`.",
  });
}

function row(run) {
  const planned = run.planned ?? {};
  const counts = run.counts ?? {};
  const cells = [
    [
      number(plannedRows(planned)),
      known(planned.images_to_pay) && count(planned.images_to_pay, "new image"),
    ],
    [number(counts.predictions), known(counts.images) && count(counts.images, "new image")],
    [number(counts.reused)],
    [number(counts.failures)],
    cost(run),
  ];
  return el(
    "tr",
    { role: "row" },
    el("th", { role: "rowheader", scope: "row" }, ...heading(run)),
    cells.map(([value, detail], index) =>
      el(
        "td",
        {
          role: "cell",
          class: "n",
          "data-label": COLUMNS[index],
          "data-some": COLUMNS[index] === "Dead letters" && counts.failures > 0,
        },
        el("span", { class: "value" }, value === UNKNOWN ? el("span", { class: "unknown" }, UNKNOWN) : value),
        detail && el("small", null, detail),
      ),
    ),
    el("td", { role: "cell", class: "account", "data-label": "Accounted for" }, ...account(run)),
  );
}

function heading({ day, run_id: id, url, at, prompts }) {
  const href = linkTo(url);
  const name = day ?? "Manual run";
  return [
    href ? el("a", { href, target: "_top" }, name) : el("span", null, name),
    el("small", null, "finished ", relativeTime(at)),
    el("small", { class: "run" }, id),
    // Without the bucket, which is always the deployment's own.
    prompts && el("small", { class: "run", title: prompts }, prompts.replace(/^gs:\/\/[^/]+\//, "")),
  ];
}

/** What the run cost, and beside it what was estimated; an unknown cost is never shown as 0. */
function cost({ cost_usd: usd, estimated_usd: estimated, unpriced_calls: unpriced }) {
  const details = [`estimated ${known(estimated) ? dollars(estimated) : "unknown"}`];
  if (unpriced > 0) details.push(`without ${count(unpriced, "call")} of unknown price`);
  return [dollars(usd), details.join(", ")];
}

/** Rows in the prompt files, valid or not: each becomes a prediction or a dead letter. */
function plannedRows({ prompts, invalid }) {
  return known(prompts) ? prompts + (known(invalid) ? invalid : 0) : undefined;
}

function account({ adds_up: addsUp, unaccounted = [], noted = [] }) {
  const notes = (noted ?? []).map((text) => el("small", { dir: "auto" }, text));
  if (addsUp === true) return [el("span", { class: "yes" }, "✓ yes"), ...notes];
  if (addsUp === false) {
    const missing = (unaccounted ?? []).map((text) => el("small", { class: "missing", dir: "auto" }, text));
    return [el("span", { class: "no" }, "✗ no"), ...missing, ...notes];
  }
  return [el("span", { class: "unknown" }, "nothing to do"), ...notes];
}
