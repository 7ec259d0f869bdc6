// Axes: round steps for numbers, durations and hours of the reader's clock. No DOM.

import { compact, duration, number } from "./formatting.js";

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

/**
 * An axis that starts at 0: its top, and where its lines are.
 *
 * @param {number} highest the largest value to show
 * @param {"duration" | "count" | "rate"} unit durations in seconds
 * @param {number} lines about how many
 */
export function axis(highest, unit, lines = 3) {
  const minTop = unit === "duration" ? 10 : unit === "count" ? 4 : 1;
  const minStep = Math.max(highest, minTop) / lines;
  let step = roundStep(minStep);
  if (unit === "duration") {
    step = DURATIONS_S.find((seconds) => seconds >= minStep) ?? DAY_S * roundStep(Math.max(1, minStep / DAY_S));
  }
  const steps = Math.max(1, Math.ceil(Math.max(highest, minTop) / step - 1e-9));
  return { top: steps * step, ticks: Array.from({ length: steps + 1 }, (_, index) => index * step) };
}

/** A value as text with its unit. */
export function formatValue(value, unit) {
  return unit === "duration" ? duration(value) : number(value);
}

/** The same, shorter. */
export function formatOnAxis(value, unit) {
  if (value === 0) return "0";
  if (unit === "duration") return duration(value);
  return Math.abs(value) < 1_000 ? number(value) : compact(value);
}

/** Whole hours of the reader's clock from `from` to `to` (ms), at most `max` of them. */
export function hourTicks(from, to, max) {
  const hours = (to - from) / 3_600_000;
  const every = HOURS.find((step) => hours / step <= max) ?? 24;
  const tick = new Date(from);
  tick.setMinutes(0, 0, 0);
  const ticks = [];
  // By the calendar, not by adding milliseconds, so that hours stay round on days of 23 or 25 hours.
  for (; tick.getTime() <= to; tick.setHours(tick.getHours() + 1)) {
    if (tick.getTime() >= from && tick.getHours() % every === 0) ticks.push(tick.getTime());
  }
  return ticks;
}
