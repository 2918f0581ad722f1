// Draws the page: asks the proxy every two seconds, as everybody could, and puts what it says
// in its place.  The table and the graph are in files of their own.

import { drawGraph } from "/static/graph.js";
import { Table, ago, bytes, count, rate, shorten } from "/static/table.js";

const INTERVAL = 2000;
const CERTS_INTERVAL = 30000;
const PAGE = 100;
const MOST = 1000;

const $ = (id) => document.getElementById(id);
const view = { sort: "rate", order: "desc", filter: "", limit: PAGE };
let paused = false;
let timer = 0;
let turn = 0;
let certsAt = -Infinity;
let before = null;

async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(10000) });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${(await response.text()).trim()}`);
  return response.json();
}

// -- the parts

function drawServer(info, who) {
  const metadata = info.node.metadata;
  const name = metadata.WORKLOAD_NAME || info.node.id || "unnamed";
  const where = metadata.NAMESPACE || "";
  const bold = document.createElement("b");
  bold.textContent = name;
  who.replaceChildren(bold, where ? ` in ${where}` : "");
  document.title = `${name} · mxproxy`;
  const pill = $("state");
  pill.textContent = info.state.toLowerCase();
  pill.className = `pill ${info.state === "LIVE" ? "good" : "warn"}`;
  const workers = info.command_line_options.concurrency;
  $("about").textContent =
    `${info.version} · up ${ago(parseInt(info.uptime_current_epoch, 10) * 1000)}` +
    (workers > 1 ? ` · ${workers} workers` : "");
  return { workload: name, namespace: where };
}

function drawTiles(connections, graph) {
  const sum = (key) => graph.edges.reduce((total, edge) => total + edge[key], 0);
  const now = { at: performance.now(), sent: sum("sent"), received: sum("received") };
  $("open").textContent = count(connections.total);
  $("opened").textContent = count(sum("opened"));
  $("sent").textContent = bytes(now.sent);
  $("received").textContent = bytes(now.received);
  if (before !== null && now.sent >= before.sent && now.received >= before.received) {
    const seconds = (now.at - before.at) / 1000;
    $("sent-rate").textContent = rate((now.sent - before.sent) / seconds);
    $("received-rate").textContent = rate((now.received - before.received) / seconds);
  }
  before = now;
}

const OUTCOMES = [
  ["alpn_protocol_found", "negotiated", ""],
  ["alpn_protocol_not_found", "not negotiated", ""],
  ["initial_header_not_found", "no prefix came", "warn"],
  ["timeout", "not in time", "warn"],
  ["header_not_found", "could not be read", "bad"],
  ["too_large", "too large", "bad"],
  ["namespace_mismatch", "namespace contradicted", "bad"],
];

function drawOutcomes(stats) {
  const values = new Map(stats.map(({ name, value }) => [name, value]));
  const at = (name) => values.get(`metadata_exchange.${name}`) || 0;
  const most = Math.max(1, at("alpn_protocol_found") + at("alpn_protocol_not_found"));
  const list = $("outcomes");
  if (list.childElementCount === 0) {
    for (const [name, text, kind] of OUTCOMES) {
      const term = document.createElement("dt");
      term.textContent = text;
      term.title = `metadata_exchange.${name}`;
      const track = document.createElement("div");
      track.className = `track ${kind}`;
      track.append(document.createElement("i"));
      list.append(term, track, document.createElement("dd"));
    }
  }
  OUTCOMES.forEach(([name], index) => {
    const value = at(name);
    const [, track, number] = [0, 1, 2].map((part) => list.children[index * 3 + part]);
    const share = Math.min(1, value / most);
    track.firstChild.style.width = value ? `max(3px, ${share * 100}%)` : "0";
    number.textContent = count(value);
    number.className = value ? "" : "none";
  });
}

function drawCerts(certificates) {
  const seen = new Set();
  const items = [];
  const every = certificates.flatMap((set) => [
    ...set.cert_chain.map((one) => [one, "own"]),
    ...set.ca_cert.map((one) => [one, "CA"]),
  ]);
  every.sort(([a], [b]) => a.expiration_time.localeCompare(b.expiration_time));
  for (const [one, kind] of every) {
    if (seen.has(one.serial_number + kind)) continue;
    seen.add(one.serial_number + kind);
    const item = document.createElement("li");
    const name = document.createElement("b");
    const [first] = one.subject_alt_names.map((names) => Object.values(names)[0]);
    name.textContent = shorten(first || (kind === "CA" ? "an authority" : "without a name"));
    name.title = first || "";
    const left = Date.parse(one.expiration_time) - Date.now();
    const whole = Date.parse(one.expiration_time) - Date.parse(one.valid_from);
    const when = document.createElement("span");
    when.textContent = left <= 0 ? "expired" : `${ago(left)} left`;
    // As the log does: a fifth, then a twentieth of its life, a month and a week at most.
    const kindOfLeft = left <= Math.min(whole / 20, 7 * 864e5) ? "bad"
      : left <= Math.min(whole / 5, 30 * 864e5) ? "warn" : "";
    when.className = `left ${kindOfLeft}`;
    when.title = `until ${one.expiration_time}`;
    const path = document.createElement("small");
    path.textContent = path.title = `${kind === "CA" ? "CA" : "our own"} · ${one.path}`;
    item.append(name, when, path);
    items.push(item);
  }
  if (items.length === 0) {
    const none = document.createElement("li");
    none.className = "nobody";
    none.textContent = "No TLS here: there are no certificates.";
    items.push(none);
  }
  $("certs").replaceChildren(...items);
}

function drawEmpty(connections, listeners) {
  const empty = $("empty");
  empty.hidden = connections.matched > 0;
  if (!empty.hidden) {
    const title = document.createElement("b");
    const what = document.createElement("p");
    if (connections.total > 0) {
      title.textContent = `None of ${count(connections.total)} open connections is like that`;
      what.textContent = `Nothing that is known of them contains “${view.filter}”.`;
    } else if (listeners.length === 0) {
      title.textContent = "No connection is open";
      what.textContent = "This proxy takes no new ones: it is stopping, or its listeners are drained.";
    } else {
      title.textContent = "No connection is open yet";
      what.append("Connect something to ");
      listeners.forEach(([name, address], index) => {
        const code = document.createElement("code");
        code.textContent = address;
        what.append(index ? ", " : "", code, ` (${name})`);
      });
      what.append(" and it appears here.");
    }
    empty.replaceChildren(title, what);
  }
  const shown = connections.connections.length;
  $("count").textContent = connections.matched > shown
    ? `the first ${count(shown)} of ${count(connections.matched)}`
    : connections.total ? count(connections.matched) : "";
  $("more").hidden = connections.matched <= shown || view.limit >= MOST;
}

// -- asking

const table = new Table($("rows"));

async function refresh() {
  const mine = ++turn;
  clearTimeout(timer);
  try {
    const query = new URLSearchParams({
      limit: view.limit, sort: view.sort, order: view.order, filter: view.filter,
    });
    const certs = performance.now() - certsAt > CERTS_INTERVAL ? get("/certs") : null;
    const [info, connections, graph, stats, listening] = await Promise.all([
      get("/server_info"),
      get(`/connections?${query}`),
      get("/graph"),
      get("/stats?format=json&filter=^metadata_exchange"),
      get("/listeners?format=json"),
    ]);
    if (mine !== turn) return;
    const own = drawServer(info, $("who"));
    drawTiles(connections, graph);
    drawOutcomes(stats.stats);
    drawGraph($("graph"), graph, own);
    table.draw(connections.connections);
    drawEmpty(connections, listening.listener_statuses.map(({ name, local_address: address }) => [
      name,
      address.pipe ? address.pipe.path
        : `${address.socket_address.address}:${address.socket_address.port_value}`,
    ]));
    if (certs !== null) {
      drawCerts((await certs).certificates);
      certsAt = performance.now();
    }
    $("alarm").hidden = true;
  } catch (error) {
    if (mine !== turn) return;
    $("alarm").textContent = `The proxy does not answer; what is below is old. ${error.message}`;
    $("alarm").hidden = false;
    $("state").textContent = "no answer";
    $("state").className = "pill bad";
  }
  if (!paused) timer = setTimeout(refresh, document.hidden ? INTERVAL * 5 : INTERVAL);
}

// -- what people do

function showSort() {
  for (const button of document.querySelectorAll("th button")) {
    const head = button.closest("th");
    if (button.dataset.sort === view.sort) {
      head.setAttribute("aria-sort", view.order === "asc" ? "ascending" : "descending");
    } else {
      head.removeAttribute("aria-sort");
    }
  }
  $("sort").value = view.sort;
}

function sortBy(sort, order) {
  view.sort = sort;
  view.order = order;
  showSort();
  refresh();
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const { sort } = button.dataset;
    const names = sort === "source" || sort === "destination";
    const other = view.order === "desc" ? "asc" : "desc";
    sortBy(sort, view.sort === sort ? other : names ? "asc" : "desc");
  });
}
$("sort").addEventListener("change", ({ target }) => {
  sortBy(target.value, target.value === "source" || target.value === "destination" ? "asc" : "desc");
});
let typing = 0;
$("filter").addEventListener("input", ({ target }) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    view.filter = target.value.trim();
    view.limit = PAGE;
    refresh();
  }, 250);
});
$("more").addEventListener("click", () => {
  view.limit = Math.min(MOST, view.limit * 3);
  refresh();
});
$("pause").addEventListener("click", ({ target }) => {
  paused = !paused;
  target.textContent = paused ? "Go on" : "Pause";
  target.setAttribute("aria-pressed", String(paused));
  if (paused) clearTimeout(timer);
  else refresh();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !paused) refresh();
});

showSort();
refresh();
