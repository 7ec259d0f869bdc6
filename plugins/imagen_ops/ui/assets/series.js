// What the plots are made of: looks over time, and where there were none. No DOM.

import { known } from "./words.js";

// Looks further apart than this many times the usual are not joined.
const APART = 3;
const USUAL_MS = 300_000;

export const STATUSES = ["HEALTHY", "DEGRADED", "DOWN"];
// Colours belong to reasons, whichever of them there are; others share the last.
export const REASONS = [
  "UNAVAILABLE",
  "BLOCKED",
  "NO_IMAGE",
  "MODEL_ERROR",
  "INVALID_PROMPT",
  "STORAGE_ERROR",
];

/** The looks of an answer, oldest first, with their times in ms; what has no time is left out. */
export function looksOf(points) {
  return points
    .map((point) => ({ ...point, t: Date.parse(point.at) }))
    .filter(({ t }) => !Number.isNaN(t))
    .sort((one, other) => one.t - other.t);
}

/** The usual time between looks, in ms. */
export function usualGap(looks) {
  const gaps = looks.slice(1).map((look, index) => look.t - looks[index].t);
  gaps.sort((one, other) => one - other);
  return Math.max(gaps[Math.floor(gaps.length / 2)] ?? USUAL_MS, 1_000);
}

/** Spans `[from, to]` in ms within which there was no look. */
export function holes(looks, from, to) {
  const most = APART * usualGap(looks);
  const edges = [from, ...looks.map(({ t }) => t), to];
  return edges
    .slice(1)
    .map((end, index) => [edges[index], end])
    .filter(([start, end]) => end - start > most);
}

/** Runs of neighbouring looks with a value: `[[{t, value, index}, …], …]`. */
export function runs(looks, valueOf) {
  const most = APART * usualGap(looks);
  const found = [];
  let last = null;
  looks.forEach((look, index) => {
    const value = valueOf(look);
    if (!known(value)) {
      last = null;
      return;
    }
    if (last === null || look.t - last > most) found.push([]);
    found.at(-1).push({ t: look.t, value, index });
    last = look.t;
  });
  return found;
}

/** Spans of looks that found the same: `[{from, to, status}, …]`; each look holds until the next. */
export function spans(looks, to) {
  const usual = usualGap(looks);
  const found = [];
  looks.forEach((look, index) => {
    const next = looks[index + 1]?.t ?? to;
    const end = next - look.t > APART * usual ? look.t + usual : next;
    const last = found.at(-1);
    if (last && last.status === look.status && last.to >= look.t) last.to = end;
    else found.push({ from: look.t, to: end, status: look.status });
  });
  return found;
}

/** The reasons of failures that occur, those with a colour of their own first. */
export function reasonsOf(looks) {
  const found = new Set(looks.flatMap((look) => Object.keys(look.failures_per_minute ?? {})));
  return [...REASONS.filter((reason) => found.delete(reason)), ...[...found].sort()];
}

/** A look's failures per minute over all reasons, or null if nobody knows. */
export function failuresOf({ failures_per_minute: failures }) {
  if (!failures) return null;
  return Object.values(failures).reduce((sum, value) => sum + (known(value) ? value : 0), 0);
}
