// The search box and its filters. The address keeps what is searched for, also around Airflow's iframe.

import { el, renderList, setText } from "./dom.js";
import { count, number, parseTime } from "./formatting.js";
import { keepInAddress, readAddress } from "./frame.js";

const DAY = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });

export class SearchForm {
  /** @param {() => void} changed called after the reader has asked for something else */
  constructor(changed) {
    this.form = document.getElementById("search");
    this.changed = changed;
    this.found = this.form.querySelector(".result");
    this.filters = this.form.querySelector(".filters");
    this.reset = this.form.querySelector("[type=reset]");
    this.asked = this.#read(readAddress());
    this.#fill();
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask(this.#read(new FormData(this.form)));
    });
    this.form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.#ask(new URLSearchParams());
      this.#fill();
      this.form.elements.q.focus();
    });
  }

  /** Whether something is searched for, rather than the newest images shown. */
  get active() {
    return this.asked.size > 0;
  }

  /** Say what was found, how much was searched, or why the search makes no sense. */
  show({ problem, found, searched, choices }) {
    this.found.toggleAttribute("data-problem", Boolean(problem));
    setText(this.found, problem ? sentence(problem) : this.active ? result(found, searched) : "");
    for (const [name, values] of Object.entries(choices ?? {})) {
      renderList(document.getElementById(name), values.map((value) => ({ value })), {
        key: ({ value }) => value,
        create: ({ value }) => el("option", { value }),
      });
    }
  }

  #ask(asked) {
    this.asked = asked;
    keepInAddress(this.#names(), asked);
    setText(this.found, this.active ? "Searching…" : "");
    this.found.removeAttribute("data-problem");
    this.#mark();
    this.changed();
  }

  #fill() {
    for (const name of this.#names()) this.form.elements[name].value = this.asked.get(name) ?? "";
    if ([...this.asked.keys()].some((name) => name !== "q")) this.filters.open = true;
    this.#mark();
  }

  #mark() {
    this.reset.hidden = !this.active;
  }

  #read(source) {
    const asked = new URLSearchParams();
    for (const name of this.#names()) {
      const value = String(source.get(name) ?? "").trim();
      if (value) asked.set(name, value);
    }
    return asked;
  }

  #names() {
    return [...this.form.elements].map(({ name }) => name).filter(Boolean);
  }
}

function result(found, searched) {
  const { prompts, since, complete, error } = searched ?? {};
  const from = parseTime(since);
  const back = from ? ` back to ${DAY.format(from)}` : "";
  const of = `${count(prompts, "prompt")}${back}`;
  const seen = found?.prompts
    ? `${count(found.prompts, "prompt")} with ${count(found.images, "image")}, of ${of}.`
    : `No image matches. ${number(prompts)} prompts${back} were searched, by the first 500 characters of each.`;
  if (error) return `${seen} What came since then cannot be read: ${sentence(error)}`;
  return complete ? seen : `${seen} Older ones are still being read.`;
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
