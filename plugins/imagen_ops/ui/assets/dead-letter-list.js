// The list of dead letters: newest first, by reason and words, and a replay's form for some of them.

import { copyButton, formAsJson, whereToPaste } from "./clipboard.js";
import { el, setText } from "./dom.js";
import { count, parseTime, timeOrDate } from "./formatting.js";
import { relativeTime } from "./relative-time.js";
import { chip } from "./runbook.js";
import { fetchPanel, serverNow } from "./server.js";

const PAUSE_MS = 400;
// As many characters of a prompt as the index of failures holds.
const CHARACTERS_KEPT = 500;

export class LetterList {
  constructor(details) {
    this.details = details;
    const part = (selector) => details.querySelector(selector);
    this.words = part("input");
    this.reason = part("select");
    this.list = part(".letters");
    this.found = part(".listed");
    this.next = part(".next");
    this.chosen = new Set();
    this.cursor = null;
    this.asked = 0;
    this.counting = el("span", null);
    const copy = copyButton("Copy their replay form as JSON", () => formAsJson({ prompt_ids: [...this.chosen], dry_run: false }));
    this.selected = part(".selected");
    this.selected.append(this.counting, " ", copy, " ", ...whereToPaste("imagen_dead_letters_replay"));
    this.#showChosen();
    let pause = 0;
    this.words.addEventListener("input", () => {
      clearTimeout(pause);
      pause = setTimeout(() => this.#search(), PAUSE_MS);
    });
    this.reason.addEventListener("change", () => this.#search());
    this.next.addEventListener("click", () => this.#load());
    // Nothing is loaded that nobody looks at.
    details.addEventListener("toggle", () => details.open && this.#search());
  }

  /** Offer these reasons to choose from, beside the one that is chosen. */
  offerReasons(reasons) {
    const value = this.reason.value;
    const all = [...new Set(["", ...reasons, value])];
    if ([...this.reason.options].map((option) => option.value).join() === all.join()) return;
    this.reason.replaceChildren(...all.map((name) => el("option", { value: name, selected: name === value }, name || "any")));
  }

  /** Open the list, with the dead letters of one reason. */
  showReason(reason) {
    this.reason.value = reason;
    if (this.details.open) this.#search();
    else this.details.open = true;
    this.words.focus({ preventScroll: true });
    this.details.scrollIntoView({ block: "nearest" });
  }

  #search() {
    this.cursor = null;
    this.chosen.clear();
    this.list.replaceChildren();
    this.#showChosen();
    return this.#load();
  }

  async #load() {
    const asked = ++this.asked;
    const query = new URLSearchParams({ words: this.words.value });
    if (this.reason.value) query.set("reason", this.reason.value);
    if (this.cursor) query.set("before", this.cursor);
    setText(this.found, "Looking…");
    this.next.hidden = true;
    try {
      const { data, error } = await fetchPanel(`api/dead-letters/list?${query}`);
      if (asked !== this.asked) return; // the reader has changed the search meanwhile
      if (error !== null) throw new Error(error);
      this.cursor = data.next;
      this.next.hidden = data.next === null;
      this.list.append(...data.letters.map((letter) => this.#item(letter)));
      setText(this.found, this.#summary(data));
    } catch (error) {
      if (asked === this.asked) setText(this.found, `Cannot list them: ${error.message}.`);
      this.next.hidden = false;
    }
  }

  #summary({ next, until }) {
    const shown = `${count(this.list.children.length, "dead letter")} shown`;
    if (next === null) return `${shown}. There are no more in the last 14 days.`;
    const time = parseTime(until);
    return time ? `${shown}, back to ${timeOrDate(time, new Date(serverNow()))}.` : `${shown}.`;
  }

  #showChosen() {
    this.selected.hidden = !this.chosen.size;
    setText(this.counting, `${count(this.chosen.size, "prompt")} chosen.`);
  }

  #item({ prompt_id: id, prompt, reason, detail, retryable, at, source }) {
    const text = prompt || "(empty prompt)";
    const all = (prompt ?? "").length < CHARACTERS_KEPT;
    const box = id && el("input", { type: "checkbox", "aria-label": `Choose ${id}` });
    box?.addEventListener("change", () => {
      if (box.checked) this.chosen.add(id);
      else this.chosen.delete(id);
      this.#showChosen();
    });
    return el(
      "li",
      null,
      el("p", { class: "meta" }, box, chip(reason), relativeTime(at), el("span", null, source), el("span", null, retryable ? "may be replayed" : "not to be replayed"), id && el("code", null, id)),
      el("p", { class: "detail", dir: "auto" }, detail),
      el("p", { class: "prompt", dir: "auto", tabindex: 0, role: "group", "aria-label": "Prompt" }, text, !all && el("small", null, `The first ${CHARACTERS_KEPT} characters.`)),
      id && copyButton("Copy replay form", () => formAsJson({ prompt_ids: [id], dry_run: false })),
    );
  }
}
