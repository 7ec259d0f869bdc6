// “2 min ago”, which goes on being true while nothing else on the page changes.

import { el, say } from "./dom.js";
import { serverNow } from "./server.js";
import { ago, inFull, moment, UNKNOWN } from "./words.js";

const EVERY_MS = 5_000;

/** An element that tells how long ago `iso` was, and exactly when on hovering. */
export function age(iso) {
  const date = moment(iso);
  if (!date) return el("span", null, UNKNOWN);
  const attributes = { datetime: date.toISOString(), "data-age": true, title: inFull(date) };
  return el("time", attributes, wordsFor(date));
}

const wordsFor = (date) => ago((serverNow() - date.getTime()) / 1000);

/** Bring all ages up to date. */
export function tick() {
  for (const element of document.querySelectorAll("time[data-age]")) {
    say(element, wordsFor(new Date(element.dateTime)));
  }
}

/** Keep them so. */
export const keepTicking = () => setInterval(tick, EVERY_MS);
