// What became of each backfill's prompts, what it cost, and whether that adds up.

import { age } from "./ages.js";
import { el, keyed } from "./dom.js";
import { Panel } from "./panel.js";
import { linkTo } from "./server.js";
import { count, dollars, known, number, UNKNOWN } from "./words.js";

const COLUMNS = ["Planned", "Predictions", "Reused", "Failures", "Cost"];

export function backfillsPanel() {
  const rows = document.querySelector("#backfills tbody");
  return new Panel({
    id: "backfills",
    path: () => "api/backfills",
    show: ({ runs }) => keyed(rows, runs, { key: (run) => `${run.run_id} ${run.at}`, make: row }),
    isEmpty: ({ runs }) => !runs.length,
    empty:
      "No backfill has ended yet: `imagen_backfill` runs every midnight (UTC) over the prompt " +
      "files of the day before, or by hand over any.",
  });
}

function row(run) {
  const planned = run.planned ?? {};
  const counts = run.counts ?? {};
  const cells = [
    [number(rowsOf(planned)), known(planned.images_to_pay) && `${count(planned.images_to_pay, "image")} to pay`],
    [number(counts.predictions), known(counts.images) && count(counts.images, "image")],
    [number(counts.reused)],
    [number(counts.failures)],
    [dollars(run.cost_usd)],
  ];
  return el(
    "tr",
    { role: "row" },
    el("th", { role: "rowheader", scope: "row" }, ...who(run)),
    cells.map(([value, more], index) =>
      el(
        "td",
        {
          role: "cell",
          class: "n",
          "data-label": COLUMNS[index],
          "data-some": COLUMNS[index] === "Failures" && counts.failures > 0,
        },
        el("span", { class: "value" }, value === UNKNOWN ? el("span", { class: "unknown" }, UNKNOWN) : value),
        more && el("small", null, more),
      ),
    ),
    el("td", { role: "cell", class: "account", "data-label": "Adds up" }, ...account(run)),
  );
}

function who({ day, run_id: id, url, at, prompts }) {
  const href = linkTo(url);
  const name = day ?? "By hand";
  return [
    href ? el("a", { href, target: "_top" }, name) : el("span", null, name),
    el("small", null, "ended ", age(at)),
    el("small", { class: "run" }, id),
    // Its bucket is the deployment's own, always.
    prompts && el("small", { class: "run", title: prompts }, prompts.replace(/^gs:\/\/[^/]+\//, "")),
  ];
}

/** Rows of the files: prompts, and those that are none. */
function rowsOf({ prompts, invalid }) {
  return known(prompts) ? prompts + (known(invalid) ? invalid : 0) : undefined;
}

function account({ adds_up: adds, unaccounted = [], noted = [] }) {
  const notes = (noted ?? []).map((text) => el("small", { dir: "auto" }, text));
  if (adds === true) return [el("span", { class: "yes" }, "✓ yes"), ...notes];
  if (adds === false) {
    const missing = (unaccounted ?? []).map((text) => el("small", { class: "missing", dir: "auto" }, text));
    return [el("span", { class: "no" }, "✗ no"), ...missing, ...notes];
  }
  return [el("span", { class: "unknown" }, "nothing to do"), ...notes];
}
