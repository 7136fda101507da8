"use strict";
// Text reaches the page as text nodes only, so that no token and no label can act on it.

const PAGE_ROWS = 100;
const main = document.getElementById("main");
const options = { breaks: false, values: false };
const chunks = new Map();
let index = null;
let shown = []; // rows of the index that the list shows, in its order
let row = -1; // row of the index that is open
let routed = false;

function element(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === "class") node.className = value;
    else if (key in node && typeof value !== "string") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function drawing(tag, properties, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(properties)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

async function unpacked(id) {
  const packed = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function chunkOf(position) {
  const number = Math.floor(position / index.about.chunk);
  if (!chunks.has(number)) chunks.set(number, unpacked("chunk-" + number));
  return chunks.get(number);
}

const count = (value) => value.toLocaleString("en");
const share = (value) => (value === 0 ? "0 %" : (value * 100).toPrecision(3).replace(/\.?0+$/, "") + " %");
const isDead = (at) => index.density[at] === 0;

// ---- the list

const filters = { q: "", show: "alive", sort: "id", from: "", to: "", page: 0 };

function readFilters(text) {
  const given = new URLSearchParams(text);
  Object.assign(filters, { q: "", show: "alive", sort: "id", from: "", to: "", page: 0 });
  for (const key of Object.keys(filters)) if (given.has(key)) filters[key] = given.get(key);
  filters.page = Math.max(0, Number.parseInt(filters.page, 10) || 0);
}

function filtersAddress() {
  const given = new URLSearchParams();
  const usual = { q: "", show: "alive", sort: "id", from: "", to: "", page: 0 };
  for (const key of Object.keys(usual)) if (filters[key] !== usual[key]) given.set(key, filters[key]);
  return "#/" + (given.size ? "?" + given : "");
}

function keepFilters() {
  history.replaceState(null, "", filtersAddress());
}

function selected() {
  const words = filters.q.toLowerCase().split(/\s+/).filter(Boolean);
  const low = filters.from === "" ? -Infinity : Number(filters.from) / 100;
  const high = filters.to === "" ? Infinity : Number(filters.to) / 100;
  const kinds = {
    alive: (at) => !isDead(at),
    known: (at) => index.state[at] === 2,
    unknown: (at) => index.state[at] === 1 && !isDead(at),
    dense: (at) => index.density[at] > index.about.dense,
    dead: isDead,
    all: () => true,
  };
  const keep = kinds[filters.show] || kinds.alive;
  const found = [];
  for (let at = 0; at < index.id.length; at++) {
    if (!keep(at) || index.density[at] < low || index.density[at] > high) continue;
    if (words.length && !matches(at, words)) continue;
    found.push(at);
  }
  return sorted(found);
}

function matches(at, words) {
  const text = (index.id[at] + " " + index.label[at] + " " + index.peak[at] + " " + index.words[at]).toLowerCase();
  return words.every((word) => text.includes(word));
}

function sorted(found) {
  const column = index[filters.sort];
  if (!column || filters.sort === "id") return found;
  return found.sort((a, b) => (column[b] ?? -1) - (column[a] ?? -1) || a - b);
}

function drawList(focusSearch) {
  row = -1;
  document.title = index.about.title;
  const status = element("p", { class: "soft small", role: "status" });
  const body = element("div", {});
  const heading = element("h1", { tabindex: "-1" }, "Latents");
  main.replaceChildren(heading, summary(), filterForm(() => fillList(body, status)), status, body, about());
  fillList(body, status);
  if (focusSearch) document.getElementById("search").focus();
}

function summary() {
  const dead = index.density.filter((value) => value === 0).length;
  const known = index.state.filter((value) => value === 2).length;
  const labelled = index.state.some((value) => value > 0);
  let text = count(index.id.length) + " latents";
  if (labelled) text += ", " + count(known) + " with a label whose score suffices";
  return element("p", { class: "soft" }, text + (dead ? ", " + count(dead) + " that never fired." : "."));
}

function filterForm(changed) {
  const update = (key) => (event) => {
    filters[key] = event.target.value;
    filters.page = 0;
    keepFilters();
    changed();
  };
  const field = (name, control) => element("label", {}, name, control);
  const number = (key, name) =>
    element("input", { type: "number", min: "0", max: "100", step: "any", value: filters[key], "aria-label": name, oninput: update(key) });
  const search = element("input", { type: "search", id: "search", value: filters.q, oninput: update("q"), placeholder: "label, token or number", autocomplete: "off", spellcheck: false });
  return element(
    "div",
    { class: "filters", role: "search" },
    field("Search", search),
    field("Show", choice("show", { alive: "all that fire", known: "with a label", unknown: "not known", dense: "dense", dead: "dead", all: "all" }, update("show"))),
    field("Sort by", choice("sort", { id: "number", score: "detection score", density: "density", max: "largest activation" }, update("sort"))),
    field("Density from, %", number("from", "Least density in percent")),
    field("to, %", number("to", "Largest density in percent")),
  );
}

function choice(key, names, changed) {
  const select = element("select", { onchange: changed });
  for (const [value, name] of Object.entries(names)) {
    select.append(element("option", { value, selected: filters[key] === value }, name));
  }
  return select;
}

function fillList(body, status) {
  shown = selected();
  const last = Math.max(0, Math.ceil(shown.length / PAGE_ROWS) - 1);
  filters.page = Math.min(filters.page, last);
  const first = filters.page * PAGE_ROWS;
  const rows = shown.slice(first, first + PAGE_ROWS);
  status.textContent = shown.length
    ? "Latents " + count(first + 1) + " to " + count(first + rows.length) + " of " + count(shown.length)
    : "No latent fits. Take fewer words, or show all.";
  const head = element("tr", {}, ...[["Latent", "number"], ["Label", ""], ["Peaks at", ""], ["Detection", "number"], ["Density", "number"], ["Largest", "number"]].map(([name, kind]) => element("th", { class: kind, scope: "col" }, name)));
  const table = element("table", { class: "list" }, element("thead", {}, head), element("tbody", {}, ...rows.map(listRow)));
  const turn = (step) => () => {
    filters.page += step;
    keepFilters();
    fillList(body, status);
    main.scrollIntoView();
  };
  const pages = element("nav", { class: "pages", "aria-label": "Pages of the list" });
  pages.append(element("button", { type: "button", disabled: filters.page === 0, onclick: turn(-1) }, "Previous"));
  pages.append(element("span", { class: "soft small" }, "page " + count(filters.page + 1) + " of " + count(last + 1)));
  pages.append(element("button", { type: "button", disabled: filters.page === last, onclick: turn(1) }, "Next"));
  body.replaceChildren();
  if (rows.length) body.append(element("div", { class: "scroll" }, table));
  if (last) body.append(pages);
}

function listRow(at) {
  const label = element("a", { href: "#/" + index.id[at] }, index.label[at] || "latent " + index.id[at]);
  if (index.state[at] !== 2) label.className = "unknown";
  const score = index.score[at] === null ? "" : index.score[at].toFixed(2);
  return element(
    "tr",
    {},
    element("td", { class: "number" }, String(index.id[at])),
    element("td", {}, label),
    element("td", {}, index.peak[at] === "" ? "" : element("code", {}, index.peak[at])),
    element("td", { class: "number" }, score),
    element("td", { class: "number" }, isDead(at) ? "dead" : share(index.density[at])),
    element("td", { class: "number" }, isDead(at) ? "" : String(index.max[at])),
  );
}

function about() {
  const card = element("section", { class: "card", "aria-label": "About this atlas" }, element("h2", {}, "About this atlas"));
  card.style.marginTop = "1.5rem";
  card.append(facts(index.about.lines));
  return card;
}

function facts(lines) {
  const list = element("dl", { class: "facts" });
  for (const [name, value] of lines) list.append(element("dt", {}, name), element("dd", {}, value));
  return list;
}

// ---- one latent

async function drawLatent(at) {
  const chunk = await chunkOf(at);
  const latent = chunk.latents[at % index.about.chunk];
  row = at;
  const id = index.id[at];
  const name = index.label[at] || "Latent " + id;
  document.title = id + ": " + name;
  const heading = element("h1", { tabindex: "-1", class: index.state[at] === 1 ? "unknown" : "" }, name);
  const side = element("div", { class: "side" }, factsCard(at, latent), histogram(latent), logits(latent, chunk), tokens(latent, chunk), relations(latent));
  const groups = element("div", {}, ...latent.groups.map((group, number) => examples(group, number, latent, at, chunk)));
  if (!latent.groups.length) groups.append(element("p", { class: "card soft" }, "It never fired on this corpus, so there is nothing to show."));
  main.replaceChildren(walk(at), heading, subtitle(at, latent), chips(latent), element("div", { class: "sheet" }, side, groups));
  applyOptions();
  heading.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function walk(at) {
  const button = (name, step) => {
    const next = neighbour(at, step);
    return element("button", { type: "button", disabled: next === null, onclick: () => open(next) }, name);
  };
  const toggle = (key, name) =>
    element("button", { type: "button", id: "option-" + key, "aria-pressed": String(options[key]), onclick: () => flip(key) }, name);
  const nav = element("nav", { class: "filters", "aria-label": "Latents" }, element("a", { href: filtersAddress() }, "All latents"), button("Previous", -1), button("Next", 1), toggle("breaks", "Line breaks"), toggle("values", "Activations"));
  nav.style.margin = "0 0 1rem";
  nav.style.alignItems = "center";
  return nav;
}

function neighbour(at, step) {
  if (!shown.length) shown = selected();
  const place = shown.indexOf(at);
  if (place < 0) return null;
  const next = shown[place + step];
  return next === undefined ? null : next;
}

function open(at) {
  if (at !== null) location.hash = "#/" + index.id[at];
}

function subtitle(at, latent) {
  if (index.state[at] === 0) return element("p", { class: "soft" }, "Nobody was asked for a label.");
  let text = "Latent " + index.id[at];
  if (latent.by) text += ", labelled by " + latent.by;
  if (latent.rule) text += " with precision " + latent.rule[0] + " and recall " + latent.rule[1] + " on the evidence it read";
  if (index.state[at] === 1) text += ". The label that was tried scores too low to be shown";
  return element("p", { class: "soft" }, text + ".");
}

function chips(latent) {
  if (!latent.scores.length) return emptyNode();
  const list = element("ul", { class: "chips", "aria-label": "Scores" });
  for (const [name, value, low, high, n] of latent.scores) {
    const interval = low === value && high === value ? "" : ", 95 % from " + low + " to " + high;
    list.append(element("li", { title: n + " cases" }, name + " " + value + interval));
  }
  return list;
}

function emptyNode() {
  return document.createTextNode("");
}

function factsCard(at, latent) {
  const lines = [["fires on", share(index.density[at]) + " of tokens (" + count(latent.fired) + ")"]];
  if (!isDead(at)) {
    lines.push(["activation", "mean " + latent.mean + ", largest " + index.max[at]]);
    lines.push(["spread", count(latent.stretches) + " stretches in " + count(latent.documents) + " documents"]);
    lines.push(["one document", share(latent.share) + " of its firings at most"]);
  }
  if (index.density[at] > index.about.dense) lines.push(["dense", "more than " + share(index.about.dense)]);
  return card("How often", facts(lines));
}

function card(name, ...children) {
  return element("section", { class: "card", "aria-label": name }, element("h2", {}, name), ...children);
}

function histogram(latent) {
  const heights = latent.histogram, total = heights.reduce((a, b) => a + b, 0);
  if (!total) return emptyNode();
  const width = 320, height = 96, top = Math.max(...heights), step = width / heights.length;
  const picture = drawing("svg", { class: "plot", viewBox: "0 0 320 116", role: "img", "aria-label": "Histogram of activations on a logarithmic axis" });
  heights.forEach((n, bin) => {
    const size = (n / top) * height;
    const text = drawing("title", {}, latent.edges[bin] + " to " + latent.edges[bin + 1] + ": " + count(n));
    picture.append(drawing("rect", { class: "bar", x: bin * step + 0.5, y: height - size, width: step - 1, height: size }, text));
  });
  picture.append(drawing("line", { x1: 0, x2: width, y1: height, y2: height }));
  const mark = (bin, anchor) => drawing("text", { x: bin * step, y: height + 15, "text-anchor": anchor }, String(latent.edges[bin]));
  const last = heights.length;
  picture.append(mark(Math.round(last * 0.3), "middle"), mark(Math.round(last * 0.65), "middle"), mark(last, "end"));
  picture.append(drawing("text", { x: 0, y: height + 15 }, "0"));
  return card("Activations, logarithmic", picture);
}

function pieceCode(chunk, number) {
  const [text, tokens] = chunk.pieces[number];
  return element("code", { title: tokens.map(([id, hex]) => "token " + id + ", bytes " + (hex || "none")).join("\n") }, text === "" ? "(empty)" : text);
}

function logits(latent, chunk) {
  if (!latent.top.length && !latent.bottom.length) return emptyNode();
  const list = (name, rows) => {
    const table = element("table", {}, element("caption", { class: "soft small" }, name));
    for (const [number, value] of rows) table.append(element("tr", {}, element("td", {}, pieceCode(chunk, number)), element("td", { class: "number" }, value.toPrecision(3))));
    return table;
  };
  return card("Effect on the next token", element("div", { class: "pair" }, list("raises", latent.top), list("lowers", latent.bottom)));
}

function tokens(latent, chunk) {
  if (!latent.tokens.length) return emptyNode();
  const table = element("table", {}, element("caption", { class: "soft small" }, "fires on, of occurrences"));
  for (const [number, fired, seen] of latent.tokens) {
    table.append(element("tr", {}, element("td", {}, pieceCode(chunk, number)), element("td", { class: "number" }, count(fired) + " of " + count(seen))));
  }
  return card("Tokens", table);
}

function relations(latent) {
  if (!latent.neighbours.length && !latent.coactive.length) return emptyNode();
  const list = (name, rows) => {
    const table = element("table", {}, element("caption", { class: "soft small" }, name));
    for (const [id, value] of rows) table.append(element("tr", {}, element("td", {}, latentName(id)), element("td", { class: "number" }, value.toFixed(2))));
    return table;
  };
  const parts = [];
  if (latent.neighbours.length) parts.push(list("cosine of decoder rows", latent.neighbours));
  if (latent.coactive.length) parts.push(list("fire together (Jaccard)", latent.coactive));
  return card("Related latents", ...parts);
}

function latentName(id) {
  const at = position(id);
  if (at === null) return String(id);
  return element("a", { href: "#/" + id }, index.state[at] === 2 ? id + " " + index.label[at] : String(id));
}

function position(id) {
  let low = 0, high = index.id.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (index.id[middle] === id) return middle;
    if (index.id[middle] < id) low = middle + 1;
    else high = middle - 1;
  }
  return null;
}

function examples(group, number, latent, at, chunk) {
  const [low, high, part] = group.bounds;
  const name = group.name === "top" ? "Largest activations" : "Activations from " + low + " to " + high + " (" + share(part) + " of its stretches)";
  const list = element("ol", {});
  for (const example of group.examples) list.append(exampleLine(example, index.max[at], chunk));
  return element("section", { class: "group card", "aria-label": name }, element("h2", {}, name), list);
}

function exampleLine(example, maximum, chunk) {
  const values = new Map(example.places.map((place, i) => [place, example.values[i]]));
  const text = element("p", { class: "text" });
  let place = 0;
  for (const number of example.pieces) {
    const [shownText, ids, breaks] = chunk.pieces[number];
    text.append(tokenSpan(shownText, ids, breaks, place, values, example.peak, maximum));
    place += ids.length;
  }
  const source_ = example.document === null ? "" : " · " + chunk.documents[example.document];
  const source = "context " + example.at[0] + ", position " + example.at[1] + source_;
  return element("li", { class: "example" }, text, element("p", { class: "source" }, source));
}

function tokenSpan(text, ids, breaks, first, values, peak, maximum) {
  const span = element("span", { class: "tok" }, text);
  const lines = [];
  let largest = 0;
  ids.forEach(([id, hex], i) => {
    const value = values.get(first + i) || 0;
    largest = Math.max(largest, value);
    lines.push((value ? "activation " + value + "\n" : "") + "token " + id + ", bytes " + (hex || "none"));
  });
  span.title = lines.join("\n");
  if (largest > 0) {
    const strength = Math.min(1, 0.12 + (0.88 * largest) / maximum);
    span.classList.add("fires");
    span.style.setProperty("--strength", strength.toFixed(3));
    if (strength > 0.55) span.classList.add("strong");
    span.append(element("sub", { "aria-hidden": "true" }, String(largest)));
  }
  if (peak >= first && peak < first + ids.length) span.classList.add("peak");
  if (breaks) span.append(element("br", {}));
  return span;
}

// ---- options, keys, addresses

function flip(key) {
  options[key] = !options[key];
  applyOptions();
}

function applyOptions() {
  for (const key of Object.keys(options)) {
    main.classList.toggle(key, options[key]);
    const button = document.getElementById("option-" + key);
    if (button) button.setAttribute("aria-pressed", String(options[key]));
  }
}

function setTheme(dark) {
  document.documentElement.classList.toggle("dark", dark);
  document.getElementById("theme").setAttribute("aria-pressed", String(dark));
}

function moveInList(step) {
  const links = [...main.querySelectorAll(".list a")];
  if (!links.length) return;
  const at = links.indexOf(document.activeElement);
  links[Math.min(links.length - 1, Math.max(0, at + step))].focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (row >= 0) location.hash = filtersAddress();
    else document.activeElement.blur();
    return;
  }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const move = { j: 1, k: -1 }[event.key];
  if (move) row >= 0 ? open(neighbour(row, move)) : moveInList(move);
  else if (event.key === "l" && row >= 0) flip("breaks");
  else if (event.key === "v" && row >= 0) flip("values");
  else if (event.key === "/") {
    event.preventDefault();
    if (row >= 0) {
      routed = true;
      location.hash = filtersAddress();
      drawList(true);
    } else document.getElementById("search").focus();
  } else if (event.key === "?") toggleHelp();
}

function toggleHelp() {
  const keys = document.getElementById("keys");
  keys.hidden = !keys.hidden;
  document.getElementById("help").setAttribute("aria-expanded", String(!keys.hidden));
}

function route() {
  if (routed) {
    routed = false;
    return;
  }
  const latent = /^#\/(\d+)$/.exec(location.hash);
  if (latent) {
    const at = position(Number(latent[1]));
    if (at !== null) {
      drawLatent(at).catch(failed);
      return;
    }
  }
  readFilters(location.hash.replace(/^#\/?\??/, ""));
  drawList(false);
}

function failed(error) {
  main.replaceChildren(element("p", { class: "bad", role: "alert" }, "This page cannot be shown: " + error.message + ". A browser from 2023 or later is needed, and the whole file."));
}

async function begin() {
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
  document.getElementById("theme").onclick = () => setTheme(!document.documentElement.classList.contains("dark"));
  document.getElementById("help").onclick = toggleHelp;
  document.addEventListener("keydown", onKey);
  index = await unpacked("index");
  window.addEventListener("hashchange", route);
  route();
}

begin().catch(failed);
