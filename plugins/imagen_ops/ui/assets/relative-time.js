// “2 min ago”, kept up to date while nothing else on the page changes.

import { el, setText } from "./dom.js";
import { ago, fullTime, parseTime, UNKNOWN } from "./formatting.js";
import { serverNow } from "./server.js";

const EVERY_MS = 5_000;

/** An element that shows how long ago the ISO time `iso` was, with the exact time as a tooltip. */
export function relativeTime(iso) {
  const date = parseTime(iso);
  if (!date) return el("span", null, UNKNOWN);
  const attributes = { datetime: date.toISOString(), "data-age": true, title: fullTime(date) };
  return el("time", attributes, textFor(date));
}

const textFor = (date) => ago((serverNow() - date.getTime()) / 1000);

/** Update all relative times on the page. */
export function updateRelativeTimes() {
  for (const element of document.querySelectorAll("time[data-age]")) {
    setText(element, textFor(new Date(element.dateTime)));
  }
}

/** Keep updating them. */
export const keepRelativeTimesUpdated = () => setInterval(updateRelativeTimes, EVERY_MS);
