// One image, large, with all that is known of it; arrow keys go on to its neighbours.

import { age } from "./ages.js";
import { el, say } from "./dom.js";
import { keyOf } from "./images.js";
import { imageUrl } from "./server.js";
import { duration, inFull, known, moment, number } from "./words.js";

export class Viewer {
  constructor() {
    this.dialog = document.getElementById("viewer");
    this.gallery = null; // set by who puts the two together
    this.image = null;
    this.place = 0;
    this.opened = 0; // how often: what was asked for in an earlier showing is not wanted any more
    const part = (selector) => this.dialog.querySelector(selector);
    this.picture = part(".stage img");
    this.broken = part(".broken");
    this.title = part("#viewer-title");
    this.prompt = part(".prompt");
    this.facts = part(".facts");
    this.path = part(".path code");
    this.said = part(".path .said");
    this.back = part(".back");
    this.on = part(".on");
    part(".close").addEventListener("click", () => this.dialog.close());
    part(".copy").addEventListener("click", () => this.#copy());
    this.back.addEventListener("click", () => this.#step(-1));
    this.on.addEventListener("click", () => this.#step(1));
    this.picture.addEventListener("error", () => this.#breaks(true));
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close(); // beside it
    });
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.dialog.addEventListener("close", () => this.gallery.focus(this.image));
  }

  /** Show `image`. */
  open(image) {
    this.opened += 1;
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

  /** Where the image is among those that are loaded now: new ones may have come before it. */
  #index() {
    const index = this.gallery.images.findIndex((image) => keyOf(image) === keyOf(this.image));
    return index < 0 ? Math.min(this.place, this.gallery.images.length - 1) : index;
  }

  async #step(by) {
    const { image: left, opened } = this;
    // New ones may come in front while more are loaded; and another may be opened, or none be left open.
    const index = () => this.#index() + by;
    if (index() < 0) return;
    if (index() >= this.gallery.images.length && !(await this.gallery.more())) return;
    const image = this.gallery.images[index()];
    if (image && this.dialog.open && this.opened === opened && this.image === left) this.#show(image);
  }

  #show(image) {
    this.image = image;
    this.place = this.#index();
    const { images, next } = this.gallery;
    const url = imageUrl(image.url);
    this.#breaks(url === null);
    // Until the new picture is there, no other one is to be seen above this prompt.
    this.picture.removeAttribute("src");
    if (url) this.picture.src = url;
    this.picture.alt = image.prompt ?? "";
    say(this.title, `Image ${number(this.place + 1)} of ${number(images.length)}${next === null ? "" : " and more"}`);
    say(this.prompt, image.prompt ?? "");
    this.prompt.scrollTop = 0;
    say(this.path, image.path ?? "");
    say(this.said, "");
    this.facts.replaceChildren(...facts(image));
    // Not `disabled`: that would take the focus away from whoever went on by this very button.
    this.back.setAttribute("aria-disabled", String(this.place === 0));
    this.on.setAttribute("aria-disabled", String(this.place === images.length - 1 && next === null));
    const neighbour = imageUrl(images[this.place + 1]?.url);
    if (neighbour) new Image().src = neighbour;
  }

  #breaks(broken) {
    this.broken.hidden = !broken;
    this.picture.hidden = broken;
  }

  async #copy() {
    const text = this.path.textContent;
    try {
      await navigator.clipboard.writeText(text);
      say(this.said, "Copied.");
    } catch {
      // Not on plain http, nor where the frame may not: selected, one key copies it.
      getSelection().selectAllChildren(this.path);
      say(this.said, document.execCommand("copy") ? "Copied." : "Selected: copy it by hand.");
    }
  }
}

function facts({ model, at, latency_ms: latency, prompt_id: id, source, reused }) {
  const made = moment(at);
  const rows = [
    ["Model", model],
    ["Made", made && el("span", null, age(at), `, ${inFull(made)}`)],
    ["Took", reused ? "nothing: it was made before, and reused" : known(latency) && duration(latency / 1000)],
    ["Prompt id", id && el("code", null, id)],
    ["Source", source],
  ];
  return rows
    .filter(([, value]) => value)
    .map(([label, value]) => el("div", null, el("dt", null, label), el("dd", null, value)));
}
