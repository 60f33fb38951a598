// A small chart of the last 15 minutes: lines over time, with a cursor for the mouse and the arrow keys.

import { make, put } from "./tables.js";

const SVG = "http://www.w3.org/2000/svg";
const SPAN = 900, STEP = 5; // seconds
const LEFT = 58, BOTTOM = 20, TOP = 8, HEIGHT = 150;
/** @type {[number, string, string][]} minutes ago, label, anchor of the label */
const MARKS = [[15, "15 min ago", "start"], [10, "10", "middle"], [5, "5", "middle"], [0, "now", "end"]];

export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Call `draw(width)` once the element is laid out, and whenever its width has changed. Nothing else reads the width,
// because each read makes the browser lay out the whole page again.
export function whenSized(element, draw) {
  let known = 0;
  new ResizeObserver(([entry]) => {
    const width = entry.contentRect.width;
    if (width && width !== known) { known = width; draw(width); }
  }).observe(element);
}

export class Chart {
  // series: two of { name, value(point) }; format: returns the text of a value.
  constructor(element, title, series, format, least) {
    this.title = title;
    this.series = series;
    this.format = format;
    this.least = least;
    this.points = [];
    this.cursor = null;
    this.values = series.map(() => make("b"));
    const legend = make("p", { className: "legend" }, ...series.map((one, index) =>
      make("span", { className: index ? "two" : "one" }, make("i"), `${one.name} `, this.values[index])));
    this.when = make("span");
    legend.append(this.when);
    this.grid = draw("g");
    this.area = draw("path", { class: "area" });
    this.lines = series.map((_, index) => draw("path", { class: index ? "line two" : "line" }));
    this.mark = draw("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.svg = draw("svg", { role: "img", tabindex: "0" }, this.grid, this.area, ...this.lines.toReversed(), this.mark);
    element.append(legend, this.svg);
    this.svg.addEventListener("pointermove", (event) => this.point(this.timeAt(event.offsetX)));
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
    this.width = 0;
    whenSized(element, (width) => { this.width = Math.max(120, width); this.draw(); });
  }

  show(points) {
    this.points = points;
    this.draw();
  }

  get now() { return this.points.at(-1)?.time ?? Date.now() / 1000; }
  x(time) { return LEFT + (this.width - LEFT) * (1 - (this.now - time) / SPAN); }
  y(value) { return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / this.most); }
  timeAt(x) { return this.now - SPAN * (1 - (x - LEFT) / (this.width - LEFT)); }

  draw() {
    if (!this.width) return; // not laid out yet
    const known = this.points.flatMap((point) => this.series.map((one) => one.value(point) ?? 0));
    this.most = nice(Math.max(this.least, ...known));
    this.drawGrid();
    for (const [index, one] of this.series.entries()) this.lines[index].setAttribute("d", this.path(one));
    const first = this.path(this.series[0]);
    this.area.setAttribute("d", this.points.length > 1 && !first.slice(1).includes("M")
      ? `${first}L${this.x(this.now)},${this.y(0)}L${this.x(this.points[0].time)},${this.y(0)}Z` : "");
    this.tell();
  }

  drawGrid() {
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const y = this.y(this.most * share);
      parts.push(draw("line", { class: "grid", x1: LEFT, x2: this.width, y1: y, y2: y }));
      parts.push(draw("text", { class: "axis", x: LEFT - 6, y: y + 4, "text-anchor": "end" }, this.format(this.most * share)));
    }
    for (const [minutes, text, anchor] of MARKS) {
      parts.push(draw("text", { class: "axis", x: this.x(this.now - minutes * 60), y: HEIGHT - 4, "text-anchor": anchor }, text));
    }
    this.grid.replaceChildren(...parts);
  }

  path(one) {
    let path = "", previous = 0;
    for (const point of this.points) {
      const value = one.value(point);
      if (value === null || point.time < this.now - SPAN) { previous = 0; continue; }
      const joins = point.time - previous <= 2 * STEP;
      path += `${joins ? "L" : "M"}${this.x(point.time).toFixed(1)},${this.y(value).toFixed(1)}`;
      previous = point.time;
    }
    return path;
  }

  point(time) {
    this.cursor = time;
    this.tell();
  }

  onKey(event) {
    const steps = { ArrowLeft: -4 * STEP, ArrowRight: 4 * STEP }[event.key];
    if (!steps) return;
    event.preventDefault();
    this.point(Math.min(this.now, Math.max(this.now - SPAN, (this.cursor ?? this.now) + steps)));
  }

  // The values at the cursor, or the latest.
  tell() {
    const at = this.cursor ?? this.now;
    const point = this.points.findLast((one) => one.time <= at + STEP / 2);
    const there = point && Math.abs(point.time - at) <= 2 * STEP;
    const texts = this.series.map((one) => (there && one.value(point) !== null ? this.format(one.value(point)) : "–"));
    for (const [index, text] of texts.entries()) put(this.values[index], text);
    put(this.when, this.cursor === null ? "" : new Date(at * 1000).toLocaleTimeString());
    this.mark.setAttribute("visibility", this.cursor === null ? "hidden" : "visible");
    this.mark.setAttribute("x1", this.x(at));
    this.mark.setAttribute("x2", this.x(at));
    const values = this.series.map((one, index) => `${one.name} ${texts[index]}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title} over 15 minutes; ${this.cursor === null ? "now" : this.when.textContent}: ${values}`);
  }
}

// Return the smallest of 1, 2, 5, 10, ... that is not below `value`.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((one) => one * power).find((one) => one >= value * 0.999);
}
