// The page: displays the views from the stream. Every text is inserted as text, never as markup.

import { Chart } from "./charts.js";
import { PAGE, chosen, first, query, takeToken } from "./first.js";
import { FlowMap } from "./flowmap.js";
import { Refused, ask, follow } from "./stream.js";
import { Table, age, bytes, make, millis, put, rate } from "./tables.js";

const EVENTS = 100, POINTS = 180;
const WARNINGS = ["AuthorizationDenied", "RegistrationRefused", "ScriptError"];
/** @returns {any} the element, of any kind */
const by = (id) => document.getElementById(id);

let token = first?.token;
let toastTimer = 0, searchTimer = 0;
let following = null; // the AbortController of the current stream
let points = [];

// The token.

function lock(why = "") {
  following?.abort();
  sessionStorage.removeItem("token");
  by("main").hidden = true;
  by("search-form").hidden = true;
  by("locked").hidden = false;
  put(by("token-problem"), why);
  state("locked");
  by("token").focus();
}

addEventListener("hashchange", () => { token = takeToken(); start(); });
by("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = by("token").value.trim();
  by("token").value = "";
  sessionStorage.setItem("token", token);
  start();
});

// The stream.

// `begun`: the first request, if it was sent earlier.
function start(begun = null) {
  following?.abort();
  if (!token) { lock(); return; }
  following = begun?.controller ?? new AbortController();
  follow(token, query(), { signal: following.signal, onView: show, onState: state, begun: begun?.answer })
    .catch((error) => { if (error instanceof Refused) lock(error.message); else throw error; });
}

function state(now) {
  const pill = by("connection");
  put(pill, { live: "live", lost: "connection lost", locked: "locked" }[now]);
  pill.className = `pill ${now}`;
}

function choose(changes) {
  Object.assign(chosen, changes);
  sessionsTable.sorted(chosen.sort, chosen.order === "desc");
  start();
}

// Views.

const charts = [
  new Chart(by("throughput"), "Throughput", [
    { name: "to exits", value: (point) => point.to_exit }, { name: "to entries", value: (point) => point.to_entry },
  ], rate, 1000),
  new Chart(by("latency"), "Latency", [
    { name: "round trip", value: (point) => point.round_trip }, { name: "event loop", value: (point) => point.lag },
  ], millis, 0.001),
];
const map = new FlowMap(by("map"), (name) => search(name));
const sessionsTable = new Table(by("sessions-table"), [
  { title: "From", sort: "source", text: (row) => row.source, className: (row) => `state-${row.state}`, label: "" },
  { title: "To", sort: "gateway", text: (row) => row.gateway },
  { title: "Destination", sort: "host", text: (row) => `${row.host}:${row.port}` },
  { title: "By", text: (row) => row.identity || row.source_ip },
  { title: "Open for", sort: "since", text: (row) => age(row.since), number: true },
  { title: "Transferred", sort: "bytes", text: (row) => bytes(row.bytes_to_exit + row.bytes_to_entry), number: true },
  { title: "Rate", sort: "rate", text: (row) => rate(row.rate_to_exit + row.rate_to_entry), number: true },
  { title: "Resumed", sort: "resumptions", text: (row) => String(row.resumptions), number: true },
], {
  key: (row) => row.session,
  onSort: (sort) => choose({
    sort, offset: 0,
    order: chosen.sort === sort ? (chosen.order === "asc" ? "desc" : "asc") : ["source", "gateway", "host"].includes(sort) ? "asc" : "desc",
  }),
  actions: [{ title: "Kick", about: (row) => `the session from ${row.source} to ${row.gateway}`, does: kickSession }],
});
const gatewaysTable = new Table(by("gateways-table"), [
  { title: "Name", text: (row) => row.name, label: "" },
  { title: "Address", text: (row) => row.address },
  { title: "Identity", text: (row) => row.identity || "–" },
  { title: "Online for", text: (row) => age(row.since), number: true },
  { title: "Round trip", text: (row) => millis(row.round_trip), number: true },
  { title: "Sessions", text: (row) => String(row.sessions), number: true },
  { title: "Queued", text: (row) => bytes(row.queued_bytes), number: true },
], {
  key: (row) => row.name,
  actions: [
    { title: "Kick", about: (row) => `the gateway ${row.name}`, does: kickGateway },
    { title: "Block", about: (row) => `the gateway ${row.name}`, does: blockGateway },
  ],
});
const workersTable = new Table(by("workers-table"), [
  { title: "Worker", text: (row) => (row.node ? `${row.node} ${row.slot}` : String(row.slot)) },
  { title: "Up", text: (row) => age(row.started), number: true },
  { title: "Gateways", text: (row) => String(row.gateways), number: true },
  { title: "Sessions", text: (row) => String(row.sessions_open + row.sessions_suspended), number: true },
  { title: "Memory", text: (row) => bytes(row.memory), number: true },
], { key: (row) => row.worker });

function show(view, isFirst) {
  by("locked").hidden = true;
  by("main").hidden = false;
  by("search-form").hidden = false;
  showStatus(view.status);
  points = isFirst ? view.history : [...points, ...view.history].slice(-POINTS);
  for (const chart of charts) chart.show(points);
  map.show(view.flows);
  showTable(sessionsTable, "sessions", view.sessions, "offset", "session");
  showTable(gatewaysTable, "gateways", view.gateways, "gateways_offset", "gateway");
  workersTable.show(view.workers);
  showEvents(view.events, isFirst);
}

function showStatus(status) {
  put(by("about"), `${status.version} · ${count(status.workers, "worker")} on ${count(status.nodes, "machine")} · up ${age(status.started)}`);
  put(by("n-gateways"), status.gateways.toLocaleString("en"));
  put(by("n-sessions"), (status.sessions_open + status.sessions_suspended).toLocaleString("en"));
  put(by("n-suspended"), status.sessions_suspended.toLocaleString("en"));
  put(by("n-to-exit"), rate(status.rate_to_exit));
  put(by("n-to-entry"), rate(status.rate_to_entry));
  put(by("n-round-trip"), millis(status.round_trip));
}

const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

function showTable(table, name, { total, items }, offsetName, noun) {
  table.show(items);
  const empty = by(`${name}-empty`);
  empty.hidden = items.length > 0;
  put(empty, chosen.search ? `No ${noun} matches “${chosen.search}”.` : `No ${noun}s.`);
  showPager(by(`${name}-pager`), total, items.length, offsetName, name);
}

function showPager(element, total, shown, offsetName, noun) {
  if (!element.firstChild) {
    const turn = (pages) => choose({ [offsetName]: Math.max(0, chosen[offsetName] + pages * PAGE) });
    element.append(
      make("span"),
      make("button", { type: "button", textContent: "‹", "aria-label": `Previous ${noun}`, onclick: () => turn(-1) }),
      make("button", { type: "button", textContent: "›", "aria-label": `Next ${noun}`, onclick: () => turn(1) }),
    );
  }
  const offset = chosen[offsetName], [text, back, next] = element.children;
  put(text, total > PAGE ? `${offset + 1}–${offset + shown} of ${total.toLocaleString("en")}` : total ? String(total) : "");
  back.hidden = next.hidden = total <= PAGE && !offset;
  back.disabled = !offset;
  next.disabled = offset + PAGE >= total;
}

// Events.

const DETAILS = {
  OpenSession: (e) => (e.success ? `${e.source} to ${e.gateway} ${e.host}:${e.port}` : `${e.source} to ${e.gateway}: ${e.error}`),
  CloseSession: (e) => `${e.source} to ${e.gateway}: ${e.reason.replaceAll("_", " ")}, ${bytes(e.bytes_to_exit + e.bytes_to_entry)}`,
  SessionSuspended: (e) => `${e.source} to ${e.gateway}: ${e.reason}`,
  SessionResumed: (e) => `${e.source} to ${e.gateway} after ${millis(e.seconds)}`,
  AuthorizationDenied: (e) => `${e.source} to ${e.gateway} ${e.host}:${e.port}: ${e.reason}`,
  GatewayRegistration: (e) => `${e.gateway} from ${e.address}`,
  GatewayUnregistration: (e) => `${e.gateway}: ${e.reason}`,
  RegistrationRefused: (e) => `${e.gateway} from ${e.address}: ${e.reason}`,
  ScriptError: (e) => e.detail,
  ProxyStarted: (e) => `${e.node} ${e.version}`,
  ProxyStopping: (e) => e.node,
};

function showEvents(events, isFirst) {
  const list = by("events");
  const items = events.map((event) => make("li", { className: WARNINGS.includes(event.event) || event.success === false ? "warn" : "" },
    make("time", { textContent: new Date(event.time * 1000).toLocaleTimeString("en-GB"), dateTime: new Date(event.time * 1000).toISOString() }),
    make("span", {}, make("b", { textContent: event.event.replace(/(?!^)[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`) }), ` ${DETAILS[event.event](event)}`)));
  if (isFirst) list.replaceChildren(...items);
  else list.prepend(...items);
  while (list.childElementCount > EVENTS) list.lastElementChild.remove();
}

// Actions.

function confirmed(title, text, action) {
  const dialog = by("confirm");
  put(by("confirm-title"), title);
  put(by("confirm-text"), text);
  put(by("confirm-ok"), action);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok"), { once: true }));
}

async function act(path, body, done) {
  try {
    const answer = await ask(token, path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
    toast(answer.ok ? done : (await answer.json()).error);
  } catch (error) {
    if (error instanceof Refused) lock(error.message);
    else toast("The proxy is unreachable.");
  }
}

function toast(text) {
  put(by("toast"), text);
  by("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { by("toast").hidden = true; }, 4000);
}

async function kickSession(row) {
  const what = `from ${row.source} to ${row.gateway} (${row.host}:${row.port})`;
  if (await confirmed("Kick this session?", `The session ${what} is reset on both sides and cannot resume.`, "Kick")) {
    await act(`api/sessions/${row.session}/kick`, {}, "The session was kicked.");
  }
}

async function kickGateway(row) {
  if (await confirmed(`Kick ${row.name}?`, "The proxy closes its link. The agent may reconnect at once and resume its sessions.", "Kick")) {
    await act("api/gateways/kick", { name: row.name }, `${row.name} was kicked.`);
  }
}

async function blockGateway(row) {
  const text = "The proxy resets its sessions and refuses its registrations until you unblock it (POST /api/gateways/unblock).";
  if (await confirmed(`Block ${row.name}?`, text, "Block")) {
    await act("api/gateways/block", { name: row.name }, `${row.name} is blocked.`);
  }
}

// Selecting.

function search(text) {
  by("search").value = text;
  choose({ search: text, offset: 0, gateways_offset: 0 });
}

by("search-form").addEventListener("submit", (event) => { event.preventDefault(); search(by("search").value); });
by("search").addEventListener("input", () => {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(() => search(by("search").value), 250);
});
by("state").addEventListener("change", () => choose({ state: by("state").value, offset: 0 }));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target instanceof Element && !event.target.closest("input, select, dialog")) { event.preventDefault(); by("search").focus(); }
});

sessionsTable.sorted(chosen.sort, true);
start(first);
