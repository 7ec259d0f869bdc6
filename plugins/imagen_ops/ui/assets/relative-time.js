// “2 min ago” and “for 2 min”, kept up to date while nothing else on the page changes.

import { el, setText } from "./dom.js";
import { ago, duration, fullTime, parseTime, UNKNOWN } from "./formatting.js";
import { serverNow } from "./server.js";

const EVERY_MS = 5_000;
const TEXTS = { ago, for: (seconds) => duration(Math.max(0, seconds)) };

/** An element that shows how long ago the ISO time `iso` was, with the exact time as a tooltip. */
export const relativeTime = (iso) => timeElement(iso, "ago");

/** An element that shows how long something has lasted since the ISO time `iso`. */
export const lasting = (iso) => timeElement(iso, "for");

function timeElement(iso, kind) {
  const date = parseTime(iso);
  if (!date) return el("span", null, UNKNOWN);
  const attributes = { datetime: date.toISOString(), "data-age": kind, title: fullTime(date) };
  return el("time", attributes, textFor(date, kind));
}

const textFor = (date, kind) => TEXTS[kind]((serverNow() - date.getTime()) / 1000);

/** Update all relative times on the page. */
export function updateRelativeTimes() {
  for (const element of document.querySelectorAll("time[data-age]")) {
    setText(element, textFor(new Date(element.dateTime), element.dataset.age));
  }
}

/** Keep updating them. */
export const keepRelativeTimesUpdated = () => setInterval(updateRelativeTimes, EVERY_MS);
