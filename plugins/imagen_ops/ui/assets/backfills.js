// What came of each backfill's prompts, what it cost, whether every prompt is accounted for, and which
// run waits for somebody to approve it.

import { el, renderList } from "./dom.js";
import { count, dollars, fullTime, known, number, parseTime, UNKNOWN } from "./formatting.js";
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

function heading({ day, run_id: id, url, at, prompts, adds_up: addsUp, approval }) {
  const href = linkTo(url);
  const name = day ?? "Manual run";
  return [
    href ? el("a", { href, target: "_top" }, name) : el("span", null, name),
    el("small", null, approval && addsUp == null ? "last step " : "finished ", relativeTime(at)),
    el("small", { class: "run" }, id),
    // Without the bucket, which is always the deployment's own.
    prompts && el("small", { class: "run", title: prompts }, prompts.replace(/^gs:\/\/[^/]+\//, "")),
  ];
}

/** What the run cost, and beside it what was estimated; an unknown cost is never shown as 0. */
function cost({ cost_usd: usd, estimated_usd: estimated, unpriced_calls: unpriced, engines = [] }) {
  const details = [`estimated ${known(estimated) ? dollars(estimated) : "unknown"}`];
  if (unpriced > 0) details.push(`without ${count(unpriced, "call")} of unknown price`);
  for (const { engine, images, cost_usd: share } of engines ?? []) {
    details.push(`${engine}: ${count(images, "image")} for ${known(share) ? dollars(share) : "an unknown cost"}`);
  }
  return [dollars(usd), details.join(", ")];
}

/** Rows in the prompt files, valid or not: each becomes a prediction or a dead letter. */
function plannedRows({ prompts, invalid }) {
  return known(prompts) ? prompts + (known(invalid) ? invalid : 0) : undefined;
}

function account({ adds_up: addsUp, unaccounted = [], noted = [], approval }) {
  const notes = (noted ?? []).map((text) => el("small", { dir: "auto" }, text));
  if (approval && addsUp == null) return [...undecided(approval), ...notes];
  if (approval) notes.unshift(el("small", { dir: "auto" }, approvedBy(approval)));
  if (addsUp === true) return [el("span", { class: "yes" }, "✓ yes"), ...notes];
  if (addsUp === false) {
    const missing = (unaccounted ?? []).map((text) => el("small", { class: "missing", dir: "auto" }, text));
    return [el("span", { class: "no" }, "✗ no"), ...missing, ...notes];
  }
  return [el("span", { class: "unknown" }, "nothing to do"), ...notes];
}

const approvedBy = ({ by, max_images: images, max_cost_usd: usd }) =>
  `approved by ${by ?? "somebody"}: up to ${count(images, "image")}${known(usd) ? ` and ${dollars(usd)}` : ""}`;

/** A run that has no job yet, or never gets one. */
function undecided(approval) {
  const { decision, waits, by, until, url } = approval;
  if (waits) {
    const end = parseTime(until);
    const href = linkTo(url);
    return [
      el("b", null, href ? el("a", { href, target: "_top" }, "waits for approval") : "waits for approval"),
      end && el("small", null, `until ${fullTime(end)}, then it fails and nothing is paid`),
    ];
  }
  if (decision === "rejected") return [el("span", { dir: "auto" }, `rejected by ${by ?? "somebody"}: nothing was paid`)];
  if (decision === "approved") return [el("span", { dir: "auto" }, approvedBy(approval)), el("small", null, "not finished yet")];
  return [el("span", null, "nobody approved it: nothing was paid")];
}
