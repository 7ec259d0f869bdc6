// Links into the runbook. Each word in capitals has a section of its name.

import { el } from "./dom.js";

/** The address of a section of the runbook. */
export const runbookUrl = (anchor) => new URL(`runbook#${anchor}`, document.baseURI).href;

/** A link to a section of the runbook, in a new tab. */
export const runbookLink = (anchor, attributes, ...children) =>
  el("a", { href: runbookUrl(anchor), target: "_blank", rel: "noopener", ...attributes }, ...children);

/** A word in capitals, such as a reason, that leads to its section. */
export const chip = (code, attributes = {}) =>
  runbookLink(String(code).toLowerCase(), { class: "chip", title: `What to do about ${code}`, ...attributes }, code);
