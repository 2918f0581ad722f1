// Who talks to whom: three columns, since a proxy is always at one end of what it sees.  Clients
// are on the left, we are in the middle, servers on the right.  No simulation: the same
// workloads are in the same places every time.

import { bytes, count, rate } from "/static/table.js";

const NS = "http://www.w3.org/2000/svg";
const UNKNOWN = "unknown";
const MOST = 12;
const BOX = { width: 190, height: 44, gap: 14, letters: 23 };
const NARROW = { width: 118, height: 44, gap: 14, letters: 14 };

let before = new Map();
let beforeAt = 0;

function element(name, attributes, ...children) {
  const one = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  one.append(...children);
  return one;
}

function cut(text, length) {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

/** Peers by column, with the numbers of all their edges. */
function group(edges) {
  const columns = { source: new Map(), destination: new Map() };
  for (const edge of edges) {
    const side = edge.reporter === "destination" ? "source" : "destination";
    const peer = edge[side];
    const account = peer.principal.includes("/sa/") ? peer.principal.split("/sa/")[1] : "";
    const name = peer.workload !== UNKNOWN ? peer.workload : account || UNKNOWN;
    const where = peer.workload_namespace !== UNKNOWN ? peer.workload_namespace : "";
    const proven = peer.principal !== UNKNOWN;
    const kind = proven ? "mutual" : edge.connection_security_policy === "none" ? "plain" : "claimed";
    const key = `${where}/${name}/${kind}`;
    const column = columns[side];
    const known = column.get(key) ||
      { key: `${side} ${key}`, name, where, kind, active: 0, opened: 0, sent: 0, received: 0 };
    for (const number of ["active", "opened", "sent", "received"]) known[number] += edge[number];
    column.set(key, known);
  }
  return columns;
}

/** The busiest few, in alphabetical order, and one for all others. */
function choose(column) {
  const every = [...column.values()];
  every.sort((a, b) => b.active - a.active || b.opened - a.opened);
  const few = every.length > MOST ? every.slice(0, MOST - 1) : every;
  const others = every.slice(few.length);
  few.sort((a, b) => a.where.localeCompare(b.where) || a.name.localeCompare(b.name));
  if (others.length) {
    const sum = (key) => others.reduce((total, one) => total + one[key], 0);
    few.push({
      key: "others", name: `${count(others.length)} others`, where: "", kind: "mutual",
      active: sum("active"), opened: sum("opened"), sent: sum("sent"), received: sum("received"),
    });
  }
  return few;
}

function box(size, x, y, name, sub, kind, tip) {
  const group = element("g", { class: `node ${kind}`, transform: `translate(${x} ${y - size.height / 2})` });
  const label = element("text", { x: 12, y: sub ? 19 : 27 });
  label.textContent = cut(name, size.letters);
  group.append(element("rect", { width: size.width, height: size.height, rx: 9 }), label);
  if (sub) {
    const second = element("text", { x: 12, y: 35, class: "sub" });
    second.textContent = cut(sub, size.letters + 3);
    group.append(second);
  }
  const title = element("title", {});
  title.textContent = tip;
  group.append(title);
  return group;
}

export function drawGraph(place, graph, own) {
  const now = performance.now();
  const seconds = (now - beforeAt) / 1000;
  const columns = group(graph.edges);
  const [left, right] = [choose(columns.source), choose(columns.destination)];
  if (left.length + right.length === 0) {
    const nobody = document.createElement("p");
    nobody.className = "nobody";
    nobody.textContent = "Nobody yet. Each workload that connects becomes a box here.";
    place.replaceChildren(nobody);
    return;
  }
  // As wide as it is shown, so that its letters are as large as all others.
  const width = Math.max(320, place.clientWidth);
  const narrow = width < 620;
  const size = narrow ? NARROW : BOX;
  const rows = Math.max(left.length, right.length, 1);
  const height = Math.max(140, rows * (size.height + size.gap) + size.gap);
  const both = left.length > 0 && right.length > 0;
  const selfX = both ? (width - size.width) / 2 : left.length ? width - size.width - 4 : 4;
  const selfY = height / 2;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", `${left.length} clients and ${right.length} servers of ${own.workload}`);
  const nodes = [box(size, selfX, selfY, own.workload, own.namespace, "self", "this proxy's workload")];
  const remembered = new Map();
  const column = (peers, x, toUs) => {
    const step = height / peers.length;
    peers.forEach((peer, index) => {
      const y = step * (index + 0.5);
      const total = peer.sent + peer.received;
      remembered.set(peer.key, total);
      const last = before.get(peer.key);
      const speed = last === undefined || !seconds ? 0 : Math.max(0, (total - last) / seconds);
      const [x1, y1] = toUs ? [x + size.width, y] : [selfX + size.width, selfY];
      const [x2, y2] = toUs ? [selfX, selfY] : [x, y];
      const bend = (x2 - x1) / 2;
      const path = `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
      const weight = 1.5 + Math.min(9, 2.2 * Math.log10(1 + peer.active));
      svg.append(element("path", {
        d: path, class: `edge ${peer.kind}${peer.active ? "" : " idle"}`, "stroke-width": weight,
      }));
      if (speed > 0) svg.append(element("path", { d: path, class: `flow ${peer.kind}` }));
      const text = element("text", {
        class: "edge-text", x: toUs ? x + size.width + 10 : x - 10, y: y - 7,
        "text-anchor": toUs ? "start" : "end",
      });
      text.textContent = narrow ? count(peer.active)
        : speed > 0 ? `${count(peer.active)} · ${rate(speed)}` : `${count(peer.active)} open`;
      const tip = `${peer.name}${peer.where ? ` in ${peer.where}` : ""}: ${count(peer.active)} open, ` +
        `${count(peer.opened)} opened, ${bytes(peer.sent)} sent, ${bytes(peer.received)} received`;
      nodes.push(text, box(size, x, y, peer.name, peer.where, peer.kind, tip));
    });
  };
  column(left, 4, true);
  column(right, width - size.width - 4, false);
  svg.append(...nodes);
  place.replaceChildren(svg);
  before = remembered;
  beforeAt = now;
}
