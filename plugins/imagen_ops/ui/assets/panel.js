// One part of the page: asks for its own data, says its own trouble, and leaves the others alone.

import { el, marked, say } from "./dom.js";
import { ask, Refused, serverNow, SignedOut } from "./server.js";
import { moment, when } from "./words.js";

export class Panel {
  /**
   * @param {object} given
   * @param {string} given.id of its section
   * @param {() => string} given.path to ask
   * @param {(data: object, at: string) => void} given.show
   * @param {(data: object, at: string) => boolean} [given.isEmpty] of data that holds nothing to show
   * @param {string} given.empty what to do to have something here; code between backticks
   */
  constructor({ id, path, show, isEmpty = () => false, empty }) {
    Object.assign(this, { id, path, show, isEmpty });
    this.section = document.getElementById(id);
    this.body = this.section.querySelector(".body");
    this.trouble = el("p", { class: "trouble", role: "status" });
    this.empty = el("p", { class: "empty", hidden: true }, marked(empty));
    this.body.before(this.trouble, this.empty);
    this.body.hidden = true;
    this.goodAt = null;
    this.pending = null;
  }

  /** Ask and show; the same asking while one is under way. Gives "good", "troubled" or an error. */
  refresh() {
    this.pending ??= this.#refresh().finally(() => {
      this.pending = null;
    });
    return this.pending;
  }

  async #refresh() {
    let outcome = "good";
    try {
      const { at, data, error } = await ask(this.path());
      if (data !== null) this.#fill(data, at);
      else if (error === null) this.#clear();
      this.#complain(error);
      outcome = error === null ? "good" : "troubled";
    } catch (error) {
      outcome = error instanceof SignedOut || error instanceof Refused ? error : "troubled";
      this.#complain(wordsOf(error));
    }
    this.section.removeAttribute("aria-busy");
    this.section.dataset.state = this.#state();
    return outcome;
  }

  #fill(data, at) {
    const nothing = this.isEmpty(data, at);
    // What is measured while it is drawn has to be laid out first.
    this.body.hidden = nothing;
    this.empty.hidden = !nothing;
    if (!nothing) this.show(data, at);
    this.goodAt = moment(at) ?? new Date();
  }

  #clear() {
    this.body.hidden = true;
    this.empty.hidden = false;
    this.goodAt = null;
  }

  #complain(error) {
    const old = error !== null && this.goodAt !== null;
    this.section.toggleAttribute("data-old", old);
    const shown = old ? ` Below is what was known at ${when(this.goodAt, new Date(serverNow()))}.` : "";
    say(this.trouble, error === null ? "" : `${sentence(String(error))}${shown}`);
    if (error !== null && this.goodAt === null) this.empty.hidden = true;
  }

  #state() {
    if (!this.body.hidden) return "full";
    return this.empty.hidden ? "unknown" : "empty";
  }
}

function wordsOf(error) {
  const ofReader = error instanceof SignedOut || error instanceof Refused;
  return ofReader ? error.message : `Not known: ${error.message}`;
}

const sentence = (text) => {
  const whole = text.trim();
  const started = whole.charAt(0).toUpperCase() + whole.slice(1);
  return /[.!?…]$/.test(started) ? started : `${started}.`;
};
