// What images cost today and this month, in UTC. What is unknown is said, and never shown as 0.

import { el, renderList, setText } from "./dom.js";
import { count, dollars, fullTime, known, number, parseTime, share, timeOrDate } from "./formatting.js";
import { Panel } from "./panel.js";
import { serverNow } from "./server.js";

export function moneyPanel() {
  const body = document.querySelector("#money .body");

  function show({ day, month, indexed, budgets }) {
    const sums = [
      { name: "Stream", note: "by its health checks", cells: [day, month].map(({ stream }) => streamCost(stream)) },
      { name: "Backfills", note: "that have ended", cells: [day, month].map(({ backfills }) => backfillCost(backfills)) },
    ];
    renderList(body.querySelector(".sums tbody"), sums, {
      key: ({ name }) => name,
      create: ({ name, note, cells }) =>
        el("tr", null, el("th", { scope: "row" }, name, el("small", null, note)), cells.map(sumCell)),
    });
    renderList(body.querySelector(".budgets"), budgets, { key: ({ period }) => period, create: budgetItem });
    setText(body.querySelector(".indexed"), completeness(indexed, month));
    const today = new Map(day.by.map((row) => [keyOf(row), row]));
    const rows = month.by.map((row) => ({ ...row, today: today.get(keyOf(row)) ?? null }));
    renderList(body.querySelector(".by-model tbody"), rows, { key: keyOf, create: modelRow });
    body.querySelector(".by-model").hidden = !rows.length;
  }

  return new Panel({
    id: "money",
    path: () => "api/money",
    show,
    empty: "Nothing was paid for yet.",
  });
}

const keyOf = ({ model, source }) => `${model} ${source}`;

function streamCost({ usd, unpriced_calls: unpriced }) {
  return [money(usd), unpriced > 0 && `and ${count(unpriced, "call")} of unknown price`];
}

function backfillCost({ runs, usd, estimated_usd: estimated, unknown, not_estimated: notEstimated }) {
  if (!runs) return ["none", null];
  const estimate = `estimated ${money(estimated)}${notEstimated && known(estimated) ? ` without ${count(notEstimated, "run")}` : ""}`;
  const missing = unknown ? `, the cost of ${count(unknown, "run")} is unknown` : "";
  return [money(usd), `${count(runs, "run")}, ${estimate}${missing}`];
}

const money = (usd) => (known(usd) ? dollars(usd) : "unknown");

const sumCell = ([value, detail]) =>
  el("td", { class: "n" }, el("span", { "data-unknown": value === "unknown" }, value), detail && el("small", null, detail));

function budgetItem({ period, images, left, leased, spent, unreadable, renewed_at: renewed }) {
  const name = `Budget of this ${period}`;
  if (unreadable) return el("li", null, `${name}: unknown. Its ledger cannot be read.`);
  if (!known(images)) return el("li", null, `${name}: none, or nothing was paid from it yet.`);
  const at = parseTime(renewed);
  return el(
    "li",
    { title: at && fullTime(at) },
    `${name}: `,
    el("b", null, `${number(left)} of ${count(images, "image")} left`),
    `, ${number(spent)} paid for`,
    leased > 0 && `, ${number(leased)} more leased by workers`,
    at && `; a new one begins at ${timeOrDate(at, new Date(serverNow()))}`,
    ".",
  );
}

function completeness({ since, complete, error }, month) {
  if (error) return `The index of images cannot be read, so the table may lack images: ${error}.`;
  if (!complete) return "The index of images is still being read, so the table lacks images.";
  const from = parseTime(since);
  if (!from) return "No images this month.";
  return from > parseTime(month.since)
    ? `The index of images begins on ${fullTime(from)}: what was made before is not in the table.`
    : "";
}

function modelRow({ model, source, today, usd, images, prompts, reused, unknown }) {
  const cost = (row) => {
    if (!row) return "$0.00";
    if (row.unknown && !row.usd) return "unknown";
    return `${dollars(row.usd)}${row.unknown ? ` and ${count(row.unknown, "prompt")} of unknown cost` : ""}`;
  };
  const cells = [source || "unknown", cost(today), cost({ usd, unknown }), number(images), number(prompts), `${number(reused)} (${share(reused, prompts)})`];
  return el("tr", null, el("th", { scope: "row" }, model || "unknown"), cells.map((cell) => el("td", null, cell)));
}
