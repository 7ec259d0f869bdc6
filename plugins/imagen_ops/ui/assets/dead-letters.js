// Prompts that got no images: how many wait, how many for each reason, and the latest replays.

import { copyButton, formAsJson } from "./clipboard.js";
import { LetterList } from "./dead-letter-list.js";
import { el, renderList, renderSentence } from "./dom.js";
import { count, known, number, share } from "./formatting.js";
import { Panel } from "./panel.js";
import { relativeTime } from "./relative-time.js";
import { chip } from "./runbook.js";
import { linkTo } from "./server.js";

const MEANINGS = {
  INVALID_PROMPT: "the message or row is not a valid prompt",
  BLOCKED: "the model refused the prompt or withheld the image",
  NO_IMAGE: "the model answered three times without an image",
  MODEL_ERROR: "the model rejected the request, or was not found",
  UNAVAILABLE: "no answer or no quota until the time for retries was over",
  STORAGE_ERROR: "images could not be stored, or a prompt file could not be read",
  OVER_BUDGET: "the budget of a backfill, or of the stream's hour or day, was used up",
  CUSTOM_FUNCTION_FAILED: "a custom function of the deployment broke, or hung",
};

export function deadLettersPanel() {
  const section = document.getElementById("dead-letters");
  const list = new LetterList(section.querySelector(".all-of-them"));

  function show(data) {
    const { hours, by_reason: reasons, replays } = data;
    renderSentence(section.querySelector(".waiting"), { ...data, replays: null }, waitingSentence);
    const total = reasons.reduce((sum, reason) => sum + reason.count, 0);
    const items = [...reasons]
      .sort((one, other) => other.count - one.count)
      .map((reason) => ({ ...reason, share: share(reason.count, total) }));
    if (!items.length) items.push({ reason: null, hours });
    renderList(section.querySelector(".by-reason"), items, {
      key: ({ reason }) => reason,
      create: (item) => reasonItem(item, () => list.showReason(item.reason)),
    });
    list.offerReasons(items.map(({ reason }) => reason).filter(Boolean));
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
    isEmpty: ({ by_reason: reasons, replays, waiting }) => !reasons.length && !replays?.length && !waiting?.count,
    empty:
      "No dead letters in the last 24 hours. When there are some, trigger `imagen_dead_letters_replay` " +
      "to send the retryable ones back as prompts.",
  });
}

/** How many wait, as the last health check counted them, and how many of the newest may be replayed. */
function waitingSentence({ waiting, hours, by_reason: reasons, archive }) {
  const total = reasons.reduce((sum, reason) => sum + reason.count, 0);
  const retryable = reasons.reduce((sum, reason) => sum + (reason.retryable ?? 0), 0);
  const counted = waiting
    ? [el("strong", null, `${number(waiting.count)} ${waiting.count === 1 ? "waits" : "wait"}`), " to be replayed or archived, counted ", relativeTime(waiting.at), ". "]
    : ["How many wait is unknown: no health check has counted them yet. "];
  const period = `In the last ${count(known(hours) ? hours : 24, "hour")}: `;
  const link = linkTo(archive);
  return [
    ...counted,
    period, el("strong", null, number(total)), `, of which ${number(retryable)} may be replayed. `,
    link && el("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, "Archive"),
  ].filter(Boolean);
}

function reasonItem({ reason, hours, count: letters, retryable, share: percentage }, showAll) {
  if (reason === null) {
    return el("li", { class: "empty" }, `No dead letters in the last ${count(known(hours) ? hours : 24, "hour")}.`);
  }
  const list = el("button", { type: "button", class: "quiet" }, "List");
  list.addEventListener("click", showAll);
  return el(
    "li",
    { "data-reason": reason },
    chip(reason),
    el("strong", null, number(letters)),
    el("span", { class: "share" }, percentage),
    list,
    retryable > 0 && copyButton("Copy form of a dry run", () => formAsJson({ reasons: [reason], dry_run: true })),
    el("span", { class: "meaning" }, [MEANINGS[reason], retryable > 0 ? `${number(retryable)} may be replayed` : "not to be replayed"].filter(Boolean).join("; ")),
  );
}

function replayItem(replay) {
  const total = (counts) => Object.values(counts ?? {}).reduce((sum, value) => sum + value, 0);
  const parts = [
    `${number(total(replay.replayed))} replayed`,
    `${number(total(replay.archived) + (replay.unreadable ?? 0))} archived`,
    `${number(total(replay.left))} left in place`,
  ];
  const href = linkTo(replay.url);
  const id = el("code", null, replay.run_id);
  return el(
    "li",
    null,
    relativeTime(replay.at),
    el("span", null, `${parts.join(", ")}${replay.dry_run ? " (dry run: only counted)" : ""}`),
    replay.finished === false && el("strong", { class: "no" }, "did not finish"),
    href ? el("a", { href, target: "_top" }, id) : id,
  );
}
