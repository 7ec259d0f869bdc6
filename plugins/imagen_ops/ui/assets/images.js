// The newest images as a grid. New ones come in front; what was loaded by “Show more” stays.

import { age } from "./ages.js";
import { el, keyed, nodeOf, say } from "./dom.js";
import { Panel } from "./panel.js";
import { ask, imageUrl } from "./server.js";
import { cut, number } from "./words.js";

// A whole prompt is for the viewer; here it would only cost time.
const SHOWN_CHARACTERS = 240;
// Beyond this the oldest of those loaded by hand give way.
const MOST = 960;

export const keyOf = ({ path, at, prompt_id: id }) => `${path} ${at} ${id}`;

/** As many as fill rows of this width: a phone loads no fifty pictures over the air. */
function pageSize(width) {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  // As page.css lays the grid out.
  const columns = Math.max(2, Math.floor((width + 0.7 * rem) / ((9.5 + 0.7) * rem)));
  return Math.min(96, columns * (columns < 5 ? 6 : 4));
}

export class Gallery {
  /** @param {(image: object) => void} open what a click on an image does */
  constructor(open) {
    this.open = open;
    this.images = [];
    this.next = null;
    this.grown = false;
    this.loading = null;
    const section = document.getElementById("images");
    const body = section.querySelector(".body");
    this.size = pageSize(section.querySelector("h2").clientWidth);
    this.grid = body.querySelector(".grid");
    this.button = body.querySelector("#more");
    this.said = body.querySelector(".more .said");
    this.button.addEventListener("click", () => this.more({ moveFocus: true }));
    this.panel = new Panel({
      id: "images",
      path: () => `api/images?limit=${this.size}`,
      show: (data) => this.#merge(data),
      isEmpty: ({ images }) => !images.length,
      empty:
        "No images yet: publish a prompt, or run `imagen_backfill` over a file of them. What the " +
        "stream makes shows here within a minute.",
    });
  }

  /** Load older ones; whether there were any. One loading at a time. */
  more({ moveFocus = false } = {}) {
    this.loading ??= this.#more(moveFocus).finally(() => {
      this.loading = null;
      this.button.removeAttribute("aria-busy");
    });
    return this.loading;
  }

  /** Put the focus on an image's tile; whether it is still there. */
  focus(image) {
    const tile = nodeOf(this.grid, keyOf(image))?.querySelector("button");
    tile?.focus();
    return Boolean(tile);
  }

  async #more(moveFocus) {
    if (this.next === null) return false;
    const cursor = this.next;
    this.button.setAttribute("aria-busy", "true");
    say(this.said, "");
    try {
      const path = `api/images?limit=${this.size}&before=${encodeURIComponent(cursor)}`;
      const { data, error } = await ask(path);
      if (data === null) throw new Error(error ?? "nothing came");
      if (this.next !== cursor) return false; // begun anew meanwhile
      const before = this.images.length;
      this.grown = true;
      this.#show(distinct([...this.images, ...data.images]), data.next);
      const loaded = this.images.length - before;
      say(this.said, `${number(loaded)} more are shown.`);
      if (moveFocus && loaded) this.focus(this.images[before]);
      return loaded > 0;
    } catch (error) {
      say(this.said, `Not loaded: ${error.message}.`);
      return false;
    }
  }

  #merge({ images, next }) {
    const fresh = new Set(images.map(keyOf));
    const meet = this.images.some((image) => fresh.has(keyOf(image)));
    // Without a common image there may be others between: begin anew rather than leave a hole.
    if (!this.grown || !meet || this.images.length > MOST) {
      this.grown = false;
      this.#show(distinct(images), next);
    } else {
      this.#show(distinct([...images, ...this.images]), this.next);
    }
  }

  #show(images, next) {
    const hadFocus = this.grid.contains(document.activeElement);
    this.images = images;
    this.next = next ?? null;
    keyed(this.grid, images, { key: keyOf, make: (image) => this.#tile(image) });
    this.button.hidden = this.next === null;
    if (hadFocus && !this.grid.contains(document.activeElement)) this.focus(images.at(-1));
  }

  #tile(image) {
    const { prompt, model, at, reused } = image;
    const url = imageUrl(image.url);
    const picture = el("img", {
      alt: "",
      loading: "lazy",
      decoding: "async",
      width: 256,
      height: 256,
      src: url,
    });
    const frame = el("span", { class: "frame", "data-broken": url === null }, picture);
    picture.addEventListener("error", () => frame.toggleAttribute("data-broken", true));
    const tile = el(
      "button",
      { type: "button", class: "tile", "aria-haspopup": "dialog" },
      frame,
      el("span", { class: "prompt", dir: "auto" }, cut(prompt, SHOWN_CHARACTERS)),
      el("span", { class: "meta" }, el("span", { class: "model" }, model), age(at), reused && el("span", null, "reused")),
    );
    tile.addEventListener("click", () => this.open(image));
    return el("li", null, tile);
  }
}

function distinct(images) {
  const known = new Map();
  for (const image of images) if (!known.has(keyOf(image))) known.set(keyOf(image), image);
  return [...known.values()];
}
