// Numbers, durations and times as people on call read them. No DOM, no state.

const UNITS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
];
const LONGEST_S = 10_000 * 86_400;
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SMALL = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const SECONDS = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const FULL_TIME = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });

export const UNKNOWN = "–";

/** Whether `value` is a number that can be shown. */
export const known = (value) => typeof value === "number" && Number.isFinite(value);

/** `12,345`; below 10 with up to two decimals. */
export function number(value) {
  if (!known(value)) return UNKNOWN;
  return Math.abs(value) < 10 ? SMALL.format(value) : WHOLE.format(value);
}

/** `12.3K`, where space is short. */
export const compact = (value) => (known(value) ? COMPACT.format(value) : UNKNOWN);

/** `1 prompt`, `3,400 prompts`. */
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

/** The two largest units, rounded down: `45 s`, `12 min`, `3 h 20 min`. */
export function duration(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds >= LONGEST_S) return "over 10,000 d";
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1).replace(/\.0$/, "")} s`;
  const whole = Math.floor(seconds);
  const first = UNITS.findIndex(([size]) => whole >= size);
  const [size, unit] = UNITS[first];
  if (first === UNITS.length - 1) return `${whole} s`;
  const [smaller, smallerUnit] = UNITS[first + 1];
  const rest = Math.floor((whole % size) / smaller);
  return `${WHOLE.format(Math.floor(whole / size))} ${unit}${rest ? ` ${rest} ${smallerUnit}` : ""}`;
}

/** `just now`, `2 min ago`: in the largest unit, rounded down. */
export function ago(seconds) {
  if (!known(seconds)) return UNKNOWN;
  if (seconds < 10) return "just now";
  const [size, unit] = UNITS.find(([smallest]) => seconds >= smallest);
  return `${WHOLE.format(Math.floor(seconds / size))} ${unit} ago`;
}

/** `$1,204.50`, `under $0.01`. */
export function dollars(value) {
  if (!known(value)) return UNKNOWN;
  if (value > 0 && value < 0.01) return "under $0.01";
  return `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

/** `2.4 GB`. */
export function bytes(value) {
  if (!known(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(value, 1)) / 3));
  return `${SMALL.format(Math.round((value / 1000 ** step) * 10) / 10)} ${units[step]}`;
}

/** `12%`, `under 1%`. */
export function share(part, whole) {
  if (!known(part) || !known(whole) || whole <= 0) return UNKNOWN;
  const percent = (100 * part) / whole;
  return percent > 0 && percent < 1 ? "under 1%" : `${Math.round(percent)}%`;
}

/** `text` cut to at most `max` characters. Never cuts through an emoji: half of one would be a box. */
export function cut(text, max) {
  const whole = String(text ?? "");
  let start = "";
  let characters = 0;
  for (const character of whole) {
    if (characters === max) return `${start}…`;
    start += character;
    characters += 1;
  }
  return whole;
}

/** The date of an ISO time, or null if it is not one. */
export function parseTime(iso) {
  const parsed = typeof iso === "string" ? new Date(iso) : null;
  return parsed && !Number.isNaN(parsed.getTime()) ? parsed : null;
}

/** `14:05`. This and all times below are in the reader's own time zone. */
export const clock = (date) => CLOCK.format(date);

/** `21 Nov`. */
export const day = (date) => DAY.format(date);

/** `14:05:09`. */
export const clockWithSeconds = (date) => SECONDS.format(date);

/** `14:05` on the day of `now`, `21 Nov, 14:05` on any other day. */
export function timeOrDate(date, now) {
  const sameDay = date.toDateString() === now.toDateString();
  return sameDay ? clock(date) : `${DAY.format(date)}, ${clock(date)}`;
}

/** `21 Nov 2026, 14:05:09 CET`. */
export const fullTime = (date) => FULL_TIME.format(date);
