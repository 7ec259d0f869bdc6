// One plot as SVG: axes, lines or stacked bars, gaps as gaps, and a mark at the moment looked at.

import { el, say, svg } from "./dom.js";
import { axis, hourTicks, inUnit, onAxis } from "./scales.js";
import { holes, runs, spans, STATUSES, usualGap } from "./series.js";
import { clock, known, UNKNOWN, when } from "./words.js";

const PATIENT_KEYS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -12, PageDown: 12 };

export class Chart {
  /**
   * @param {object} spec `{id, title, unit, kind: "line" | "bars" | "states", height (em)}`
   * @param {(index: number | null) => void} look told of the moment looked at
   */
  constructor(spec, look) {
    this.spec = spec;
    this.title = svg("title", { id: `plot-${spec.id}-title` }, spec.title);
    this.desc = svg("desc", { id: `plot-${spec.id}-desc` });
    this.drawing = svg("g");
    this.cursor = svg("g", { class: "cursor", visibility: "hidden" });
    this.svg = svg(
      "svg",
      { role: "img", "aria-labelledby": `${this.title.id} ${this.desc.id}` },
      this.title,
      this.desc,
      this.drawing,
      this.cursor,
    );
    this.legend = el("ul", { class: "legend" });
    this.slider = el("div", {
      class: "moment",
      role: "slider",
      tabindex: 0,
      "aria-label": `${spec.title}: moment`,
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
    this.#listen(look);
  }

  /** Draw. `frame`: `{looks, from, to}`, of one look at least; `series`: `[{label, tone, value(look)}, …]`. */
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
    this.drawing.replaceChildren(...this.#timeAxis(), ...(states ? this.#states() : this.#values()));
    say(this.desc, this.#summary());
    this.slider.setAttribute("aria-valuemax", frame.looks.length - 1);
    this.mark(this.index);
  }

  /** Show the values at a look, or with null the latest. */
  mark(index) {
    if (!this.frame) return;
    const { looks } = this.frame;
    this.index = index === null ? null : Math.min(index, looks.length - 1);
    const look = looks[this.index ?? looks.length - 1];
    this.legend.replaceChildren(
      ...this.series.map(({ label, tone, value, words }) =>
        el(
          "li",
          null,
          tone && el("span", { class: `swatch ${tone}`, "aria-hidden": "true" }),
          label && `${label} `,
          el("b", null, (words ?? ((one) => this.#words(value(one))))(look)),
        ),
      ),
    );
    this.slider.setAttribute("aria-valuenow", this.index ?? looks.length - 1);
    const said = [...this.legend.children].map((item) => item.textContent).join(", ");
    this.slider.setAttribute("aria-valuetext", `${this.#when(look.t)}: ${said}`);
    this.#cursor();
  }

  #words(value) {
    return known(value) ? inUnit(value, this.spec.unit) : UNKNOWN;
  }

  #when(t) {
    return when(new Date(t), new Date(this.frame.to));
  }

  #x(t) {
    const { from, to } = this.frame;
    const { left, right } = this.box;
    return round(left + ((right - left) * (t - from)) / (to - from));
  }

  #timeAxis() {
    const { from, to, looks } = this.frame;
    const { left, right, top, bottom } = this.box;
    const gaps = holes(looks, from, to).map(([start, end]) =>
      svg("rect", { class: "hole", x: this.#x(start), y: top, width: round(this.#x(end) - this.#x(start)), height: bottom - top }),
    );
    const most = Math.max(2, Math.floor((right - left) / (4 * this.em)));
    const ticks = hourTicks(from, to, most).map((t) => {
      const x = this.#x(t);
      const fits = x >= left + this.em && x <= right - this.em;
      return svg(
        "g",
        { class: "tick" },
        svg("line", { x1: x, x2: x, y1: bottom, y2: bottom + 0.3 * this.em }),
        fits && svg("text", { x, y: bottom + 1.3 * this.em, "text-anchor": "middle" }, clock(new Date(t))),
      );
    });
    return [...gaps, ...ticks, svg("line", { class: "base", x1: left, x2: right, y1: bottom, y2: bottom })];
  }

  #values() {
    const { left, right, top, bottom } = this.box;
    const stacked = this.spec.kind === "bars";
    const { looks } = this.frame;
    const highest = Math.max(
      0,
      ...looks.map((look) => {
        const values = this.series.map(({ value }) => value(look)).filter(known);
        return stacked ? values.reduce((sum, value) => sum + value, 0) : Math.max(0, ...values);
      }),
    );
    const scale = axis(highest, this.spec.unit);
    const y = (value) => round(bottom - ((bottom - top) * Math.max(0, value)) / scale.top);
    const lines = scale.ticks.map((value) =>
      svg(
        "g",
        { class: "rule" },
        value > 0 && svg("line", { x1: left, x2: right, y1: y(value), y2: y(value) }),
        svg("text", { x: left - 0.5 * this.em, y: y(value) + 0.35 * this.em, "text-anchor": "end" }, onAxis(value, this.spec.unit)),
      ),
    );
    return [...lines, ...(stacked ? this.#bars(y) : this.#lines(y, bottom))];
  }

  #lines(y, bottom) {
    const { looks } = this.frame;
    return this.series.flatMap(({ tone, value }, order) =>
      runs(looks, value).flatMap((run) => {
        const path = run.map(({ t, value: v }) => `${this.#x(t)} ${y(v)}`).join("L");
        if (run.length === 1) {
          return [svg("circle", { class: `dot ${tone}`, cx: this.#x(run[0].t), cy: y(run[0].value), r: 2 })];
        }
        const area = `M${this.#x(run[0].t)} ${bottom}L${path}L${this.#x(run.at(-1).t)} ${bottom}Z`;
        return [
          order === 0 && svg("path", { class: `area ${tone}`, d: area }),
          svg("path", { class: `line ${tone}`, d: `M${path}` }),
        ].filter(Boolean);
      }),
    );
  }

  #bars(y) {
    const { looks, from } = this.frame;
    const usual = usualGap(looks);
    return looks.flatMap((look, index) => {
      // A rate is of the time since the look before.
      const since = Math.max(looks[index - 1]?.t ?? from, look.t - usual, from);
      const x = this.#x(since);
      const width = round(Math.max(1, this.#x(look.t) - x));
      let below = 0;
      return this.series.flatMap(({ tone, value }) => {
        const rate = value(look);
        if (!known(rate) || rate <= 0) return [];
        const foot = y(below);
        below += rate;
        return [svg("rect", { class: `bar ${tone}`, x, width, y: y(below), height: round(foot - y(below)) })];
      });
    });
  }

  #states() {
    const { looks, to } = this.frame;
    const { top, bottom } = this.box;
    return spans(looks, to)
      .filter(({ status }) => STATUSES.includes(status))
      .map(({ from, to: end, status }) => {
        // The height says it too, to whoever cannot tell the colours apart.
        const height = ((bottom - top) * (1 + STATUSES.indexOf(status))) / STATUSES.length;
        const x = this.#x(from);
        return svg(
          "rect",
          { class: `state ${status}`, x, y: round(bottom - height), width: round(Math.max(1, this.#x(end) - x)), height: round(height) },
        );
      });
  }

  /** The plot in a sentence or two, for whoever does not see it. */
  #summary() {
    const { looks, from, to } = this.frame;
    const time = `From ${this.#when(from)} to ${this.#when(to)}.`;
    if (this.spec.kind === "states") {
      const parts = STATUSES.map((status) => [status, looks.filter((look) => look.status === status).length]);
      return `${time} Looks: ${parts.map(([status, n]) => `${n} ${status}`).join(", ")}.`;
    }
    const each = this.series.map(({ label, value }) => {
      const seen = looks.filter((look) => known(value(look)));
      if (!seen.length) return `${label || this.spec.title}: not known.`;
      const high = seen.reduce((best, look) => (value(look) > value(best) ? look : best));
      const last = this.#words(value(seen.at(-1)));
      return `${label || this.spec.title}: highest ${this.#words(value(high))} at ${clock(new Date(high.t))}, last ${last}.`;
    });
    return [time, ...each].join(" ");
  }

  #cursor() {
    const look = this.index === null ? null : this.frame.looks[this.index];
    this.cursor.setAttribute("visibility", look && this.box ? "visible" : "hidden");
    if (!look || !this.box) return;
    const x = this.#x(look.t);
    const { top, bottom } = this.box;
    this.cursor.replaceChildren(svg("line", { x1: x, x2: x, y1: top, y2: bottom }));
  }

  #listen(look) {
    const { slider } = this;
    slider.addEventListener("pointermove", (event) => look(this.#at(event)));
    // Not when the pointer goes down: that may be the beginning of scrolling past. The focus first: the plot
    // that loses it lets go of the moment.
    slider.addEventListener("click", (event) => {
      slider.focus({ preventScroll: true });
      look(this.#at(event));
    });
    // Whoever holds a moment by the focus keeps it when the pointer has passed by, or the finger is lifted.
    const held = () => document.activeElement?.classList.contains("moment");
    slider.addEventListener("pointerleave", () => look(held() ? this.index : null));
    slider.addEventListener("blur", () => look(null));
    slider.addEventListener("keydown", (event) => {
      const end = this.frame.looks.length - 1;
      const from = this.index ?? end;
      const step = PATIENT_KEYS[event.key];
      const next = step ? from + step : { Home: 0, End: end, Escape: null }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      look(next === null ? null : Math.max(0, Math.min(end, next)));
    });
  }

  #at(event) {
    const { looks, from, to } = this.frame;
    const { left, right } = this.box;
    const x = event.clientX - this.slider.getBoundingClientRect().left;
    const t = from + ((to - from) * (x - left)) / (right - left);
    let best = 0;
    looks.forEach((one, index) => {
      if (Math.abs(one.t - t) < Math.abs(looks[best].t - t)) best = index;
    });
    return best;
  }
}

const round = (value) => Math.round(value * 10) / 10;
