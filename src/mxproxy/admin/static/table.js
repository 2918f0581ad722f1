// The table of connections: rows are kept from one drawing to the next, so that what is looked
// at, selected or unfolded stays where it is.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** A number of bytes, three digits of it. */
export function bytes(number) {
  let unit = 0;
  while (number >= 999.5 && unit < UNITS.length - 1) {
    number /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2;
  return `${number.toFixed(digits)} ${UNITS[unit]}`;
}

/** Bytes in a second. */
export function rate(number) {
  return `${bytes(number)}/s`;
}

/** A whole number, with its thousands apart. */
export function count(number) {
  return number.toLocaleString("en-US");
}

/** A length of time in milliseconds, its largest unit and the next. */
export function ago(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const parts = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const first = parts.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [name, size] = parts[first];
  const text = `${Math.floor(seconds / size)} ${name}`;
  if (first === parts.length - 1) return text;
  const [next, its] = parts[first + 1];
  const rest = Math.floor((seconds % size) / its);
  return rest ? `${text} ${rest} ${next}` : text;
}

const UNKNOWN = "unknown";

/** What people call a side: its workload, else its service account, else nothing. */
function nameOf(side) {
  if (!side) return "";
  if (side.workload !== UNKNOWN) return side.workload;
  return side.principal.includes("/sa/") ? side.principal.split("/sa/")[1] : "";
}

function setText(element, text, title = text) {
  if (element.textContent !== text) element.textContent = text;
  if (element.title !== title) element.title = title;
}

function cell(row, name, ...children) {
  const data = row.insertCell();
  data.className = name;
  data.append(...children);
  return data;
}

const make = (tag, name = "") => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  return element;
};

class Row {
  constructor(toggle) {
    this.element = make("tr", "row");
    this.element.addEventListener("click", () => {
      if (getSelection().isCollapsed) toggle();
    });
    this.mark = make("span", "mark");
    this.markText = make("span", "hidden");
    cell(this.element, "dot", this.mark, this.markText);
    this.source = this.pair("source");
    this.destination = this.pair("destination");
    this.principal = this.pair("principal");
    this.alpn = this.pair("alpn");
    this.sent = cell(this.element, "number sent");
    this.received = cell(this.element, "number received");
    this.rate = make("span", "rate");
    cell(this.element, "number rate-cell", this.rate);
    this.age = cell(this.element, "number age");
  }

  pair(name) {
    const [upper, lower] = [make("b"), make("small")];
    const data = cell(this.element, name, upper, lower);
    return { upper, lower, data };
  }

  draw(one) {
    this.one = one;
    const state = `mark ${one.state}`;
    if (this.mark.className !== state) this.mark.className = state;
    this.mark.title = one.state;
    setText(this.markText, one.state);
    this.drawSide(this.source, one.source, one.downstream.address);
    this.drawSide(this.destination, one.destination, one.upstream.address || one.upstream.host);
    const peer = one.reporter === "destination" ? one.downstream : one.upstream;
    setText(this.principal.upper, shorten(peer.principal || "–"), peer.principal || "no certificate");
    this.principal.upper.classList.toggle("unknown", !peer.principal);
    setText(this.principal.lower, peer.tls_version || "plaintext");
    this.principal.data.classList.toggle("alarmed", !peer.tls_version && one.state === "established");
    setText(this.alpn.upper, peer.alpn || "–");
    this.alpn.upper.classList.toggle("unknown", !peer.alpn);
    setText(this.alpn.lower, peer.peer_state.replaceAll("_", " "));
    setText(this.sent, bytes(one.bytes_sent), `${count(one.bytes_sent)} bytes to the client`);
    setText(this.received, bytes(one.bytes_received), `${count(one.bytes_received)} bytes from the client`);
    const together = one.sent_rate + one.received_rate;
    setText(this.rate, together ? rate(together) : "idle", `↓ ${rate(one.sent_rate)}  ↑ ${rate(one.received_rate)}`);
    this.rate.classList.toggle("still", !together);
    setText(this.age, ago(one.duration_ms), `since ${one.started}`);
  }

  drawSide(parts, side, address) {
    const name = nameOf(side);
    const known = side && side.namespace !== UNKNOWN ? side.namespace : "";
    setText(parts.upper, name || (side ? "unknown" : "…"));
    parts.upper.classList.toggle("unknown", !name);
    setText(parts.lower, [known, address].filter(Boolean).join(" · ") || " ");
  }
}

/** A principal of Kubernetes' form as its namespace and its service account. */
export function shorten(principal) {
  return principal.replace(/^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\//, "$1 / ").replace(/^spiffe:\/\//, "");
}

class Details {
  constructor() {
    this.element = make("tr", "details");
    const data = this.element.insertCell();
    data.colSpan = 9;
    this.list = make("dl");
    data.append(this.list);
  }

  draw(one) {
    const facts = [
      ["connection", one.id],
      ["state", one.state],
      ["listener", [one.listener, one.filter_chain].filter(Boolean).join(" / ")],
      ["cluster", one.cluster],
      ["client", one.downstream.address],
      ["host", one.upstream.host || one.upstream.address],
      ["client's principal", one.downstream.principal],
      ["host's principal", one.upstream.principal],
      ["client's TLS", tls(one.downstream)],
      ["host's TLS", tls(one.upstream)],
      ["client's exchange", one.downstream.peer_state],
      ["host's exchange", one.upstream.peer_state],
      ["since", one.started],
      ["layers gone", one.trail.join(", ")],
    ];
    const items = facts.flatMap(([name, value]) => {
      const [term, description] = [make("dt"), make("dd")];
      term.textContent = name;
      description.textContent = value || "–";
      return [term, description];
    });
    this.list.replaceChildren(...items);
  }
}

function tls(peer) {
  if (!peer.tls_version) return "";
  return [peer.tls_version, peer.alpn, peer.server_name].filter(Boolean).join(" · ");
}

export class Table {
  constructor(body) {
    this.body = body;
    this.rows = new Map();
    this.unfolded = new Map();
  }

  draw(connections) {
    const wanted = new Set(connections.map((one) => one.id));
    for (const [id, row] of this.rows) {
      if (!wanted.has(id)) {
        row.element.remove();
        this.fold(id);
        this.rows.delete(id);
      }
    }
    let place = this.body.firstElementChild;
    for (const one of connections) {
      let row = this.rows.get(one.id);
      if (row === undefined) {
        row = new Row(() => this.toggle(one.id));
        row.element.dataset.id = one.id;
        this.rows.set(one.id, row);
      }
      row.draw(one);
      const details = this.unfolded.get(one.id);
      for (const element of [row.element, ...(details ? [details.element] : [])]) {
        if (element === place) place = place.nextElementSibling;
        else this.body.insertBefore(element, place);
      }
      if (details) details.draw(one);
    }
  }

  toggle(id) {
    if (this.fold(id)) return;
    const row = this.rows.get(id);
    const details = new Details();
    details.draw(row.one);
    row.element.after(details.element);
    this.unfolded.set(id, details);
  }

  fold(id) {
    const details = this.unfolded.get(id);
    if (!details) return false;
    details.element.remove();
    this.unfolded.delete(id);
    return true;
  }
}
