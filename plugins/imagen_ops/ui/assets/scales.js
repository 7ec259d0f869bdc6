// Axes: round steps for numbers, durations and hours of the reader's clock. No DOM.

import { clock, compact, day, duration, number } from "./formatting.js";

const DURATIONS_S = [
  1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200,
];
const MINUTES = [5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1_440];
const DAY_MIN = 1_440;
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

/**
 * Round times of the reader's clock from `from` to `to` (ms), at most `max` of them: minutes, hours or
 * midnights. By the calendar, not by adding milliseconds, so that hours stay round on days of 23 or 25.
 */
export function timeTicks(from, to, max) {
  const minutes = (to - from) / 60_000;
  const every = MINUTES.find((step) => minutes / step <= max) ?? DAY_MIN * Math.ceil(minutes / DAY_MIN / max);
  const tick = new Date(from);
  tick.setHours(every < 60 ? tick.getHours() : 0, 0, 0, 0);
  const ticks = [];
  for (let day = 0; tick.getTime() <= to; day += 1) {
    const wholeDay = every >= DAY_MIN && day % (every / DAY_MIN) === 0;
    const ofDay = tick.getHours() * 60 + tick.getMinutes();
    if (tick.getTime() >= from && (every < DAY_MIN ? ofDay % every === 0 : wholeDay)) ticks.push(tick.getTime());
    if (every >= DAY_MIN) tick.setDate(tick.getDate() + 1);
    else tick.setMinutes(tick.getMinutes() + Math.min(every, 60));
  }
  return ticks;
}

/** A tick's time as text: of a midnight the date, where the axis is longer than a day. */
export function formatTick(t, from, to) {
  const date = new Date(t);
  const midnight = date.getHours() === 0 && date.getMinutes() === 0;
  return midnight && to - from > 1.5 * DAY_MIN * 60_000 ? day(date) : clock(date);
}
