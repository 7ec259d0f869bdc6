// A section of the page. It loads its own data and shows its own errors, independent of the others.

import { el, setText, withCode } from "./dom.js";
import { parseTime, timeOrDate } from "./formatting.js";
import { AccessDenied, Busy, fetchPanel, LoginExpired, serverNow } from "./server.js";

export class Panel {
  /**
   * @param {object} options
   * @param {string} options.id of its section
   * @param {() => string} options.path to request
   * @param {(data: object, at: string) => void} options.show
   * @param {(data: object, at: string) => boolean} [options.isEmpty] whether there is nothing to show
   * @param {string} options.empty what to show then, and how to get some data; backticks mark code
   */
  constructor({ id, path, show, isEmpty = () => false, empty }) {
    Object.assign(this, { id, path, show, isEmpty });
    this.section = document.getElementById(id);
    this.body = this.section.querySelector(".body");
    this.trouble = el("p", { class: "trouble", role: "status" });
    this.empty = el("p", { class: "empty", hidden: true }, withCode(empty));
    this.body.before(this.trouble, this.empty);
    this.body.hidden = true;
    this.loadedAt = null;
    this.pending = null;
    this.retry = 0;
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

  /** Load once more after a load in progress, which may be of what is no longer asked for. */
  async again() {
    await this.pending;
    return this.refresh();
  }

  async #refresh() {
    let outcome = "good";
    try {
      const { at, data, error } = await fetchPanel(this.path());
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
    const outdated = error !== null && this.loadedAt !== null;
    this.section.toggleAttribute("data-old", outdated);
    const loadedAt = outdated && timeOrDate(this.loadedAt, new Date(serverNow()));
    const note = outdated ? ` The data below is from ${loadedAt}.` : "";
    setText(this.trouble, error === null ? "" : `${asSentence(String(error))}${note}`);
    if (error !== null && this.loadedAt === null) this.empty.hidden = true;
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
