// A map of the sessions between gateways: entries on the left, exits on the right, a line for each pair with sessions.

import { draw, whenSized } from "./charts.js";
import { make } from "./tables.js";

const MOST = 10; // on each side
const ROW = 30, TOP = 22, BOX = 24;

export class FlowMap {
  constructor(element, onChoose) {
    this.onChoose = onChoose;
    this.svg = draw("svg", { role: "group", "aria-label": "Gateways and the sessions between them" });
    this.empty = make("p", { className: "empty", textContent: "No sessions are open." });
    element.append(this.svg, this.empty);
    this.flows = [];
    this.shown = "";
    this.width = 0;
    whenSized(element, (width) => { this.width = Math.max(240, width); this.shown = ""; this.draw(); });
  }

  show(flows) {
    this.flows = flows;
    this.draw();
  }

  draw() {
    if (!this.width) return; // not laid out yet
    const state = JSON.stringify(this.flows.map((flow) => [flow.source, flow.gateway, flow.sessions, flow.rate > 0]));
    if (state === this.shown || this.svg.contains(document.activeElement)) return;
    this.shown = state;
    this.empty.hidden = this.flows.length > 0;
    const left = side(this.flows, "source"), right = side(this.flows, "gateway");
    const height = this.flows.length ? TOP + ROW * Math.max(left.size, right.size) : 0;
    const width = this.width, box = Math.min(160, width * 0.39);
    this.svg.setAttribute("height", height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = this.flows.length ? [
      draw("text", { class: "side", x: 0, y: 11 }, "entry"),
      draw("text", { class: "side", x: width, y: 11, "text-anchor": "end" }, "exit"),
    ] : [];
    const most = Math.max(...this.flows.map((flow) => flow.sessions));
    for (const flow of this.flows) {
      const from = left.get(flow.source), to = right.get(flow.gateway);
      if (!from || !to) continue;
      const [y1, y2, x1, x2] = [middle(from), middle(to), box, width - box];
      const bend = (x2 - x1) / 2;
      parts.push(draw("path", {
        class: flow.rate > 0 ? "edge busy" : "edge", "stroke-width": (1 + 6 * flow.sessions / most).toFixed(1),
        d: `M${x1},${y1}C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`,
      }, draw("title", {}, `${flow.source} to ${flow.gateway}: ${flow.sessions} sessions`)));
    }
    for (const [name, node] of left) parts.push(this.node(name, node, 0, box, "entry"));
    for (const [name, node] of right) parts.push(this.node(name, node, width - box, box, "exit"));
    this.svg.replaceChildren(...parts);
  }

  node(name, node, x, width, kind) {
    const y = middle(node) - BOX / 2, letters = Math.floor((width - 40) / 6.6);
    const shown = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
    const element = draw("g", {
      class: "node", role: "button", tabindex: "0",
      "aria-label": `${name}, ${kind} of ${node.sessions} sessions: search for it`,
    },
    draw("title", {}, `${name}: ${node.sessions} sessions`),
    draw("rect", { x: x + 0.5, y, width: width - 1, height: BOX, rx: 6 }),
    draw("text", { x: x + 9, y: y + 16 }, shown),
    draw("text", { class: "count", x: x + width - 8, y: y + 16, "text-anchor": "end" }, String(node.sessions)));
    const choose = () => { element.blur(); this.onChoose(name); };
    element.addEventListener("click", choose);
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(); }
    });
    return element;
  }
}

const middle = (node) => TOP + ROW * node.index + ROW / 2 - 3;

// Return the gateways of one side that have the most sessions, by name.
function side(flows, name) {
  const sums = new Map();
  for (const flow of flows) sums.set(flow[name], (sums.get(flow[name]) ?? 0) + flow.sessions);
  const most = [...sums].sort((one, other) => other[1] - one[1]).slice(0, MOST);
  return new Map(most.map(([gateway, sessions], index) => [gateway, { sessions, index }]));
}
