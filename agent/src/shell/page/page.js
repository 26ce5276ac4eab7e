// The status page: draws the status document (schema 1) that /v1/stream sends each second.
//
// All text from outside goes through textContent or setAttribute; nothing is ever parsed as HTML, so a vehicle may call
// itself what it likes. Decides nothing: what is stale, healthy or unreachable is said by the document, except that the
// agent itself no longer answers, which only the page can notice.
"use strict";

const SCHEMA = 1;
const LOST_AFTER_MS = 5000; // the agent sends every second; a radio link may swallow a few
const POLL_MS = 5000; // while the stream is refused
const RETRY_MS = 3000;

let latest = null; // the latest document
let received = 0; // performance.now() of its arrival
let chosen = null; // name of the node the reader looks at

// ---- words and numbers

const REACH = {
  own: "this vehicle", reachable: "reachable", unreachable: "unreachable",
  "not-meaningful": "reachable, cost not meaningful", unknown: "unknown",
};

function classOf(node) {
  if (node.reach === "own") return "own";
  if (node.reach === "unreachable") return "off";
  if (node.reach === "reachable" && node.cost != null) return bin(node.cost);
  return "dim";
}

function short(node) {
  if (node.reach === "own") return "";
  if (node.reach === "unreachable") return "×";
  if (node.reach === "not-meaningful") return "~";
  if (node.cost == null) return "?";
  return node.cost < 10000 ? String(node.cost) : Math.round(node.cost / 1000) + "k";
}

// ---- head and banners

function head(status) {
  say(byId("vehicle"), status.identity.vehicle || "unnamed vehicle");
  document.title = status.identity.vehicle + " – Outrider";
  const daemon = status.mesh.daemon;
  const parts = [status.identity.kind, daemon && daemon.version, daemon && "by " + daemon.protocol];
  say(byId("what"), parts.filter(Boolean).join(" · ") || "Outrider " + status.identity.version);
  const faults = status.health.reasons.length;
  const health = byId("health");
  health.className = "pill " + (status.health.healthy ? (faults ? "warn" : "good") : "bad");
  say(health, status.health.healthy ? (faults ? "starting" : "healthy") : plural(faults, "problem", "problems"));
  const clock = status.clock.wall_ms == null ? "clock not set"
    : new Date(status.clock.wall_ms).toISOString().replace("T", " ").slice(0, 19) + " UTC"
      + (status.clock.quality === "synchronised" ? "" : " (not synchronised)");
  say(byId("about"), "Outrider " + status.identity.version + " · up " + duration(status.clock.agent_uptime_ms)
    + " · " + clock);
}

function banners() {
  const list = [];
  const silent = performance.now() - received;
  const lost = latest && silent > LOST_AFTER_MS;
  if (lost) {
    list.push(["bad", "No contact for " + duration(silent), "The agent on this vehicle does not answer. "
      + "Everything below is what was last known."]);
  }
  if (latest) {
    const mesh = latest.mesh;
    const codes = new Set();
    if (!mesh.configured) {
      list.push(["", "No mesh", "No routing daemon is configured on this vehicle."]);
    } else if (mesh.view_age_ms == null) {
      codes.add("mesh-not-seen").add("mesh-view-old");
      list.push(["bad", "Mesh not seen yet", mesh.error ? mesh.error.text : "The routing daemon has not answered yet."]);
    } else if (mesh.stale) {
      codes.add("mesh-view-old");
      list.push(["bad", "Mesh " + duration(mesh.view_age_ms + (lost ? silent : 0)) + " old",
        (mesh.error ? mesh.error.text + " " : "") + "Costs below are from before."]);
    } else if (mesh.warming_ms) {
      list.push(["", "Warming up", "The routing daemon started a moment ago; its costs can be believed in "
        + duration(mesh.warming_ms) + "."]);
    }
    for (const reason of latest.health.reasons) {
      if (!codes.has(reason.code)) list.push(["warn", reason.against === "ready" ? "Starting" : "Problem", reason.text]);
    }
  }
  keyed(byId("banners"), list, (item) => item[1].replace(/[\d.]+/g, "") + item[2],
    () => el("p", {}, el("strong", {}), el("span", {})),
    (child, [kind, title, text]) => {
      child.className = "banner " + kind;
      say(child.children[0], title);
      say(child.children[1], text);
    });
  mark(document.body, "data-state", !latest ? "waiting" : lost ? "lost" : "live");
  mark(document.body, "data-mesh", latest && latest.mesh.stale ? "stale" : "fresh");
  const live = byId("live");
  live.className = "pill " + (!latest ? "" : lost ? "bad" : "good");
  say(live, !latest ? "waiting" : lost ? "no contact" : "live");
}

// ---- vehicle gauges

function reading(gauge) {
  switch (gauge.unit) {
    case "ratio": return percent(gauge.value);
    case "celsius": return Math.round(gauge.value) + " °C";
    case "dbm": return Math.round(gauge.value) + " dBm";
    case "bytes": return bytes(gauge.value);
    case "seconds": return duration(gauge.value * 1000);
    default: return String(gauge.value);
  }
}

/** Share of the bar that is filled; null for values without a scale. */
function filling(gauge) {
  switch (gauge.unit) {
    case "ratio": return gauge.value;
    case "celsius": return gauge.value / 100;
    case "dbm": return (gauge.value + 100) / 60; // -100 dBm is nothing, -40 dBm is beside the antenna
    default: return null;
  }
}

function gauges(status) {
  keyed(byId("gauges"), status.gauges, (gauge) => gauge.id + " " + gauge.subject,
    () => el("div", { class: "gauge" }, el("span", { class: "label" }), el("span", { class: "reading" })),
    (tile, gauge) => {
      const text = gauge.label + (gauge.subject ? " " + gauge.subject : "");
      const alarm = gauge.warn != null && (gauge.low_is_bad ? gauge.value <= gauge.warn : gauge.value >= gauge.warn);
      tile.className = alarm ? "gauge alarm" : "gauge";
      say(tile.children[0], text);
      tile.children[0].title = text;
      say(tile.children[1], reading(gauge));
      const share = filling(gauge);
      if (share == null) return;
      if (!tile.children[2]) tile.append(el("div", { class: "bar", "aria-hidden": "true" }, el("i", {})));
      tile.children[2].firstElementChild.style.width = Math.max(0, Math.min(1, share)) * 100 + "%";
    });
  const hanging = status.collectors.filter((collector) => collector.hanging);
  const failing = status.collectors.filter((collector) => collector.error && !collector.hanging);
  const oldest = Math.max(0, ...status.collectors.map((collector) => collector.age_ms || 0));
  let summary = status.collectors.length ? "read " + duration(oldest) + " ago" : "";
  if (failing.length) summary = "failing: " + failing.map((collector) => collector.name).join(", ");
  if (hanging.length) summary = "hanging: " + hanging.map((collector) => collector.name).join(", ");
  say(byId("gauges-summary"), summary);
  none(byId("gauges"), status.gauges.length === 0, "Nothing has been measured.");
}

// ---- MQTT and events

function mqtt(status) {
  const m = status.mqtt;
  const state = byId("mqtt-summary");
  say(state, !m.configured ? "not configured"
    : (m.connected ? "connected" : "not connected") + " for " + duration(m.state_age_ms));
  state.className = !m.configured ? "" : m.connected ? "sign good" : "sign bad";
  const dropped = Object.entries(m.dropped);
  const rows = !m.configured ? [] : [
    ["Broker", m.broker + (m.protocol ? ", MQTT " + m.protocol : "")],
    m.error && !m.connected ? ["Why", m.error] : null,
    ["Waiting", plural(m.queued, "record", "records") + ", " + bytes(m.queued_bytes)],
    ["Acknowledged", plural(m.acknowledged, "record", "records")],
    ["Sent", bytes(m.sent_bytes)],
    ["Dropped", dropped.length ? dropped.map(([cause, count]) => count + " " + cause).join(", ") : "none"],
  ].filter(Boolean);
  const list = byId("mqtt");
  facts(list, rows);
  none(list, !m.configured, "No broker is configured on this vehicle.");
}

/** What is kept of each stream until it was delivered. */
function spool(status) {
  const s = status.spool || { configured: false, streams: [] };
  const state = byId("spool-summary");
  const fill = s.budget_bytes ? s.disk_bytes / s.budget_bytes : 0;
  say(state, !s.configured ? "not configured" : !s.open ? (s.error ? "closed" : "opening")
    : s.degraded ? "the disk takes nothing" : percent(fill) + " of " + bytes(s.budget_bytes));
  state.className = !s.configured ? "" : s.open && !s.degraded ? "sign good" : "sign bad";
  const bar = byId("spool-fill");
  bar.hidden = !s.open;
  mark(bar, "aria-label", "The spool is filled to " + percent(fill));
  bar.firstElementChild.style.width = Math.max(0, Math.min(1, fill)) * 100 + "%";
  const rows = [];
  if (s.error) rows.push(["Why", s.error]);
  for (const stream of s.streams) {
    const lost = Object.entries(stream.dropped);
    if (stream.accepted_records === 0 && !lost.length) continue;
    rows.push([stream.name, [
      plural(stream.held_records, "record", "records") + ", " + bytes(stream.held_bytes),
      stream.oldest_age_ms == null ? null : "oldest " + duration(stream.oldest_age_ms),
      stream.delivery.held ? "held: the link is too costly" : null,
      stream.delivery.refused ? "refused by the broker " + stream.delivery.refused + " times" : null,
      lost.length ? "lost " + lost.map(([cause, loss]) => loss.records + " " + cause).join(", ") : null,
    ].filter(Boolean).join("; ")]);
  }
  const way = status.delivery;
  if (s.open && way && way.window_bytes) rows.push(["Way out", [
    way.goodput == null ? null : "the link carried " + bytes(way.goodput) + "/s",
    bytes(way.in_flight_bytes) + " on the way",
    way.round_trip_ms == null ? null : "acknowledged in " + way.round_trip_ms + " ms",
    way.link_cost == null ? null : "link cost " + way.link_cost,
  ].filter(Boolean).join("; ")]);
  if (s.bad_bytes) rows.push(["Damaged", bytes(s.bad_bytes)]);
  const list = byId("spool");
  facts(list, rows);
  none(list, rows.length === 0, s.configured ? "Nothing has been gathered." : "No spool is configured on this vehicle.");
}

/** In which federation the vehicle is, why, and what comes next. */
function membership(status) {
  const m = status.membership || { configured: false };
  byId("membership").hidden = !m.configured;
  if (!m.configured) return;
  const state = byId("membership-summary");
  say(state, m.state + (m.federation && m.state !== "solo" ? ": " + m.federation : ""));
  state.className = m.state === "member" ? "sign good" : m.state === "strained" ? "sign bad" : "";
  say(byId("membership-sentence"), m.sentence);
  const rows = [];
  if (m.unsaved) rows.push(["Stuck", m.unsaved]);
  if (m.wish !== "policy") rows.push(["Operator", { hold: "nothing is to change", join: "said which federation to be in" }[m.wish] || "wants none"]);
  for (const federation of m.federations) {
    rows.push([federation.name, [
      federation.cost == null ? "out of contact" : "cost " + federation.cost,
      federation.near_ms == null ? null : "near for " + duration(federation.near_ms),
      federation.round_trip_ms == null ? null : "answers in " + federation.round_trip_ms + " ms",
      federation.refusal,
    ].filter(Boolean).join("; ")]);
  }
  for (const owed of m.deferred) rows.push(["Owed to " + owed.federation, "delete the Node when there is a way"]);
  facts(byId("federations"), rows);
}

function events(status) {
  say(byId("events-summary"), status.events_total ? status.events_total + " since start" : "");
  const list = byId("events");
  keyed(list, status.events, (event) => event.number,
    () => el("li", {}, el("span", { class: "mark" }), el("span", {}), el("time", {})),
    (row, event) => {
      row.className = event.severity;
      say(row.children[0], event.severity === "warning" ? "▲" : "·");
      row.children[0].title = event.severity;
      const named = !event.subject || event.text.includes(event.subject);
      say(row.children[1], named ? event.text : event.subject + ": " + event.text);
      say(row.children[2], duration(event.age_ms));
      row.children[2].title = event.wall_ms == null ? "the clock was not set"
        : new Date(event.wall_ms).toISOString();
    });
  none(list, status.events.length === 0, "Nothing has happened yet.");
}

// ---- table of vehicles

const SORT = {
  name: (v) => v.name,
  cost: (v) => (v.reach === "own" ? -1 : v.reach === "unreachable" ? 1e9 : v.cost == null ? 1e8 : v.cost),
  hops: (v) => (v.reach === "own" ? 0 : v.hops == null ? 1e9 : v.hops),
  via: (v) => v.next_vehicle || v.next_hop || "~",
  quality: (v) => (v.quality_in == null ? 2 : Math.min(v.quality_in, v.quality_out == null ? 1 : v.quality_out)),
  hello: (v) => (v.hello_age_ms == null ? 1e12 : v.hello_age_ms),
  since: (v) => (v.since_ms == null ? 1e15 : v.since_ms),
};

function via(vehicle) {
  if (vehicle.reach === "own") return "this vehicle";
  if (vehicle.neighbor && vehicle.hops === 1) return "direct";
  return vehicle.next_vehicle || vehicle.next_hop || "";
}

function costWords(vehicle) {
  return vehicle.reach === "reachable" || vehicle.reach === "own" ? String(vehicle.cost) : REACH[vehicle.reach];
}

function table(status) {
  const vehicles = status.vehicles;
  const count = (reach) => vehicles.filter((vehicle) => vehicle.reach === reach).length;
  const away = count("unreachable");
  const unknown = count("unknown");
  say(byId("vehicles-summary"), [
    count("reachable") + count("not-meaningful") + " reachable",
    away ? away + " unreachable" : "", unknown ? unknown + " unknown" : "",
  ].filter(Boolean).join(", "));
  const body = byId("vehicles").tBodies[0];
  keyed(body, sorted(vehicles, SORT), (vehicle) => vehicle.name, (vehicle) => {
    const row = el("tr", {},
      el("td", {}, el("button", { type: "button" }), " ", el("small", { class: "via" })),
      el("td", { class: "number" }, el("span", { class: "cost" }, el("span", {}), el("i", {}))),
      el("td", { class: "number" }), el("td", { class: "wide" }), el("td", { class: "number" }),
      el("td", { class: "number wide" }), el("td", { class: "number wide" }));
    row.addEventListener("click", () => choose(vehicle.name));
    return row;
  }, (row, vehicle) => {
    row.className = (vehicle.stale ? "held " : "") + (vehicle.name === chosen ? "chosen" : "");
    const cells = row.children;
    say(cells[0].children[0], vehicle.name);
    const way = via(vehicle);
    say(cells[0].children[1], vehicle.hops > 1 && way ? "via " + way : way);
    say(cells[1].firstElementChild.children[0], costWords(vehicle));
    const kind = classOf(vehicle);
    const swatch = cells[1].firstElementChild.children[1];
    swatch.className = "swatch " + kind;
    say(swatch, kind === "off" ? "×" : kind === "dim" ? "?" : "");
    say(cells[2], vehicle.hops == null ? "" : String(vehicle.hops));
    say(cells[3], way);
    say(cells[4], vehicle.quality_in == null ? "" : percent(vehicle.quality_in).replace(" %", "") + " / "
      + percent(vehicle.quality_out));
    say(cells[5], vehicle.hello_age_ms == null ? "" : duration(vehicle.hello_age_ms));
    say(cells[6], vehicle.since_ms == null ? "" : duration(vehicle.since_ms));
  });
}

sortable(() => { if (latest) table(latest); });

// ---- graph: where the nodes go

/** Cheapest tree from node 0 over the edges: depth, parent and children of each node; depth is null when cut off. */
function spanningTree(graph) {
  const count = graph.nodes.length;
  const near = Array.from({ length: count }, () => []);
  for (const edge of graph.edges) {
    const cost = edge.cost == null ? 5000 : edge.cost;
    near[edge.a].push([edge.b, cost]);
    near[edge.b].push([edge.a, cost]);
  }
  const cost = new Array(count).fill(Infinity);
  const parent = new Array(count).fill(-1);
  const depth = new Array(count).fill(null);
  const done = new Array(count).fill(false);
  cost[0] = 0;
  depth[0] = 0;
  for (;;) {
    let best = -1;
    for (let i = 0; i < count; i += 1) {
      if (!done[i] && cost[i] < Infinity && (best < 0 || cost[i] < cost[best])) best = i;
    }
    if (best < 0) break;
    done[best] = true;
    for (const [other, step] of near[best]) {
      if (cost[best] + step < cost[other]) {
        cost[other] = cost[best] + step;
        parent[other] = best;
        depth[other] = depth[best] + 1;
      }
    }
  }
  const children = Array.from({ length: count }, () => []);
  for (let i = 1; i < count; i += 1) if (parent[i] >= 0) children[parent[i]].push(i);
  return { parent, depth, children };
}

/** First guess: a radial tree, each branch with the angle its leaves need; what is cut off stands on the outermost ring. */
function radial(tree, names) {
  const leaves = new Array(names.length).fill(0);
  const weigh = (i) => {
    leaves[i] = tree.children[i].reduce((sum, child) => sum + weigh(child), 0) || 1;
    return leaves[i];
  };
  weigh(0);
  const deepest = Math.max(1, ...tree.depth.map((depth) => depth || 0));
  const cut = names.map((_, i) => i).filter((i) => tree.depth[i] == null);
  const rings = deepest + (cut.length ? 1 : 0);
  const place = names.map(() => [0, 0]);
  const spread = (i, from, to) => {
    let angle = from;
    for (const child of tree.children[i].sort((a, b) => byName.compare(names[a], names[b]))) {
      const width = ((to - from) * leaves[child]) / leaves[i];
      const middle = angle + width / 2;
      const radius = tree.depth[child] / rings;
      place[child] = [radius * Math.cos(middle), radius * Math.sin(middle)];
      spread(child, angle, angle + width);
      angle += width;
    }
  };
  spread(0, -Math.PI / 2, 1.5 * Math.PI);
  cut.forEach((i, rank) => {
    const angle = -Math.PI / 2 + ((rank + 0.5) * 2 * Math.PI) / cut.length;
    place[i] = [Math.cos(angle), Math.sin(angle)];
  });
  return { place, rings };
}

/** Pushes crowded nodes apart and pulls each towards its parent and its ring; this vehicle stays in the middle. */
function relax(points, tree, rings, width, height, pad) {
  const count = points.length;
  const [cx, cy] = [width / 2, height / 2];
  const [rx, ry] = [width / 2 - pad, height / 2 - pad];
  const apart = 0.9 * Math.sqrt((width * height) / count);
  const room = Math.min(apart, 110);
  for (let round = 0; round < 160; round += 1) {
    const heat = 1 - round / 160;
    const move = points.map(() => [0, 0]);
    for (let a = 0; a < count; a += 1) {
      for (let b = a + 1; b < count; b += 1) {
        let dx = points[b][0] - points[a][0];
        let dy = points[b][1] - points[a][1];
        let distance = Math.hypot(dx, dy);
        if (distance >= room) continue;
        if (distance < 0.01) { dx = Math.cos(a + b); dy = Math.sin(a + b); distance = 1; }
        const push = ((room - distance) / distance) * 0.35;
        move[a][0] -= dx * push; move[a][1] -= dy * push;
        move[b][0] += dx * push; move[b][1] += dy * push;
      }
    }
    for (let i = 1; i < count; i += 1) {
      const [x, y] = points[i];
      const up = tree.parent[i];
      if (up >= 0) {
        const [dx, dy] = [points[up][0] - x, points[up][1] - y];
        const distance = Math.hypot(dx, dy) || 1;
        const pull = ((distance - room) / distance) * 0.08;
        move[i][0] += dx * pull; move[i][1] += dy * pull;
      }
      const ring = (tree.depth[i] == null ? rings : tree.depth[i]) / rings;
      const [ux, uy] = [(x - cx) / rx, (y - cy) / ry];
      const radius = Math.hypot(ux, uy) || 1;
      const back = (ring - radius) * 0.12;
      move[i][0] += (ux / radius) * back * rx; move[i][1] += (uy / radius) * back * ry;
    }
    for (let i = 1; i < count; i += 1) {
      const reach = Math.hypot(move[i][0], move[i][1]) || 1;
      const step = Math.min(reach, 30 * heat + 1) / reach;
      points[i][0] = Math.min(width - pad, Math.max(pad, points[i][0] + move[i][0] * step));
      points[i][1] = Math.min(height - pad + 6, Math.max(pad - 6, points[i][1] + move[i][1] * step));
    }
  }
}

const view = { key: "", places: new Map(), shown: new Map(), tree: null, radius: 13, frame: 0 };

/** Stretches the drawing to the room it has, with this vehicle still in the middle. */
function fit(points, width, height, pad) {
  const [cx, cy] = [width / 2, height / 2];
  const far = (axis, middle) => Math.max(1, ...points.map((point) => Math.abs(point[axis] - middle)));
  const scale = [Math.min(2, (cx - pad) / far(0, cx)), Math.min(2, (cy - pad) / far(1, cy))];
  for (const point of points) {
    point[0] = cx + (point[0] - cx) * scale[0];
    point[1] = cy + (point[1] - cy) * scale[1];
  }
}

/** Places all nodes, anew only when nodes, tree or size changed; whoever was there starts from where it stood. */
function layout(graph, width, height) {
  const tree = spanningTree(graph);
  view.tree = tree;
  const key = [width, height, ...graph.nodes.map((node, i) => node.label + "\t" + tree.parent[i])].join("\n");
  if (key === view.key) return;
  view.key = key;
  const names = graph.nodes.map((node) => node.label);
  const pad = width < 500 ? 30 : 46;
  const { place, rings } = radial(tree, names);
  const points = place.map(([x, y], i) => {
    const before = view.places.get(names[i]);
    return before && before.width === width && i > 0 ? [before.x, before.y]
      : [width / 2 + x * (width / 2 - pad), height / 2 + y * (height / 2 - pad)];
  });
  relax(points, tree, rings, width, height, pad);
  fit(points, width, height, pad);
  view.radius = Math.max(7, Math.min(15, 0.2 * Math.sqrt((width * height) / names.length)));
  view.places = new Map(points.map(([x, y], i) => [names[i], { x, y, width }]));
}

// ---- graph: drawing

function radiusOf(node) {
  if (node.reach === "own") return view.radius + 5;
  return node.vehicle ? view.radius : view.radius * 0.62;
}

function labelOf(text) {
  const letters = Array.from(text);
  return letters.length <= 16 ? text : letters.slice(0, 15).join("") + "…";
}

/** Names that would lie on another name or node are hidden until looked at; near vehicles are named first. */
function uncrowd(graph, width) {
  const taken = graph.nodes.map((node) => {
    const { x, y } = view.places.get(node.label);
    const r = radiusOf(node);
    return [x - r, y - r, x + r, y + r];
  });
  const order = graph.nodes.map((_, i) => i).sort((a, b) => {
    const rank = (i) => (i === 0 ? -1 : (graph.nodes[i].vehicle ? 0 : 50) + (view.tree.depth[i] == null ? 40 : view.tree.depth[i]));
    return rank(a) - rank(b) || a - b;
  });
  const crowded = new Set();
  for (const i of order) {
    const node = graph.nodes[i];
    const { x, y } = view.places.get(node.label);
    const half = labelOf(node.label).length * (i === 0 ? 4.2 : 3.3) + 2;
    const top = y + radiusOf(node) + 1;
    const box = [x - half, top, x + half, top + 13];
    const free = box[0] > -4 && box[2] < width + 4 && taken.every((other, j) =>
      j === i || box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3]);
    if (free) taken.push(box);
    else crowded.add(i);
  }
  return crowded;
}

function draw(status) {
  const graph = status.graph;
  const box = byId("graph");
  mark(box, "data-crowd", graph.nodes.length > 30 ? 1 : 0);
  const [width, height] = [box.clientWidth, box.clientHeight];
  if (width < 50) return;
  let picture = box.querySelector("svg");
  if (!picture) {
    picture = svg("svg", { role: "group", "aria-label": "Mesh, this vehicle in the middle; arrow keys go from node to node" });
    picture.append(svg("g", {}), svg("g", {}));
    picture.addEventListener("keydown", walk);
    box.prepend(picture);
  }
  mark(picture, "viewBox", "0 0 " + width + " " + height);
  layout(graph, width, height);
  const path = pathTo(graph, chosen);
  const [lines, nodes] = picture.children;
  const inTree = (edge) => view.tree.parent[edge.a] === edge.b || view.tree.parent[edge.b] === edge.a;
  const ordered = [...graph.edges.filter((edge) => !inTree(edge)), ...graph.edges.filter(inTree)];
  keyed(lines, ordered, (edge) => graph.nodes[edge.a].label + "\t" + graph.nodes[edge.b].label,
    () => svg("line", {}),
    (line, edge) => {
      const onPath = inTree(edge) && path.has(edge.a) && path.has(edge.b);
      mark(line, "class", "edge " + (edge.cost == null ? "off" : bin(edge.cost)) + (inTree(edge) ? " tree" : "")
        + (onPath ? " path" : ""));
      line.ends = [graph.nodes[edge.a].label, graph.nodes[edge.b].label];
    });
  const crowded = uncrowd(graph, width);
  const focusable = graph.nodes.some((node) => node.label === chosen) ? chosen : graph.nodes[0].label;
  keyed(nodes, graph.nodes, (node) => node.label, (node) => {
    const group = svg("g", { role: "button" });
    group.append(svg("circle", { class: "dot" }), svg("text", { class: "value" }), svg("text", { class: "name" }));
    group.addEventListener("click", () => choose(node.label));
    return group;
  }, (group, node) => {
    const i = graph.nodes.indexOf(node);
    const radius = radiusOf(node);
    mark(group, "class", "node " + classOf(node) + (node.vehicle || i === 0 ? "" : " relay")
      + (crowded.has(i) ? " crowded" : "") + (node.label === chosen ? " chosen" : ""));
    mark(group, "tabindex", node.label === focusable ? 0 : -1);
    mark(group, "aria-label", node.label + ", " + REACH[node.reach]
      + (node.reach === "reachable" && node.cost != null ? ", cost " + node.cost : "")
      + (node.hops ? ", " + plural(node.hops, "hop", "hops") : "") + (node.stale ? ", from before" : ""));
    mark(group.children[0], "r", radius);
    const value = group.children[1];
    say(value, node.vehicle || radius > 9 ? short(node) : "");
    value.style.fontSize = Math.min(11.5, (radius * 1.9) / Math.max(2, short(node).length * 0.62)).toFixed(1) + "px";
    const name = group.children[2];
    say(name, labelOf(node.label));
    mark(name, "y", (radius + 11).toFixed(1));
  });
  glide(picture);
  const alone = status.vehicles.every((vehicle) => vehicle.reach === "own") && graph.nodes.length <= 1;
  byId("graph-empty").hidden = !alone;
  say(byId("graph-empty"), status.mesh.configured ? "No other vehicle is known." : "There is no mesh to show.");
  summary(status);
}

function summary(status) {
  const mesh = status.mesh;
  const left = status.graph.edges_omitted + status.graph.nodes_omitted;
  say(byId("mesh-summary"), !mesh.configured ? "" : [
    plural(mesh.neighbors, "neighbour", "neighbours"), plural(mesh.routes, "route", "routes"),
    mesh.view_age_ms == null ? "" : duration(mesh.view_age_ms) + " old",
    left ? "the drawing leaves out " + left : "",
  ].filter(Boolean).join(", "));
}

/** Moves nodes and edges to their places, at once or gliding where the reader allows it. */
function glide(picture) {
  cancelAnimationFrame(view.frame);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches || view.shown.size === 0;
  const from = new Map(view.shown);
  const began = performance.now();
  const step = () => {
    const share = calm ? 1 : Math.min(1, (performance.now() - began) / 500);
    const eased = share * (2 - share);
    view.shown = new Map();
    for (const [name, to] of view.places) {
      const start = from.get(name) || to;
      view.shown.set(name, { x: start.x + (to.x - start.x) * eased, y: start.y + (to.y - start.y) * eased });
    }
    const [lines, nodes] = picture.children;
    for (const line of lines.children) {
      const [a, b] = [view.shown.get(line.ends[0]), view.shown.get(line.ends[1])];
      mark(line, "x1", a.x.toFixed(1)); mark(line, "y1", a.y.toFixed(1));
      mark(line, "x2", b.x.toFixed(1)); mark(line, "y2", b.y.toFixed(1));
    }
    for (const node of nodes.children) {
      const { x, y } = view.shown.get(node.dataset.key);
      mark(node, "transform", "translate(" + x.toFixed(1) + " " + y.toFixed(1) + ")");
    }
    if (share < 1) view.frame = requestAnimationFrame(step);
  };
  step();
}

/** Nodes on the drawn way from this vehicle to `name`. */
function pathTo(graph, name) {
  const path = new Set();
  let at = graph.nodes.findIndex((node) => node.label === name);
  while (at >= 0 && !path.has(at)) {
    path.add(at);
    at = view.tree.parent[at];
  }
  return path;
}

function choose(name) {
  chosen = chosen === name ? null : name;
  if (latest) { draw(latest); table(latest); readout(latest); }
}

function walk(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const nodes = [...event.currentTarget.children[1].children];
  const at = nodes.indexOf(document.activeElement);
  if (at < 0) return;
  if (event.key === "Enter" || event.key === " ") choose(nodes[at].dataset.key);
  else if (step) nodes[(at + step + nodes.length) % nodes.length].focus();
  else return;
  event.preventDefault();
}

/** What is known about the chosen node, in one sentence; a hint when nothing is chosen. */
function readout(status) {
  const line = byId("readout");
  const vehicle = status.vehicles.find((one) => one.name === chosen);
  const node = status.graph.nodes.find((one) => one.label === chosen);
  if (!vehicle && !node) {
    say(line, status.graph.nodes.length > 1 ? "Choose a vehicle for details. Numbers are the network cost: 100 is one perfect hop." : "");
    return;
  }
  const what = vehicle || node;
  const parts = [what.reach === "reachable" && what.cost != null ? "cost " + what.cost : REACH[what.reach]];
  if (!vehicle && node.reach !== "own") parts.push("not a known vehicle");
  if (what.hops) parts.push(plural(what.hops, "hop", "hops") + (vehicle && vehicle.hops > 1 && via(vehicle) ? " via " + via(vehicle) : ""));
  if (vehicle) {
    if (vehicle.interface) parts.push("on " + vehicle.interface);
    if (vehicle.raw_cost != null && vehicle.raw_cost !== vehicle.cost) parts.push("latest cost " + vehicle.raw_cost);
    if (vehicle.quality_in != null) parts.push(percent(vehicle.quality_in) + " heard, " + percent(vehicle.quality_out) + " hears us");
    if (vehicle.hello_age_ms != null) parts.push("HELLO " + duration(vehicle.hello_age_ms) + " ago");
    if (vehicle.since_ms != null) parts.push(REACH[vehicle.reach] + " for " + duration(vehicle.since_ms));
    if (vehicle.transitions) parts.push(plural(vehicle.transitions, "change", "changes"));
    if (vehicle.stale) parts.push("from before, " + duration(vehicle.age_ms) + " old");
    if (vehicle.addresses.length) parts.push(vehicle.addresses.slice(0, 4).join(", "));
  }
  const text = " – " + parts.join(" · ");
  if (line.textContent === chosen + text) return;
  line.replaceChildren(el("b", {}, chosen), text);
}

// ---- everything, and where it comes from

function show(status) {
  if (status.schema !== SCHEMA) {
    byId("banners").replaceChildren(el("p", { class: "banner bad", "data-key": "schema" },
      "This page is older or newer than the agent. Load it again."));
    return;
  }
  latest = status;
  received = performance.now();
  head(status);
  banners();
  gauges(status);
  mqtt(status);
  spool(status);
  membership(status);
  events(status);
  table(status);
  draw(status);
  readout(status);
}

follow("/v1/status", show, POLL_MS, RETRY_MS);
new ResizeObserver(() => latest && draw(latest)).observe(byId("graph"));
setInterval(banners, 1000);
