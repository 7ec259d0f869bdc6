// One plot as SVG: axes, lines or stacked bars, gaps, and a cursor at the selected health check.

import { el, setText, svg } from "./dom.js";
import { known, timeOrDate, UNKNOWN } from "./formatting.js";
import { axis, formatOnAxis, formatTick, formatValue, timeTicks } from "./scales.js";
import { findGaps, segments, spans, STATUSES, usualInterval } from "./series.js";

// A pointer that moves further than this, in pixels, while it is down, chooses a time to zoom into.
const DRAG_PX = 8;
// A limit that is further away than this, compared with the highest value, is not drawn: the axis
// would have no room for the values.
const FAR_LIMIT = 4;
const STEPS_BY_KEY = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12 };

export class Chart {
  /**
   * @param {object} spec `{id, title, unit, kind: "line" | "bars" | "states", height (em)}`
   * @param {(index: number | null) => void} onSelect called with the selected health check's index
   * @param {(from: number, to: number) => void} onZoom called with the times (ms) that were dragged over
   */
  constructor(spec, onSelect, onZoom) {
    this.spec = spec;
    this.title = svg("title", { id: `plot-${spec.id}-title` }, spec.title);
    this.desc = svg("desc", { id: `plot-${spec.id}-desc` });
    this.drawing = svg("g");
    this.cursor = svg("g", { class: "cursor", visibility: "hidden" });
    this.zoomed = svg("rect", { class: "zoomed", visibility: "hidden" });
    this.svg = svg(
      "svg",
      { role: "img", "aria-labelledby": `${this.title.id} ${this.desc.id}` },
      this.title,
      this.desc,
      this.drawing,
      this.zoomed,
      this.cursor,
    );
    this.legend = el("ul", { class: "legend" });
    this.slider = el("div", {
      class: "time-slider",
      role: "slider",
      tabindex: 0,
      "aria-label": `${spec.title}: time`,
      "aria-orientation": "horizontal",
      "aria-valuemin": 0,
    });
    this.node = el(
      "figure",
      { class: "chart", "data-plot": spec.id },
      el("figcaption", null, el("span", { class: "title" }, spec.title), this.legend),
      el("div", { class: "canvas" }, this.svg, this.slider),
    );
    this.index = null;
    this.dragged = null;
    this.#listen(onSelect, onZoom);
  }

  /**
   * Draw the plot.
   *
   * @param {object} frame `{checks, from, to, marks}`: at least one health check, the time shown (ms),
   *   and what was done in it: `[{t, what}, …]`
   * @param {object[]} series `[{label, tone, value(check), limit}, …]`
   */
  draw(frame, series) {
    Object.assign(this, { frame, series });
    const width = Math.floor(this.svg.parentElement.clientWidth);
    if (width <= 0) return;
    const em = parseFloat(getComputedStyle(this.svg).fontSize);
    const height = Math.round(this.spec.height * em);
    const states = this.spec.kind === "states";
    const left = states ? 0 : Math.round(4.6 * em);
    this.box = { left, right: width - Math.round(0.5 * em), top: Math.round(0.6 * em), bottom: height - Math.round(1.5 * em) };
    this.em = em;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("height", height);
    const drawn = states ? this.#states() : this.#values();
    this.drawing.replaceChildren(...this.#timeAxis(), ...drawn, ...this.#marks());
    setText(this.desc, this.#summary());
    this.slider.setAttribute("aria-valuemax", frame.checks.length - 1);
    this.select(this.index);
  }

  /** Show the values of the health check at `index`; null: of the latest. */
  select(index) {
    if (!this.frame) return;
    const { checks } = this.frame;
    this.index = index === null ? null : Math.min(index, checks.length - 1);
    const check = checks[this.index ?? checks.length - 1];
    this.legend.replaceChildren(
      ...this.series.map(({ label, tone, value, text }) =>
        el(
          "li",
          null,
          tone && el("span", { class: `swatch ${tone}`, "aria-hidden": "true" }),
          label && `${label} `,
          el("b", null, text ? text(check) : this.#format(value(check))),
        ),
      ),
    );
    this.slider.setAttribute("aria-valuenow", this.index ?? checks.length - 1);
    const values = [...this.legend.children].map((item) => item.textContent).join(", ");
    this.slider.setAttribute("aria-valuetext", `${this.#time(check.t)}: ${values}`);
    this.#drawCursor();
  }

  #format(value) {
    return known(value) ? formatValue(value, this.spec.unit) : UNKNOWN;
  }

  #time(t) {
    return timeOrDate(new Date(t), new Date(this.frame.to));
  }

  #x(t) {
    const { from, to } = this.frame;
    const { left, right } = this.box;
    return round(left + ((right - left) * (t - from)) / (to - from));
  }

  #timeAxis() {
    const { from, to, checks } = this.frame;
    const { left, right, top, bottom } = this.box;
    const gaps = findGaps(checks, from, to).map(([start, end]) =>
      svg("rect", { class: "gap", x: this.#x(start), y: top, width: round(this.#x(end) - this.#x(start)), height: bottom - top }),
    );
    const maxTicks = Math.max(2, Math.floor((right - left) / (4 * this.em)));
    const ticks = timeTicks(from, to, maxTicks).map((t) => {
      const x = this.#x(t);
      const fits = x >= left + this.em && x <= right - this.em;
      return svg(
        "g",
        { class: "tick" },
        svg("line", { x1: x, x2: x, y1: bottom, y2: bottom + 0.3 * this.em }),
        fits && svg("text", { x, y: bottom + 1.3 * this.em, "text-anchor": "middle" }, formatTick(t, from, to)),
      );
    });
    return [...gaps, ...ticks, svg("line", { class: "base", x1: left, x2: right, y1: bottom, y2: bottom })];
  }

  #values() {
    const { left, right, top, bottom } = this.box;
    const stacked = this.spec.kind === "bars";
    const { checks } = this.frame;
    const highest = Math.max(
      0,
      ...checks.map((check) => {
        const values = this.series.map(({ value }) => value(check)).filter(known);
        return stacked ? values.reduce((sum, value) => sum + value, 0) : Math.max(0, ...values);
      }),
    );
    const limits = this.series
      .map(({ limit, tone }) => ({ limit, tone }))
      .filter(({ limit }) => known(limit) && limit <= FAR_LIMIT * highest);
    const scale = axis(Math.max(highest, ...limits.map(({ limit }) => limit)), this.spec.unit);
    const y = (value) => round(bottom - ((bottom - top) * Math.max(0, value)) / scale.top);
    const lines = scale.ticks.map((value) =>
      svg(
        "g",
        { class: "rule" },
        value > 0 && svg("line", { x1: left, x2: right, y1: y(value), y2: y(value) }),
        svg("text", { x: left - 0.5 * this.em, y: y(value) + 0.35 * this.em, "text-anchor": "end" }, formatOnAxis(value, this.spec.unit)),
      ),
    );
    // Above its line, or below that at the top.
    const labelAt = (line) => (line < top + this.em ? line + this.em : line - 0.3 * this.em);
    const thresholds = limits.map(({ limit, tone }) =>
      svg(
        "g",
        { class: `limit ${tone}` },
        svg("line", { x1: left, x2: right, y1: y(limit), y2: y(limit) }),
        svg("text", { x: left + 0.3 * this.em, y: labelAt(y(limit)) }, `limit ${this.#format(limit)}`),
      ),
    );
    return [...lines, ...(stacked ? this.#bars(y) : this.#lines(y, bottom)), ...thresholds];
  }

  #lines(y, bottom) {
    const { checks } = this.frame;
    return this.series.flatMap(({ tone, value }, order) =>
      segments(checks, value).flatMap((segment) => {
        const path = segment.map(({ t, value: v }) => `${this.#x(t)} ${y(v)}`).join("L");
        if (segment.length === 1) {
          return [svg("circle", { class: `dot ${tone}`, cx: this.#x(segment[0].t), cy: y(segment[0].value), r: 2 })];
        }
        const area = `M${this.#x(segment[0].t)} ${bottom}L${path}L${this.#x(segment.at(-1).t)} ${bottom}Z`;
        return [
          order === 0 && svg("path", { class: `area ${tone}`, d: area }),
          svg("path", { class: `line ${tone}`, d: `M${path}` }),
        ].filter(Boolean);
      }),
    );
  }

  #bars(y) {
    const { checks, from } = this.frame;
    const usual = usualInterval(checks);
    return checks.flatMap((check, index) => {
      // A rate covers the time since the previous health check.
      const since = Math.max(checks[index - 1]?.t ?? from, check.t - usual, from);
      const x = this.#x(since);
      const width = round(Math.max(1, this.#x(check.t) - x));
      let below = 0;
      return this.series.flatMap(({ tone, value }) => {
        const rate = value(check);
        if (!known(rate) || rate <= 0) return [];
        const foot = y(below);
        below += rate;
        return [svg("rect", { class: `bar ${tone}`, x, width, y: y(below), height: round(foot - y(below)) })];
      });
    });
  }

  #states() {
    const { checks, to } = this.frame;
    const { top, bottom } = this.box;
    return spans(checks, to)
      .filter(({ status }) => STATUSES.includes(status))
      .map(({ from, to: end, status }) => {
        // The height differs as well, for readers who cannot tell the colours apart.
        const height = ((bottom - top) * (1 + STATUSES.indexOf(status))) / STATUSES.length;
        const x = this.#x(from);
        return svg(
          "rect",
          { class: `state ${status}`, x, y: round(bottom - height), width: round(Math.max(1, this.#x(end) - x)), height: round(height) },
        );
      });
  }

  /** What was done, as a line in every plot; the list below the verdict says what each is. */
  #marks() {
    const { top, bottom } = this.box;
    return this.frame.marks.map(({ t, what }) => {
      const x = this.#x(t);
      return svg("line", { class: `mark ${what}`, x1: x, x2: x, y1: top, y2: bottom });
    });
  }

  /** The plot in a few sentences, for screen readers. */
  #summary() {
    const { checks, from, to } = this.frame;
    const time = `From ${this.#time(from)} to ${this.#time(to)}.`;
    if (this.spec.kind === "states") {
      const parts = STATUSES.map((status) => [status, checks.filter((check) => check.status === status).length]);
      return `${time} Health checks: ${parts.map(([status, n]) => `${n} ${status}`).join(", ")}.`;
    }
    const each = this.series.map(({ label, value, limit }) => {
      const measured = checks.filter((check) => known(value(check)));
      if (!measured.length) return `${label || this.spec.title}: unknown.`;
      const high = measured.reduce((best, check) => (value(check) > value(best) ? check : best));
      const last = this.#format(value(measured.at(-1)));
      return `${label || this.spec.title}: highest ${this.#format(value(high))} at ${this.#time(high.t)}, last ${last}${known(limit) ? `, limit ${this.#format(limit)}` : ""}.`;
    });
    return [time, ...each].join(" ");
  }

  #drawCursor() {
    const check = this.index === null ? null : this.frame.checks[this.index];
    this.cursor.setAttribute("visibility", check && this.box ? "visible" : "hidden");
    if (!check || !this.box) return;
    const x = this.#x(check.t);
    const { top, bottom } = this.box;
    this.cursor.replaceChildren(svg("line", { x1: x, x2: x, y1: top, y2: bottom }));
  }

  #listen(onSelect, onZoom) {
    const { slider } = this;
    slider.addEventListener("pointerdown", (event) => {
      this.dragged = event.button === 0 ? { from: event.clientX, to: event.clientX } : null;
    });
    slider.addEventListener("pointermove", (event) => {
      onSelect(this.#indexAt(event));
      if (!this.dragged || !event.buttons) return;
      this.dragged.to = event.clientX;
      if (this.#isDrag()) slider.setPointerCapture(event.pointerId);
      this.#showDragged();
    });
    slider.addEventListener("pointerup", () => {
      const { dragged } = this;
      const zooms = this.#isDrag();
      this.#endDrag();
      if (zooms) onZoom(...[dragged.from, dragged.to].map((x) => this.#timeAt(x)).sort((one, other) => one - other));
    });
    slider.addEventListener("pointercancel", () => this.#endDrag());
    // On click, not on pointerdown, which may be the start of scrolling. Focus first: the plot that
    // loses the focus clears the selection.
    slider.addEventListener("click", (event) => {
      slider.focus({ preventScroll: true });
      onSelect(this.#indexAt(event));
    });
    // A plot with the focus keeps its selection when the pointer leaves or the finger is lifted.
    const hasFocus = () => document.activeElement?.classList.contains("time-slider");
    slider.addEventListener("pointerleave", () => onSelect(hasFocus() ? this.index : null));
    slider.addEventListener("blur", () => onSelect(null));
    slider.addEventListener("keydown", (event) => {
      const last = this.frame.checks.length - 1;
      const current = this.index ?? last;
      const step = STEPS_BY_KEY[event.key];
      const next = step ? current + step : { Home: 0, End: last, Escape: null }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      onSelect(next === null ? null : Math.max(0, Math.min(last, next)));
    });
  }

  #isDrag() {
    return this.dragged !== null && Math.abs(this.dragged.to - this.dragged.from) > DRAG_PX;
  }

  #endDrag() {
    this.dragged = null;
    this.#showDragged();
  }

  #showDragged() {
    this.zoomed.setAttribute("visibility", this.#isDrag() ? "visible" : "hidden");
    if (!this.#isDrag()) return;
    const edge = this.slider.getBoundingClientRect().left;
    const { top, bottom } = this.box;
    const [start, end] = [this.dragged.from - edge, this.dragged.to - edge].sort((one, other) => one - other);
    for (const [name, value] of Object.entries({ x: start, width: end - start, y: top, height: bottom - top })) {
      this.zoomed.setAttribute(name, round(value));
    }
  }

  /** The time at a pointer's place, within the time shown. */
  #timeAt(clientX) {
    const { from, to } = this.frame;
    const { left, right } = this.box;
    const x = clientX - this.slider.getBoundingClientRect().left;
    return Math.min(to, Math.max(from, from + ((to - from) * (x - left)) / (right - left)));
  }

  #indexAt(event) {
    const { checks } = this.frame;
    const t = this.#timeAt(event.clientX);
    let nearest = 0;
    checks.forEach((check, index) => {
      if (Math.abs(check.t - t) < Math.abs(checks[nearest].t - t)) nearest = index;
    });
    return nearest;
  }
}

const round = (value) => Math.round(value * 10) / 10;
