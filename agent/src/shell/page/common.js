// What both pages need: words for numbers, and a little DOM.
//
// All text from outside goes through textContent or setAttribute; nothing is ever parsed as HTML.
"use strict";

const GRAPH_NS = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);
const byName = new Intl.Collator(undefined, { numeric: true });

// ---- words and numbers

function duration(ms) {
  if (ms == null) return "–";
  const s = ms / 1000;
  if (s < 1) return "< 1 s";
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 100) return Math.round(s) + " s";
  if (s < 6000) return Math.round(s / 60) + " min";
  if (s < 172800) return Math.floor(s / 3600) + " h " + Math.round((s % 3600) / 60) + " min";
  return Math.floor(s / 86400) + " d";
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return (unit === 0 || count >= 100 ? count.toFixed(0) : count.toFixed(1)) + " " + units[unit];
}

const percent = (share) => (share == null ? "–" : Math.round(share * 100) + " %");
const plural = (count, one, many) => count + " " + (count === 1 ? one : many);

/** Colour class of a cost; the limits stand in the legend. */
function bin(cost) {
  if (cost <= 200) return "c1";
  if (cost <= 400) return "c2";
  if (cost <= 600) return "c3";
  return "c4";
}

// ---- a little DOM

function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.append(...children.filter((child) => child != null));
  return element;
}

function svg(tag, attributes) {
  const element = document.createElementNS(GRAPH_NS, tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  return element;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Makes `parent` hold one child per item, reusing the child that has the same key, so that focus and scroll stay. */
function keyed(parent, items, key, create, update) {
  const old = new Map();
  for (const child of parent.children) old.set(child.dataset.key, child);
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = old.get(name);
    old.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const child of old.values()) child.remove();
}

/** Says in words that a list is empty. */
function none(parent, empty, text) {
  const sign = parent.querySelector(".none");
  if (sign) sign.remove();
  if (empty) parent.append(el(parent.tagName === "OL" ? "li" : "p", { class: "none", "data-key": "none" }, text));
}

/** Shows pairs of a term and a text in a definition list. */
function facts(list, pairs) {
  keyed(list, pairs.flatMap(([term, text]) => [["dt", term, term], ["dd", term + " ", text]]),
    (row) => row[1], (row) => el(row[0], {}), (child, row) => say(child, row[2]));
}

// ---- the table of vehicles, in the order that the reader chose

const sort = { key: "name", down: false };

/** Vehicles by the chosen column; `values` has what each column is ordered by. */
function sorted(vehicles, values) {
  const value = values[sort.key];
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    return typeof x === "string" ? byName.compare(x, y) : x - y;
  };
  const sign = sort.down ? -1 : 1;
  return [...vehicles].sort((a, b) => sign * order(a, b) || byName.compare(a.name, b.name));
}

/** Lets the reader choose a column at its header, and again to turn the order round. */
function sortable(redraw) {
  for (const header of document.querySelectorAll("#vehicles th")) {
    header.addEventListener("click", () => {
      const key = header.dataset.key;
      Object.assign(sort, { key, down: sort.key === key && !sort.down });
      for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      redraw();
    });
  }
}

// ---- where news come from

/** Shows each document of the live stream, and reads `path` now and then while the stream is refused. */
function follow(path, show, pollMs, retryMs) {
  let stream = null;
  let pollTimer = 0;

  function stop() {
    if (stream) stream.close();
    stream = null;
    clearTimeout(pollTimer);
  }

  async function poll() {
    let next = retryMs;
    try {
      const answer = await fetch(path, { cache: "no-store" });
      if (answer.ok) {
        show(await answer.json());
        next = pollMs;
      }
    } catch {
      // The banner says how long there has been no contact.
    }
    pollTimer = setTimeout(listen, next);
  }

  function listen() {
    stop();
    stream = new EventSource("/v1/stream");
    stream.addEventListener("status", (event) => show(JSON.parse(event.data)));
    stream.addEventListener("error", () => {
      // CLOSED means refused: all places are taken, or something else answered. Otherwise the browser tries again itself.
      if (stream.readyState === EventSource.CLOSED) {
        stop();
        poll();
      }
    });
  }

  // A phone in a pocket needs no news over a thin link.
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
  listen();
}
