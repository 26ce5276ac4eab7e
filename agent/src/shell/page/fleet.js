// The fleet page: draws the document of /api/fleet (schema 1) that /v1/stream sends each second.
//
// Decides nothing: what is online, overdue or missing is said by the document, except that the receiving end itself no
// longer answers, which only the page can notice.
"use strict";

const SCHEMA = 1;
const LOST_AFTER_MS = 5000; // it sends every second; a radio link may swallow a few
const POLL_MS = 5000; // while the stream is refused
const RETRY_MS = 3000;

let latest = null; // the latest document
let received = 0; // performance.now() of its arrival

// ---- head and banners

function head(fleet) {
  const online = fleet.vehicles.filter((vehicle) => vehicle.presence === "online").length;
  say(byId("what"), plural(fleet.vehicles.length, "vehicle", "vehicles") + ", " + online + " online · "
    + fleet.filter + " at " + fleet.broker.address);
  document.title = online + "/" + fleet.vehicles.length + " – Outrider fleet";
  const faults = (fleet.broker.connected ? 0 : 1) + (fleet.storage.error ? 1 : 0);
  const health = byId("health");
  health.className = "pill " + (faults ? "bad" : "good");
  say(health, faults ? plural(faults, "problem", "problems") : "receiving");
  const clock = fleet.clock.wall_ms == null ? "clock not set: nothing is dated"
    : new Date(fleet.clock.wall_ms).toISOString().replace("T", " ").slice(0, 19) + " UTC"
      + (fleet.clock.quality === "synchronised" ? "" : " (not synchronised)");
  say(byId("about"), "Outrider " + fleet.version + " · " + clock);
}

function banners() {
  const list = [];
  const silent = performance.now() - received;
  const lost = latest && silent > LOST_AFTER_MS;
  if (lost) {
    list.push(["bad", "No contact for " + duration(silent), "The receiving end does not answer. "
      + "Everything below is what was last known."]);
  }
  if (latest) {
    const { broker, storage } = latest;
    if (storage.error) list.push(["bad", "Nothing is received", storage.error + ". The broker keeps what comes."]);
    else if (!broker.connected) list.push(["bad", "No broker", broker.error || "Connecting to " + broker.address + "."]);
    for (const text of storage.damage) list.push(["warn", "At the start", text]);
  }
  keyed(byId("banners"), list, (item) => item[1].replace(/[\d.]+/g, "") + item[2],
    () => el("p", {}, el("strong", {}), el("span", {})),
    (child, [kind, title, text]) => {
      child.className = "banner " + kind;
      say(child.children[0], title);
      say(child.children[1], text);
    });
  mark(document.body, "data-state", !latest ? "waiting" : lost ? "lost" : "live");
  const live = byId("live");
  live.className = "pill " + (!latest ? "" : lost ? "bad" : "good");
  say(live, !latest ? "waiting" : lost ? "no contact" : "live");
}

// ---- vehicles

const CAUSES = { "connection-lost": "connection lost", stopped: "stopped" };
const late = (ms) => (ms == null ? 1e15 : ms);
const eventAge = (event) => late(event && event.age_ms);

const SORT = {
  name: (v) => v.name,
  presence: (v) => (v.presence === "online" ? 0 : 1e12) + late(v.presence_age_ms) / 1e4,
  sample: (v) => late(v.sample_age_ms),
  mesh: (v) => late(v.mesh_age_ms),
  reach: (v) => -v.reachable,
  backlog: (v) => -(v.backlog.bytes || 0),
  federation: (v) => eventAge(v.last_federation),
  event: (v) => eventAge(v.last_event),
};

function contact(vehicle) {
  if (vehicle.presence == null) return "unknown";
  const cause = CAUSES[vehicle.cause];
  return vehicle.presence + (cause ? ", " + cause : "");
}

function happened(event) {
  if (!event) return "";
  const named = !event.subject || event.text.includes(event.subject);
  return (named ? event.text : event.subject + ": " + event.text);
}

const ago = (event) => (event ? duration(event.age_ms) + " ago" : "");

function backlog(vehicle) {
  const { records, bytes: held } = vehicle.backlog;
  if (records == null && held == null) return "–";
  return held == null ? plural(records, "record", "records") : bytes(held);
}

function vehicles(fleet) {
  const overdue = fleet.vehicles.filter((vehicle) => vehicle.overdue).length;
  say(byId("vehicles-summary"), overdue ? overdue + " without fresh values" : "");
  const told = () => el("td", { class: "wide told" }, el("span", {}), " ", el("small", {}));
  keyed(byId("vehicles").tBodies[0], sorted(fleet.vehicles, SORT), (vehicle) => vehicle.name,
    () => el("tr", {},
      el("td", {}, el("b", {}), " ", el("small", {}), el("small", { class: "via" })),
      el("td", {}, el("span", { class: "sign" }), " ", el("small", {})),
      el("td", { class: "number" }), el("td", { class: "number" }), el("td", { class: "number wide" }),
      el("td", { class: "number" }), told(), told()),
    (row, vehicle) => {
      row.className = vehicle.overdue ? "held" : "";
      const cells = row.children;
      const federation = happened(vehicle.last_federation);
      const event = happened(vehicle.last_event);
      say(cells[0].children[0], vehicle.name);
      say(cells[0].children[1], [vehicle.kind, vehicle.own_name && "calls itself " + vehicle.own_name].filter(Boolean).join(" · "));
      say(cells[0].children[2], [event && event + " " + ago(vehicle.last_event), federation && federation !== event
        && federation + " " + ago(vehicle.last_federation)].filter(Boolean).join(" · "));
      cells[0].title = [vehicle.agent_version && "Outrider " + vehicle.agent_version, plural(vehicle.series, "series", "series"),
        "clock " + vehicle.clock, vehicle.late_batches && plural(vehicle.late_batches, "late batch", "late batches"),
        vehicle.repeats && plural(vehicle.repeats, "repeat", "repeats")].filter(Boolean).join(", ");
      cells[1].children[0].className = "sign " + (vehicle.presence === "online" ? "good" : vehicle.presence ? "bad" : "");
      say(cells[1].children[0], contact(vehicle));
      say(cells[1].children[1], vehicle.presence_age_ms == null ? "" : duration(vehicle.presence_age_ms));
      say(cells[2], duration(vehicle.sample_age_ms));
      say(cells[3], duration(vehicle.mesh_age_ms));
      say(cells[4], vehicle.mesh_age_ms == null ? "–" : vehicle.reachable
        + (vehicle.unreachable ? ", not " + vehicle.unreachable : ""));
      say(cells[5], backlog(vehicle));
      say(cells[6].children[0], federation);
      say(cells[6].children[1], ago(vehicle.last_federation));
      say(cells[7].children[0], event);
      say(cells[7].children[1], ago(vehicle.last_event));
    });
  none(byId("vehicles").parentElement, fleet.vehicles.length === 0, "No vehicle has been heard yet.");
}

sortable(() => { if (latest) vehicles(latest); });

// ---- costs

function costOf(cost, own) {
  if (own) return ["own", "·"];
  if (cost == null) return ["dim", "?"];
  if (cost < 0) return ["off", "×"];
  return [bin(cost), cost < 10000 ? String(Math.round(cost)) : Math.round(cost / 1000) + "k"];
}

function costs(fleet) {
  const { vehicles: names, rows, omitted } = fleet.costs;
  const said = rows.some((row) => row.some((cost) => cost != null));
  byId("costs").hidden = !said;
  byId("costs-empty").hidden = said;
  say(byId("costs-summary"), omitted ? "the first " + names.length + " vehicles; /api/fleet and /metrics have all"
    : said ? "from each row to each column" : "");
  if (!said) return;
  const header = byId("costs").tHead.rows[0];
  keyed(header, ["", ...names], (name) => "to " + name,
    () => el("th", { scope: "col" }, el("span", {})),
    (cell, name) => { say(cell.firstElementChild, name); cell.title = name; });
  keyed(byId("costs").tBodies[0], names, (name) => name,
    () => el("tr", {}, el("th", { scope: "row", "data-key": "name" })),
    (row, from) => {
      const line = rows[names.indexOf(from)];
      const cells = [{ to: "name" }, ...names.map((to, place) => ({ to: "to " + to, name: to, cost: line[place] }))];
      keyed(row, cells, (cell) => cell.to, () => el("td", {}, el("i", {})), (cell, { name, cost }) => {
        if (name == null) {
          say(cell, from);
          cell.title = from;
          return;
        }
        const [kind, text] = costOf(cost, name === from);
        cell.firstElementChild.className = "cell " + kind;
        say(cell.firstElementChild, text);
        cell.title = from + " → " + name + ": " + (kind === "off" ? "unreachable" : kind === "dim" ? "unknown"
          : kind === "own" ? "itself" : text);
      });
    });
}

// ---- receiving, streams, events

function receiving(fleet) {
  const { broker, storage } = fleet;
  const state = byId("receiving-summary");
  say(state, broker.connected ? "connected, MQTT " + broker.protocol : "not connected");
  state.className = broker.connected ? "sign good" : "sign bad";
  const refused = Object.entries(fleet.refused).filter(([, count]) => count > 0);
  const last = fleet.last_refusal;
  facts(byId("receiving"), [
    ["Broker", broker.address],
    ["Messages", String(fleet.messages)],
    ["Made durable", plural(storage.commits, "time", "times") + ", journal " + bytes(storage.journal_bytes)],
    storage.streams ? ["Streams to", storage.streams] : null,
    storage.forward ? ["JSON to", storage.forward] : null,
    fleet.incomplete_records ? ["Half here", plural(fleet.incomplete_records, "record", "records")] : null,
    fleet.abandoned_records ? ["Given up", plural(fleet.abandoned_records, "record", "records")] : null,
    storage.files ? ["Put together", plural(storage.files, "file", "files")] : null,
    storage.damaged_files ? ["Damaged", plural(storage.damaged_files, "file", "files")] : null,
    fleet.incomplete_files ? ["On their way", plural(fleet.incomplete_files, "file", "files")] : null,
    fleet.abandoned_files ? ["Given up", plural(fleet.abandoned_files, "file", "files")] : null,
    fleet.forgotten_vehicles ? ["Forgotten", plural(fleet.forgotten_vehicles, "vehicle", "vehicles")] : null,
    ["Turned away", refused.length ? refused.map(([cause, count]) => count + " " + cause).join(", ") : "none"],
    last ? ["Last", last.topic + " " + duration(last.age_ms) + " ago: " + last.text] : null,
  ].filter(Boolean));
}

function streams(fleet) {
  say(byId("streams-summary"), fleet.streams_total > fleet.streams.length
    ? "the first " + fleet.streams.length + " of " + fleet.streams_total : "");
  keyed(byId("streams").tBodies[0], fleet.streams, (stream) => stream.vehicle + "/" + stream.stream,
    () => el("tr", {}, el("td", {}, el("b", {}), " ", el("small", {})), el("td", { class: "number" }),
      el("td", { class: "number wide" }), el("td", { class: "number" }), el("td", { class: "number wide" }), el("td", { class: "number" })),
    (row, stream) => {
      const cells = row.children;
      say(cells[0].children[0], stream.stream);
      say(cells[0].children[1], stream.vehicle);
      say(cells[1], String(stream.records));
      say(cells[2], bytes(stream.bytes));
      say(cells[3], stream.missing || stream.gone ? stream.missing + " / " + stream.gone : "none");
      say(cells[4], String(stream.repeats));
      say(cells[5], duration(stream.age_ms));
    });
  none(byId("streams").parentElement, fleet.streams.length === 0, "No records have come.");
  byId("streams").hidden = fleet.streams.length === 0;
}

function events(fleet) {
  const list = byId("events");
  say(byId("events-summary"), fleet.events.length ? "of all vehicles" : "");
  keyed(list, fleet.events, (event) => [event.vehicle, event.boot_id, event.number, event.boot_ms].join(" "),
    () => el("li", {}, el("span", { class: "mark" }), el("span", {}, el("b", {}), " ", el("span", {})), el("time", {})),
    (row, event) => {
      row.className = event.severity;
      say(row.children[0], event.warning ? "▲" : "·");
      row.children[0].title = event.severity;
      say(row.children[1].children[0], event.vehicle);
      say(row.children[1].children[1], happened(event));
      say(row.children[2], duration(event.age_ms));
      row.children[2].title = event.wall_ms == null ? "its clock was not set" : new Date(event.wall_ms).toISOString();
    });
  none(list, fleet.events.length === 0, "Nothing has happened yet.");
}

// ---- everything, and where it comes from

function show(fleet) {
  if (fleet.schema !== SCHEMA) {
    byId("banners").replaceChildren(el("p", { class: "banner bad", "data-key": "schema" },
      "This page is older or newer than the receiving end. Load it again."));
    return;
  }
  latest = fleet;
  received = performance.now();
  for (const draw of [head, banners, vehicles, costs, receiving, streams, events]) draw(fleet);
}

follow("/api/fleet", show, POLL_MS, RETRY_MS);
setInterval(banners, 1000);
