// Prompts without images: how many of each reason, what some of them were, and what was replayed.

import { age } from "./ages.js";
import { el, keyed, say } from "./dom.js";
import { Panel } from "./panel.js";
import { cut, known, number, share } from "./words.js";

const SHOWN_CHARACTERS = 1_000;
const MEANINGS = {
  INVALID_PROMPT: "what came in is no prompt",
  BLOCKED: "the model refused the prompt, or withheld the image",
  NO_IMAGE: "the model answered without an image, three times",
  MODEL_ERROR: "the model answered an error about the request, or is not there",
  UNAVAILABLE: "no answer, or no quota, until the time for retries was over",
  STORAGE_ERROR: "the images could not be stored, or a prompt file not be read",
};

export function deadLettersPanel() {
  const section = document.getElementById("dead-letters");

  function show({ hours, by_reason: reasons, replays }) {
    if (known(hours)) say(section.querySelector(".hours"), number(hours));
    const all = reasons.reduce((sum, { count }) => sum + count, 0);
    const items = [...reasons]
      .sort((one, other) => other.count - one.count)
      .map((reason) => ({ ...reason, share: share(reason.count, all) }));
    if (!items.length) items.push({ reason: null });
    keyed(section.querySelector(".by-reason"), items, { key: ({ reason }) => reason, make: ofReason });
    section.querySelector(".replays").hidden = !replays?.length;
    keyed(section.querySelector(".replays ul"), replays ?? [], {
      key: ({ run_id: id, at }) => `${id} ${at}`,
      make: replay,
    });
  }

  return new Panel({
    id: "dead-letters",
    path: () => "api/dead-letters",
    show,
    isEmpty: ({ by_reason: reasons, replays }) => !reasons.length && !replays?.length,
    empty:
      "No dead letters in the last day. When there are some, `imagen_dead_letters_replay` sends " +
      "those back that are worth it.",
  });
}

function ofReason({ reason, count, share: part, samples = [] }) {
  if (reason === null) return el("p", { class: "empty" }, "No dead letters in the last day.");
  return el(
    "details",
    { "data-reason": reason },
    el(
      "summary",
      null,
      el("span", { class: "chip" }, reason),
      el("strong", null, number(count)),
      el("span", { class: "share" }, part),
      MEANINGS[reason] && el("span", { class: "meaning" }, MEANINGS[reason]),
    ),
    samples.length
      ? el("ul", { class: "samples" }, samples.map(sample))
      : el("p", { class: "empty" }, "No sample of these was kept."),
  );
}

function sample({ prompt_id: id, prompt, detail, retryable, at, source }) {
  return el(
    "li",
    null,
    el("p", { class: "prompt", dir: "auto" }, cut(prompt, SHOWN_CHARACTERS) || "(empty)"),
    el("p", { class: "detail", dir: "auto" }, detail),
    el(
      "p",
      { class: "meta" },
      age(at),
      el("span", null, source),
      el("span", null, retryable ? "worth replaying" : "not worth replaying"),
      id && el("code", null, id),
    ),
  );
}

function replay(record) {
  const total = (counts) => Object.values(counts ?? {}).reduce((sum, value) => sum + value, 0);
  const parts = [
    `${number(total(record.replayed))} back to the prompts`,
    `${number(total(record.archived) + (record.unreadable ?? 0))} archived`,
    `${number(total(record.left))} left`,
  ];
  return el(
    "li",
    null,
    age(record.at),
    el("span", null, `${parts.join(", ")}${record.dry_run ? " (only counted: a dry run)" : ""}`),
    record.finished === false && el("strong", { class: "no" }, "did not finish"),
    el("code", null, record.run_id),
  );
}
