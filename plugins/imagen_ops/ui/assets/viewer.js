// One large image with everything known about it. Arrow keys go to the images next to it.

import { parametersOf, publishCommand } from "./command.js";
import { el, renderList, setText } from "./dom.js";
import { dollars, duration, fullTime, known, number, parseTime } from "./formatting.js";
import { keyOf } from "./images.js";
import { relativeTime } from "./relative-time.js";
import { fetchPanel, imageUrl, linkTo, referenceUrl, thumbnailUrl } from "./server.js";

const MAX_RECORDS = 200;
const BACKFILL = "backfill:";

export class Viewer {
  constructor() {
    this.dialog = document.getElementById("viewer");
    this.gallery = null; // set by page.js, which creates both
    this.image = null;
    this.record = null; // all that decided the image, as soon as it is loaded
    this.records = new Map();
    this.place = 0;
    this.timesOpened = 0; // tells whether the viewer was closed and opened again during a load
    const part = (selector) => this.dialog.querySelector(selector);
    this.picture = part(".stage img");
    this.broken = part(".broken");
    this.title = part("#viewer-title");
    this.prompt = part(".prompt");
    this.siblings = part(".siblings");
    this.references = part(".references");
    this.facts = part(".facts");
    this.path = part(".path code");
    this.command = part(".again code");
    this.download = part(".download");
    this.feedback = part(".copies .feedback");
    this.newer = part(".newer");
    this.older = part(".older");
    part(".close").addEventListener("click", () => this.dialog.close());
    for (const button of this.dialog.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", () => this.#copy(this[button.dataset.copy]));
    }
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
    setText(this.path, image.path ?? "");
    setText(this.feedback, "");
    this.download.hidden = url === null;
    if (url) Object.assign(this.download, { href: url, download: url.split("/").at(-1) });
    this.#showRecord(this.records.get(digestOf(image)) ?? null);
    this.prompt.scrollTop = 0;
    // Not `disabled`, which would take the focus away from the button that was just pressed.
    this.newer.setAttribute("aria-disabled", String(this.place === 0));
    this.older.setAttribute("aria-disabled", String(this.place === images.length - 1 && next === null));
    const preload = imageUrl(images[this.place + 1]?.url);
    if (preload) new Image().src = preload;
    this.#load(image);
  }

  /** Show what the record beside the image says; null: what is known without it. */
  #showRecord(record) {
    const { image } = this;
    this.record = record;
    // The index has the beginning of a long prompt, and of some images not all parameters.
    setText(this.prompt, record?.prompt ?? image.prompt ?? "");
    this.facts.replaceChildren(...facts(image, record));
    setText(this.command, publishCommand(image, record));
    const siblings = record?.images?.length > 1 ? record.images : [];
    renderList(this.siblings, siblings.map(({ url, path }, index) => ({ url, path, index })), {
      key: ({ path }) => path,
      create: (sibling) => this.#sibling(sibling, siblings.length),
    });
    this.#showReferences(record?.references ?? []);
    for (const button of this.siblings.querySelectorAll("button")) {
      button.setAttribute("aria-current", String(button.dataset.path === this.path.textContent));
    }
  }

  #showReferences(references) {
    renderList(this.references, references.map((each, index) => ({ ...each, index })), {
      key: ({ index }) => index,
      create: referenceItem,
    });
  }

  #sibling({ url, path, index }, count) {
    const button = el(
      "button",
      { type: "button", "data-path": path, "aria-label": `Image ${index + 1} of ${count} of this prompt` },
      el("img", { alt: "", src: thumbnailUrl(url) }),
    );
    button.addEventListener("click", () => {
      const loaded = this.gallery.images.find(
        (other) => other.path === path && other.prompt_id === this.image.prompt_id,
      );
      this.#show(loaded ?? { ...this.image, url, path });
    });
    return el("li", null, button);
  }

  async #load(image) {
    const digest = digestOf(image);
    if (digest === null || this.records.has(digest)) return;
    const record = await fetchPanel(`api/record?digest=${digest}`).then(
      ({ data, error }) => data ?? { problem: error },
      (error) => ({ problem: error.message }),
    );
    // What could not be read may be readable later.
    if (record.path) this.records.set(digest, record);
    if (this.records.size > MAX_RECORDS) this.records.delete(this.records.keys().next().value);
    if (this.image === image) this.#showRecord(record);
  }

  #showBroken(broken) {
    this.broken.hidden = !broken;
    this.picture.hidden = broken;
  }

  async #copy(element) {
    try {
      await navigator.clipboard.writeText(element.textContent);
      setText(this.feedback, "Copied.");
    } catch {
      // The clipboard is not available on plain HTTP, or where the iframe may not use it. Select the
      // text, so that the reader can copy it with one key.
      const folded = element.closest("details");
      if (folded) folded.open = true;
      getSelection().selectAllChildren(element);
      const copied = document.execCommand("copy");
      setText(this.feedback, copied ? "Copied." : "Could not copy. The text is selected: press Ctrl+C or ⌘C.");
    }
  }
}

/** The digest that the image's name begins with, or null. */
const digestOf = ({ path }) => /\/([0-9a-f]{32})-\d\.\w+$/.exec(path ?? "")?.[1] ?? null;

/** What the model was shown: its path, what it was for, and its picture if it is still the same. */
function referenceItem({ path, role, url, problem }) {
  const note = el("span", { class: "note" }, problem);
  const address = referenceUrl(url);
  const picture = address && el("img", { alt: "", loading: "lazy", decoding: "async", src: address });
  picture?.addEventListener("error", () => {
    picture.remove();
    setText(note, "Its picture cannot be shown here.");
  });
  return el("li", null, picture, el("div", null, el("code", null, path), role && el("span", { dir: "auto" }, role), note));
}

function facts(image, record) {
  const { model, at, latency_ms: latency, cost_usd: usd, prompt_id: id, source, reused, attributes } = image;
  const created = parseTime(at);
  const cost = known(usd) ? dollars(usd) : "unknown";
  const rows = [
    ["Model", model],
    // Aspect ratio, seed, …: what the prompt asked for, by the names of its fields; then what the job did.
    ...Object.entries({ ...parametersOf(image, record), ...image.job_options, ...record?.job_options }).map(
      ([name, value]) => [sentenceCase(name), String(value)],
    ),
    ["Template", image.template],
    ["Created", created && el("span", null, relativeTime(at), `, ${fullTime(created)}`)],
    ["Cost", reused ? "nothing, already stored" : cost],
    ["Latency", reused ? "none, already stored" : known(latency) && duration(latency / 1000)],
    ["Prompt ID", id && el("code", null, id)],
    ["Source", source && runLink(source)],
    ...Object.entries(attributes ?? {}).map(([name, value]) => [name, value]),
    ["Record", record && (record.problem ? record.problem : el("code", null, record.path))],
  ];
  return rows
    .filter(([, value]) => value)
    .map(([label, value]) => el("div", null, el("dt", null, label), el("dd", null, value)));
}

/** The source, as a link to the run of a backfill. Other sources, such as a job by hand, have none. */
function runLink(source) {
  const run = source.startsWith(BACKFILL) ? source.slice(BACKFILL.length) : "";
  const href = run.includes("__") && linkTo(`dags/imagen_backfill/runs/${encodeURIComponent(run)}`);
  return href ? el("a", { href, target: "_top" }, source) : source;
}

function sentenceCase(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
