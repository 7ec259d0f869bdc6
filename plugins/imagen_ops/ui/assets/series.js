// The data of the plots: health checks over time, and the gaps between them. No DOM.

import { known } from "./formatting.js";

// Health checks that are further apart than this many usual intervals are not joined by a line.
const GAP_INTERVALS = 3;
const DEFAULT_INTERVAL_MS = 300_000;

export const STATUSES = ["HEALTHY", "DEGRADED", "DOWN"];
// Each reason has a colour of its own, whichever others are shown. New reasons share the last one.
export const REASONS = [
  "UNAVAILABLE",
  "BLOCKED",
  "NO_IMAGE",
  "MODEL_ERROR",
  "INVALID_PROMPT",
  "STORAGE_ERROR",
];

/** The health checks of an answer, oldest first, with `t` in ms. Leaves out those without a time. */
export function checksOf(points) {
  return points
    .map((point) => ({ ...point, t: Date.parse(point.at) }))
    .filter(({ t }) => !Number.isNaN(t))
    .sort((one, other) => one.t - other.t);
}

/** The median time between health checks, in ms. */
export function usualInterval(checks) {
  const intervals = checks.slice(1).map((check, index) => check.t - checks[index].t);
  intervals.sort((one, other) => one - other);
  return Math.max(intervals[Math.floor(intervals.length / 2)] ?? DEFAULT_INTERVAL_MS, 1_000);
}

/** Gaps `[start, end]` in ms in which there was no health check. */
export function findGaps(checks, from, to) {
  const maxInterval = GAP_INTERVALS * usualInterval(checks);
  const edges = [from, ...checks.map(({ t }) => t), to];
  return edges
    .slice(1)
    .map((end, index) => [edges[index], end])
    .filter(([start, end]) => end - start > maxInterval);
}

/** Segments of neighbouring health checks that have a value: `[[{t, value, index}, …], …]`. */
export function segments(checks, valueOf) {
  const maxInterval = GAP_INTERVALS * usualInterval(checks);
  const result = [];
  let last = null;
  checks.forEach((check, index) => {
    const value = valueOf(check);
    if (!known(value)) {
      last = null;
      return;
    }
    if (last === null || check.t - last > maxInterval) result.push([]);
    result.at(-1).push({ t: check.t, value, index });
    last = check.t;
  });
  return result;
}

/** Spans with the same verdict: `[{from, to, status}, …]`. Each verdict holds until the next check. */
export function spans(checks, to) {
  const usual = usualInterval(checks);
  const result = [];
  checks.forEach((check, index) => {
    const next = checks[index + 1]?.t ?? to;
    const end = next - check.t > GAP_INTERVALS * usual ? check.t + usual : next;
    const last = result.at(-1);
    if (last && last.status === check.status && last.to >= check.t) last.to = end;
    else result.push({ from: check.t, to: end, status: check.status });
  });
  return result;
}

/** The reasons of failures that occur, those with a colour of their own first. */
export function reasonsOf(checks) {
  const occurring = new Set(checks.flatMap((check) => Object.keys(check.failures_per_minute ?? {})));
  return [...REASONS.filter((reason) => occurring.delete(reason)), ...[...occurring].sort()];
}

/** A health check's failures per minute over all reasons, or null if they are not known. */
export function failuresOf({ failures_per_minute: failures }) {
  if (!failures) return null;
  return Object.values(failures).reduce((sum, value) => sum + (known(value) ? value : 0), 0);
}
