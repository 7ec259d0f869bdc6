// Axes: round steps for numbers, durations and the reader's own hours. No DOM.

import { compact, duration, number } from "./words.js";

const DURATIONS_S = [
  1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
];
const HOURS = [1, 2, 3, 4, 6, 12];
const DAY_S = 86_400;

/** The smallest of 1, 2, 5 times a power of ten that is at least `value`. */
function roundStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= value - 1e-12);
}

/** The top of an axis from 0 that has room for `highest`, and where its lines are. */
export function axis(highest, unit, lines = 3) {
  const least = unit === "duration" ? 10 : unit === "count" ? 4 : 1;
  const wanted = Math.max(highest, least) / lines;
  let step = roundStep(wanted);
  if (unit === "duration") {
    step = DURATIONS_S.find((seconds) => seconds >= wanted) ?? DAY_S * roundStep(Math.max(1, wanted / DAY_S));
  }
  const steps = Math.max(1, Math.ceil(Math.max(highest, least) / step - 1e-9));
  return { top: steps * step, ticks: Array.from({ length: steps + 1 }, (_, index) => index * step) };
}

/** A value in its unit's words. */
export function inUnit(value, unit) {
  return unit === "duration" ? duration(value) : number(value);
}

/** The same, where there is little room. */
export function onAxis(value, unit) {
  if (value === 0) return "0";
  if (unit === "duration") return duration(value);
  return Math.abs(value) < 1_000 ? number(value) : compact(value);
}

/** Whole hours of the reader's clock from `from` to `to` (ms), at most `most` of them. */
export function hourTicks(from, to, most) {
  const hours = (to - from) / 3_600_000;
  const every = HOURS.find((step) => hours / step <= most) ?? 24;
  const tick = new Date(from);
  tick.setMinutes(0, 0, 0);
  const ticks = [];
  // By the calendar, not by adding milliseconds: days of 23 and 25 hours keep round hours.
  for (; tick.getTime() <= to; tick.setHours(tick.getHours() + 1)) {
    if (tick.getTime() >= from && tick.getHours() % every === 0) ticks.push(tick.getTime());
  }
  return ticks;
}
