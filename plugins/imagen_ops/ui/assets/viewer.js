// One large image with everything known about it. Arrow keys go to the images next to it.

import { el, setText } from "./dom.js";
import { dollars, duration, fullTime, known, number, parseTime } from "./formatting.js";
import { keyOf } from "./images.js";
import { relativeTime } from "./relative-time.js";
import { imageUrl } from "./server.js";

export class Viewer {
  constructor() {
    this.dialog = document.getElementById("viewer");
    this.gallery = null; // set by page.js, which creates both
    this.image = null;
    this.place = 0;
    this.timesOpened = 0; // tells whether the viewer was closed and opened again during a load
    const part = (selector) => this.dialog.querySelector(selector);
    this.picture = part(".stage img");
    this.broken = part(".broken");
    this.title = part("#viewer-title");
    this.prompt = part(".prompt");
    this.facts = part(".facts");
    this.path = part(".path code");
    this.feedback = part(".path .feedback");
    this.newer = part(".newer");
    this.older = part(".older");
    part(".close").addEventListener("click", () => this.dialog.close());
    part(".copy").addEventListener("click", () => this.#copy());
    this.newer.addEventListener("click", () => this.#step(-1));
    this.older.addEventListener("click", () => this.#step(1));
    this.picture.addEventListener("error", () => this.#showBroken(true));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // a click outside of it
    });
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.dialog.addEventListener("close", () => this.gallery.focus(this.image));
  }

  /** Show `image`. */
  open(image) {
    this.timesOpened += 1;
    this.#show(image);
    this.dialog.showModal();
    this.dialog.querySelector(".close").focus();
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#step(step);
  }

  /** Index of the image among those loaded, which changes when new ones arrive before it. */
  #index() {
    const index = this.gallery.images.findIndex((image) => keyOf(image) === keyOf(this.image));
    return index < 0 ? Math.min(this.place, this.gallery.images.length - 1) : index;
  }

  async #step(by) {
    const { image: current, timesOpened } = this;
    // Computed again after a load: new images may have arrived meanwhile. The reader may also have
    // opened another image, or closed the viewer.
    const index = () => this.#index() + by;
    if (index() < 0) return;
    if (index() >= this.gallery.images.length && !(await this.gallery.more())) return;
    const image = this.gallery.images[index()];
    const sameVisit = this.dialog.open && this.timesOpened === timesOpened;
    if (image && sameVisit && this.image === current) this.#show(image);
  }

  #show(image) {
    this.image = image;
    this.place = this.#index();
    const { images, next } = this.gallery;
    const url = imageUrl(image.url);
    this.#showBroken(url === null);
    // Remove the previous picture first, so that it never shows next to this prompt.
    this.picture.removeAttribute("src");
    if (url) this.picture.src = url;
    this.picture.alt = image.prompt ?? "";
    const total = `${next === null ? "" : "more than "}${number(images.length)}`;
    setText(this.title, `Image ${number(this.place + 1)} of ${total}`);
    setText(this.prompt, image.prompt ?? "");
    this.prompt.scrollTop = 0;
    setText(this.path, image.path ?? "");
    setText(this.feedback, "");
    this.facts.replaceChildren(...facts(image));
    // Not `disabled`, which would take the focus away from the button that was just pressed.
    this.newer.setAttribute("aria-disabled", String(this.place === 0));
    this.older.setAttribute("aria-disabled", String(this.place === images.length - 1 && next === null));
    const preload = imageUrl(images[this.place + 1]?.url);
    if (preload) new Image().src = preload;
  }

  #showBroken(broken) {
    this.broken.hidden = !broken;
    this.picture.hidden = broken;
  }

  async #copy() {
    const text = this.path.textContent;
    try {
      await navigator.clipboard.writeText(text);
      setText(this.feedback, "Copied.");
    } catch {
      // The clipboard is not available on plain HTTP, or where the iframe may not use it. Select the
      // path, so that the reader can copy it with one key.
      getSelection().selectAllChildren(this.path);
      const copied = document.execCommand("copy");
      setText(this.feedback, copied ? "Copied." : "Could not copy. The path is selected: press Ctrl+C or ⌘C.");
    }
  }
}

function facts({ model, at, latency_ms: latency, cost_usd: usd, prompt_id: id, source, reused, parameters }) {
  const created = parseTime(at);
  const rows = [
    ["Model", model],
    // Aspect ratio, seed, …: what the prompt asked for, by the names of its fields.
    ...Object.entries(parameters ?? {}).map(([name, value]) => [sentenceCase(name), String(value)]),
    ["Created", created && el("span", null, relativeTime(at), `, ${fullTime(created)}`)],
    ["Cost", reused ? "nothing, already stored" : known(usd) && dollars(usd)],
    ["Latency", reused ? "none, already stored" : known(latency) && duration(latency / 1000)],
    ["Prompt ID", id && el("code", null, id)],
    ["Source", source],
  ];
  return rows
    .filter(([, value]) => value)
    .map(([label, value]) => el("div", null, el("dt", null, label), el("dd", null, value)));
}

function sentenceCase(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
