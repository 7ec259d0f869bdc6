// A section of the page. It loads its own data and shows its own errors, independent of the others.

import { withDags } from "./dag-link.js";
import { el, setText } from "./dom.js";
import { parseTime, timeOrDate } from "./formatting.js";
import { AccessDenied, Busy, fetchPanel, LoginExpired, serverNow } from "./server.js";

export class Panel {
  /**
   * @param {object} options
   * @param {string} options.id of its section
   * @param {() => string} options.path to request
   * @param {(data: object, at: string) => void} options.show
   * @param {(data: object, at: string) => boolean} [options.isEmpty] whether there is nothing to show
   * @param {string} options.empty what to show then, and how to get some data; ids of DAGs between backticks
   */
  constructor({ id, path, show, isEmpty = () => false, empty }) {
    Object.assign(this, { id, path, show, isEmpty });
    this.section = document.getElementById(id);
    this.body = this.section.querySelector(".body");
    this.trouble = el("p", { class: "trouble", role: "status" });
    this.empty = el("p", { class: "empty", hidden: true }, withDags(empty));
    this.body.before(this.trouble, this.empty);
    this.body.hidden = true;
    this.loadedAt = null;
    this.pending = null;
    this.retry = 0;
    // What it lacks, with others: `storage` or `settings`.
    this.cause = null;
    this.error = null;
  }

  /** Leave the reason for an error to what is said above all sections. */
  tellAbove() {
    setText(this.trouble, `Not loaded: see the top of the page.${this.#outdated()}`);
  }

  /**
   * Load and show the data; joins a load in progress. Resolves to "good", "busy" if it is tried again
   * soon, "troubled", or an error.
   */
  refresh() {
    clearTimeout(this.retry);
    this.pending ??= this.#refresh().finally(() => {
      this.pending = null;
    });
    return this.pending;
  }

  /** Load what the path says now, also where a load of what it said before is under way. */
  async refreshIfOther() {
    while (this.loadedPath !== this.path()) await this.refresh();
  }

  async #refresh() {
    let outcome = "good";
    this.cause = null;
    this.loadedPath = this.path();
    try {
      const { at, data, error, cause } = await fetchPanel(this.loadedPath);
      this.cause = error === null ? null : cause;
      if (data !== null) this.#fill(data, at);
      else if (error === null) this.#clear();
      this.#showError(error);
      outcome = error === null ? "good" : "troubled";
    } catch (error) {
      if (error instanceof Busy) return this.#tryAgain(error);
      outcome = isAboutAccess(error) ? error : "troubled";
      const text = isAboutAccess(error) ? error.message : `cannot load this section: ${error.message}`;
      this.#showError(text);
    }
    this.section.removeAttribute("aria-busy");
    this.section.dataset.state = this.#state();
    return outcome;
  }

  /** Say that the server is busy, beside whatever is shown, and try again. */
  #tryAgain({ message, seconds }) {
    this.#showError(null);
    this.trouble.toggleAttribute("data-busy", true);
    setText(this.trouble, asSentence(`${message}, trying again in ${seconds} s`));
    this.retry = setTimeout(() => this.refresh(), seconds * 1000);
    this.section.removeAttribute("aria-busy");
    this.section.dataset.state = this.#state();
    return "busy";
  }

  #fill(data, at) {
    const nothing = this.isEmpty(data, at);
    // First make it visible: plots measure their size while they are drawn.
    this.body.hidden = nothing;
    this.empty.hidden = !nothing;
    if (!nothing) this.show(data, at);
    this.loadedAt = parseTime(at) ?? new Date();
  }

  #clear() {
    this.body.hidden = true;
    this.empty.hidden = false;
    this.loadedAt = null;
  }

  #showError(error) {
    this.trouble.removeAttribute("data-busy");
    this.error = error === null ? null : asSentence(String(error));
    this.section.toggleAttribute("data-old", error !== null && this.loadedAt !== null);
    setText(this.trouble, error === null ? "" : `${this.error}${this.#outdated()}`);
    if (error !== null && this.loadedAt === null) this.empty.hidden = true;
  }

  #outdated() {
    if (this.loadedAt === null) return "";
    return ` The data below is from ${timeOrDate(this.loadedAt, new Date(serverNow()))}.`;
  }

  #state() {
    if (!this.body.hidden) return "full";
    return this.empty.hidden ? "unknown" : "empty";
  }
}

const isAboutAccess = (error) => error instanceof LoginExpired || error instanceof AccessDenied;

const asSentence = (text) => {
  const trimmed = text.trim();
  const capitalized = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capitalized) ? capitalized : `${capitalized}.`;
};
