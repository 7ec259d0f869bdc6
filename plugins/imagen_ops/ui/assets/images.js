// The newest images, or those that a search found, as a grid. New images are added in front. Those
// that “Show more” loaded stay.

import { el, listItem, renderList, setText } from "./dom.js";
import { cut, number } from "./formatting.js";
import { Panel } from "./panel.js";
import { relativeTime } from "./relative-time.js";
import { SearchForm } from "./search.js";
import { fetchPanel, thumbnailUrl } from "./server.js";

// The viewer shows the whole prompt. Here it would only slow down the page.
const MAX_CHARACTERS = 240;
// With more images than this, the next refresh starts over with the newest page.
const MAX_IMAGES = 960;

export const keyOf = ({ path, at, prompt_id: id }) => `${path} ${at} ${id}`;

/** As many images as fill whole rows at this width. A phone loads fewer over the mobile network. */
function pageSize(width) {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  // The same columns as in page.css.
  const columns = Math.max(2, Math.floor((width + 0.7 * rem) / ((9.5 + 0.7) * rem)));
  return Math.min(96, columns * (columns < 5 ? 6 : 4));
}

export class Gallery {
  /** @param {(image: object) => void} open called with the image that was clicked */
  constructor(open) {
    this.open = open;
    this.images = [];
    this.next = null;
    this.expanded = false;
    this.loading = null;
    this.search = new SearchForm(() => this.#restart());
    const section = document.getElementById("images");
    const body = section.querySelector(".body");
    this.title = section.querySelector("h2");
    this.size = pageSize(this.title.clientWidth);
    this.grid = body.querySelector(".grid");
    this.button = body.querySelector("#more");
    this.feedback = body.querySelector(".more .feedback");
    this.button.addEventListener("click", () => this.more({ moveFocus: true }));
    this.panel = new Panel({
      id: "images",
      path: () => this.#path(),
      show: (data) => this.#merge(data),
      isEmpty: ({ images }) => !images.length && !this.search.active,
      empty:
        "No images yet. Publish a prompt, or run `imagen_backfill` on a prompt file. New images appear " +
        "here within a minute.",
    });
  }

  /** Load older images; joins a load in progress. Resolves to whether there were any. */
  more({ moveFocus = false } = {}) {
    this.loading ??= this.#more(moveFocus).finally(() => {
      this.loading = null;
      this.button.removeAttribute("aria-busy");
    });
    return this.loading;
  }

  /** Focus an image's tile. Returns whether it is still shown. */
  focus(image) {
    const tile = listItem(this.grid, keyOf(image))?.querySelector("button");
    tile?.focus();
    return Boolean(tile);
  }

  /** Start over after the reader has searched for something else. */
  async #restart() {
    this.expanded = false;
    this.next = null;
    this.panel.body.toggleAttribute("data-waiting", true);
    await this.panel.refreshIfOther();
    this.panel.body.toggleAttribute("data-waiting", false);
  }

  #path(more = {}) {
    const parameters = new URLSearchParams({ limit: this.size, ...more });
    for (const [name, value] of this.search.asked) parameters.set(name, value);
    return `api/${this.search.active ? "search" : "images"}?${parameters}`;
  }

  async #more(moveFocus) {
    if (this.next === null) return false;
    const cursor = this.next;
    this.button.setAttribute("aria-busy", "true");
    setText(this.feedback, "");
    try {
      const { data, error } = await fetchPanel(this.#path({ before: cursor }));
      if (data === null) throw new Error(error ?? "the server sent no data");
      if (this.next !== cursor) return false; // a refresh started over meanwhile
      const before = this.images.length;
      this.expanded = true;
      this.#show(distinct([...this.images, ...data.images]), data.next);
      const loaded = this.images.length - before;
      setText(this.feedback, `Loaded ${number(loaded)} more.`);
      if (moveFocus && loaded) this.focus(this.images[before]);
      return loaded > 0;
    } catch (error) {
      setText(this.feedback, `Could not load more: ${error.message}.`);
      return false;
    }
  }

  #merge(data) {
    const { images, next } = data;
    this.search.show(data);
    setText(this.title, this.search.active ? "Images found" : "Newest images");
    const fresh = new Set(images.map(keyOf));
    const overlaps = this.images.some((image) => fresh.has(keyOf(image)));
    // Without a common image there may be others in between: start over rather than leave a gap.
    if (!this.expanded || !overlaps || this.images.length > MAX_IMAGES) {
      this.expanded = false;
      this.#show(distinct(images), next);
    } else {
      this.#show(distinct([...images, ...this.images]), this.next);
    }
  }

  #show(images, next) {
    const hadFocus = this.grid.contains(document.activeElement);
    this.images = images;
    this.next = next ?? null;
    renderList(this.grid, images, { key: keyOf, create: (image) => this.#tile(image) });
    this.button.hidden = this.next === null;
    if (hadFocus && !this.grid.contains(document.activeElement)) this.focus(images.at(-1));
  }

  #tile(image) {
    const { prompt, model, at, reused } = image;
    const url = thumbnailUrl(image.url);
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
      el("span", { class: "prompt", dir: "auto" }, cut(prompt, MAX_CHARACTERS)),
      el("span", { class: "meta" }, el("span", { class: "model" }, model), relativeTime(at), reused && el("span", null, "already stored")),
    );
    tile.addEventListener("click", () => this.open(image));
    return el("li", null, tile);
  }
}

function distinct(images) {
  const byKey = new Map();
  for (const image of images) if (!byKey.has(keyOf(image))) byKey.set(keyOf(image), image);
  return [...byKey.values()];
}
