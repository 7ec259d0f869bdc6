// Prompts that got no images: how many for each reason, samples of them, and the latest replays.

import { el, renderList, setText } from "./dom.js";
import { count, cut, known, number, share } from "./formatting.js";
import { Panel } from "./panel.js";
import { relativeTime } from "./relative-time.js";

const MAX_CHARACTERS = 1_000;
const MEANINGS = {
  INVALID_PROMPT: "the message or row is not a valid prompt",
  BLOCKED: "the model refused the prompt or withheld the image",
  NO_IMAGE: "the model answered three times without an image",
  MODEL_ERROR: "the model rejected the request, or was not found",
  UNAVAILABLE: "no answer or no quota until the time for retries was over",
  STORAGE_ERROR: "images could not be stored, or a prompt file could not be read",
  OVER_BUDGET: "the budget of a backfill, or of the stream's hour or day, was used up",
};

export function deadLettersPanel() {
  const section = document.getElementById("dead-letters");

  function show({ hours, by_reason: reasons, replays }) {
    if (known(hours)) setText(section.querySelector(".hours"), count(hours, "hour"));
    const total = reasons.reduce((sum, reason) => sum + reason.count, 0);
    const items = [...reasons]
      .sort((one, other) => other.count - one.count)
      .map((reason) => ({ ...reason, share: share(reason.count, total) }));
    if (!items.length) items.push({ reason: null });
    renderList(section.querySelector(".by-reason"), items, {
      key: ({ reason }) => reason,
      create: reasonDetails,
    });
    section.querySelector(".replays").hidden = !replays?.length;
    renderList(section.querySelector(".replays ul"), replays ?? [], {
      key: ({ run_id: id, at }) => `${id} ${at}`,
      create: replayItem,
    });
  }

  return new Panel({
    id: "dead-letters",
    path: () => "api/dead-letters",
    show,
    isEmpty: ({ by_reason: reasons, replays }) => !reasons.length && !replays?.length,
    empty:
      "No dead letters in the last 24 hours. When there are some, trigger `imagen_dead_letters_replay` " +
      "to send the retryable ones back as prompts.",
  });
}

function reasonDetails({ reason, count: letters, share: percentage, samples = [] }) {
  if (reason === null) return el("p", { class: "empty" }, "No dead letters in the last 24 hours.");
  return el(
    "details",
    { "data-reason": reason },
    el(
      "summary",
      null,
      el("span", { class: "chip" }, reason),
      el("strong", null, number(letters)),
      el("span", { class: "share" }, percentage),
      MEANINGS[reason] && el("span", { class: "meaning" }, MEANINGS[reason]),
    ),
    samples.length
      ? el("ul", { class: "samples" }, samples.map(sampleItem))
      : el("p", { class: "empty" }, "No samples available."),
  );
}

function sampleItem({ prompt_id: id, prompt, detail, retryable, at, source }) {
  return el(
    "li",
    null,
    el("p", { class: "prompt", dir: "auto" }, cut(prompt, MAX_CHARACTERS) || "(empty prompt)"),
    el("p", { class: "detail", dir: "auto" }, detail),
    el(
      "p",
      { class: "meta" },
      relativeTime(at),
      el("span", null, source),
      el("span", null, retryable ? "retryable" : "not retryable"),
      id && el("code", null, id),
    ),
  );
}

function replayItem(replay) {
  const total = (counts) => Object.values(counts ?? {}).reduce((sum, value) => sum + value, 0);
  const parts = [
    `${number(total(replay.replayed))} replayed`,
    `${number(total(replay.archived) + (replay.unreadable ?? 0))} archived`,
    `${number(total(replay.left))} left in place`,
  ];
  return el(
    "li",
    null,
    relativeTime(replay.at),
    el("span", null, `${parts.join(", ")}${replay.dry_run ? " (dry run: only counted)" : ""}`),
    replay.finished === false && el("strong", { class: "no" }, "did not finish"),
    el("code", null, replay.run_id),
  );
}
