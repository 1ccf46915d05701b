// The doctor's page: the opened pair with its differing words, the list to rewrite, the findings.
// Figures and zones are looked up in the data, never computed here.

const data = JSON.parse(byId("data").textContent);
const { findings, zones, texts, limits, count: COUNT } = data;
const lines = integers(data.line, true), order = integers(data.order, true);
const plausible = integers(data.plausible, false).map((step) => step / data.steps);
const apart = integers(data.apart, false).map((step) => step / data.steps);
const NOWHERE = 0xffffffff, ROW_HEIGHT = 56, BAD = ["error", "warning"], LOUD = [...BAD, "info"], SHOWN = 12;
const MAPPED = plausible.length > 0, NEAR = "near miss";
const zoneOf = (index) => zones[data.zone[index]]?.name ?? "";
const state = { at: null, order, sieve: null, map: null };

for (const finding of findings) {
  finding.lines = integers(finding.lines, true);
  finding.at = integers(finding.at, true).map((at) => (at === NOWHERE ? null : at));
}

/** Line -> the findings that name it; rows that share a line share them. */
const named = new Map();
findings.forEach((finding, place) => {
  if (LOUD.includes(finding.severity)) for (const line of finding.lines) named.set(line, [...(named.get(line) ?? []), place]);
});
const reasons = (index) => (named.get(lines[index]) ?? []).map((place) => findings[place]);
const isNamed = (index) => reasons(index).some((finding) => BAD.includes(finding.severity));

// ---- words that differ

const pieces = (text) => text.match(/[\p{L}\p{N}]+(?:['’][\p{L}]+)*|\s+|[^\s\p{L}\p{N}]/gu) ?? [];
const isWord = (piece) => /[\p{L}\p{N}]/u.test(piece);

/** Which pieces of each text the other lacks, by the longest common run of pieces, spaces aside. */
function differing(one, other) {
  const [a, b] = [one, other].map((all) => all.map((piece, at) => ({ piece: piece.toLowerCase(), at })).filter(({ piece }) => piece.trim()));
  const kept = [new Set(), new Set()];
  let start = 0, ends = [a.length, b.length];
  const keep = (i, j) => { kept[0].add(a[i].at); kept[1].add(b[j].at); };
  while (start < Math.min(...ends) && a[start].piece === b[start].piece) { keep(start, start); start += 1; }
  while (ends[0] > start && ends[1] > start && a[ends[0] - 1].piece === b[ends[1] - 1].piece) { ends = [ends[0] - 1, ends[1] - 1]; keep(...ends); }
  const tall = ends[0] - start, wide = ends[1] - start, row = wide + 1;
  if (tall * wide > 4e6) return kept;
  const best = new Uint16Array((tall + 1) * row);
  for (let i = tall - 1; i >= 0; i -= 1) {
    for (let j = wide - 1; j >= 0; j -= 1) {
      best[i * row + j] = a[start + i].piece === b[start + j].piece ? best[(i + 1) * row + j + 1] + 1
        : Math.max(best[(i + 1) * row + j], best[i * row + j + 1]);
    }
  }
  for (let i = 0, j = 0; i < tall && j < wide;) {
    if (a[start + i].piece === b[start + j].piece) { keep(start + i, start + j); i += 1; j += 1; }
    else if (best[(i + 1) * row + j] >= best[i * row + j + 1]) i += 1;
    else j += 1;
  }
  return kept;
}

/** Text nodes and marks: what the other side lacks is marked, spaces between marked words too. */
function marked(all, kept, way) {
  const found = [], differs = all.map((piece, at) => piece.trim() !== "" && !kept.has(at));
  all.forEach((piece, at) => { if (!piece.trim()) differs[at] = Boolean(differs[at - 1] && at + 1 < all.length && !kept.has(at + 1)); });
  for (let at = 0; at < all.length;) {
    let to = at;
    while (to < all.length && differs[to] === differs[at]) to += 1;
    const text = all.slice(at, to).join("");
    found.push(differs[at] ? make("mark", { class: way }, text) : document.createTextNode(text));
    at = to;
  }
  return found;
}

/** Both answers as nodes.  Strangers are left unmarked: nearly every word would be. */
function compared(chosen, rejected) {
  const [one, other] = [pieces(chosen), pieces(rejected)], kept = differing(one, other);
  const words = [one, other].map((all) => all.map((piece, at) => at).filter((at) => isWord(all[at])));
  const shared = Math.max(...words.map((all, side) => all.filter((at) => kept[side].has(at)).length / Math.max(all.length, 1)));
  if (shared < 0.15) return { nodes: [[chosen], [rejected]], marks: false };
  return { nodes: [marked(one, kept[0], "up"), marked(other, kept[1], "down")], marks: true };
}

// ---- the opened pair

function open(index, { scroll = false } = {}) {
  state.at = index;
  state.map?.show({ at: index });
  drawPair();
  inSight();
  drawList();
  if (scroll && byId("pair").getBoundingClientRect().top > window.innerHeight - 120) byId("pair").scrollIntoView();
  else if (scroll && byId("pair").getBoundingClientRect().bottom < 120) byId("pair").scrollIntoView();
}

function drawPair() {
  const index = state.at, [prompt, chosen, rejected, left, tag] = texts[index];
  const { nodes, marks } = compared(chosen, rejected), article = byId("pair");
  const place = state.order.indexOf(index) + 1;
  Object.assign(article.dataset, { line: lines[index], index, zone: zoneOf(index) });
  const steps = make("span", { class: "steps" }, ...[[-1, "previous", "k", "‹"], [1, "next", "j", "›"]].map(([step, says, key, sign]) => {
    const button = make("button", { type: "button", "aria-label": says }, sign, make("kbd", {}, key));
    button.addEventListener("click", () => move(step));
    return button;
  }));
  const facts = [make("b", {}, zoneOf(index)), MAPPED ? ` · ${Math.round(100 * apart[index])}% of the words differ · plausible ${shareOf(plausible[index])}` : "", tag ? ` · tag ${tag}` : ""];
  article.replaceChildren(
    make("div", { class: "title" }, make("h2", {}, `Line ${lines[index].toLocaleString("en")}`), steps),
    make("p", { class: "sub" }, ...facts, place ? ` · ${place.toLocaleString("en")} of ${state.order.length.toLocaleString("en")}` : ""),
    promptBox(prompt, left && left[0]),
    answer("chosen", "up", nodes[0], left && left[1]), answer("rejected", "down", nodes[1], left && left[2]),
    make("p", { class: "note" }, left ? `Cut here; line ${lines[index].toLocaleString("en")} of the file has all of it. ` : "",
      marks ? "Marked words are those that the other answer lacks." : "Hardly a word is shared, so nothing is marked."),
    why(index));
  article.scrollTop = 0;
}

const shareOf = (share) => (share < limits[0] ? `under ${Math.round(100 * limits[0])}%` : `${Math.round(100 * share)}%`);

function promptBox(text, left) {
  const box = make("div", { class: "prompt" }), end = left ? ` … ${plural(left, "character")} more` : "";
  if (text.length < 500) return box.append(text || "(no prompt)", end), box;
  box.append(make("details", {}, make("summary", {}, `the prompt, ${(text.length + (left || 0)).toLocaleString("en")} characters; its end:`), text, end),
    make("p", { class: "end" }, `… ${text.slice(-300)}`, end));
  return box;
}

function answer(name, way, nodes, left) {
  return make("section", { class: `answer ${name}` }, make("h3", { class: way }, `${way === "up" ? "▲" : "▼"} ${name}`),
    make("p", { class: "text" }, ...nodes, left ? ` … ${plural(left, "character")} more` : ""));
}

/** Which findings name the pair, and what its zone means. */
function why(index) {
  const zone = zones[data.zone[index]], told = reasons(index).map((finding) => {
    const button = make("button", { type: "button", class: "plain" }, finding.check);
    button.addEventListener("click", () => byId(`finding-${findings.indexOf(finding)}`).scrollIntoView());
    return make("li", {}, button, make("span", {}, ` ${finding.severity} · ${finding.message}`));
  });
  if (zone && zone.name !== NEAR) told.push(make("li", {}, make("b", {}, zone.name), make("span", {}, ` zone · ${zone.means}`)));
  return make("div", { class: "why" }, make("b", {}, told.length ? "Why it is here" : "Nothing speaks against it."), make("ul", {}, ...told));
}

// ---- the list

const list = { box: make("div", { class: "rows", role: "listbox", tabindex: 0, "aria-label": "pairs" }), sheet: make("div", { class: "sheet" }), title: make("h2", {}), note: make("p", { class: "note" }), sieve: make("p", { class: "sieve", role: "status" }) };

function buildList() {
  list.box.append(list.sheet);
  list.box.addEventListener("scroll", drawList, { passive: true });
  list.box.addEventListener("click", ({ target }) => {
    const item = target.closest("[data-index]");
    if (item) open(Number(item.dataset.index), { scroll: true });
  });
  list.box.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); move(step); }
  });
  byId("list").append(list.title, list.note, list.box);
  state.map?.box.after(list.sieve);
  byId("list").hidden = false;
}

/** Only the rows in sight are in the document. */
function drawList() {
  const first = Math.max(0, Math.floor(list.box.scrollTop / ROW_HEIGHT) - 4);
  const last = Math.min(state.order.length, first + Math.ceil(list.box.clientHeight / ROW_HEIGHT) + 9);
  list.sheet.replaceChildren(...state.order.slice(first, last).map((index, i) => {
    const told = [...new Set(reasons(index).map((finding) => finding.check))].join(", ");
    const node = make("div", { class: "item", role: "option", "data-index": index, "data-line": lines[index], "aria-selected": String(index === state.at),
      "aria-setsize": state.order.length, "aria-posinset": first + i + 1 },
    make("span", { class: "head" }, make("b", {}, String(lines[index])),
      zoneOf(index) && zoneOf(index) !== NEAR ? make("span", { class: "zone" }, zoneOf(index)) : null, make("span", { class: "reasons" }, told)),
    make("span", { class: "snippet" }, texts[index][2].slice(0, 160)));
    node.style.setProperty("top", `${(first + i) * ROW_HEIGHT}px`);
    node.style.setProperty("--part", 0);
    return node;
  }));
}

function inSight() {
  const place = state.order.indexOf(state.at), top = place * ROW_HEIGHT, { box } = list;
  if (place < 0) return;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW_HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW_HEIGHT - box.clientHeight;
}

function move(step) {
  const at = state.order.indexOf(state.at), place = at < 0 ? 0 : at + step;
  if (place >= 0 && place < state.order.length) open(state.order[place]);
}

/** Show only some pairs, in the map and in the list; null shows all that want rewriting. */
function sift(sieve) {
  state.sieve = sieve;
  state.order = sieve ? sieve.order : order;
  state.map?.show({ kept: sieve ? new Set(sieve.order) : null });
  const size = plural(state.order.length, "pair"), back = make("button", { type: "button" }, "show all ", make("kbd", {}, "Esc"));
  back.addEventListener("click", () => sift(null));
  list.title.textContent = sieve ? sieve.title : "Look at these first";
  list.note.textContent = sieve ? `${size}, in the order of ${sieve.by}.`
    : order.length ? `${size} that a warning or an error names or that lie outside the near misses, worst first: an order to read in, nothing is dropped.`
      : "No warning and no error names a pair, and every pair is a near miss.";
  list.sieve.replaceChildren(sieve ? `Only ${sieve.title.toLowerCase()}.` : "", " ", back);
  list.sieve.hidden = !sieve;
  list.box.style.setProperty("--tall", `${state.order.length * ROW_HEIGHT + 2}px`);
  list.sheet.style.setProperty("height", `${state.order.length * ROW_HEIGHT}px`);
  list.box.hidden = !state.order.length;
  list.box.scrollTop = 0;
  if (state.order.length) open(state.order[0]);
  else drawList();
}

const ofZone = (zone) => ({ title: `The zone “${zone.name}”`, by: "the file", order: lines.map((_, index) => index).filter((index) => zoneOf(index) === zone.name) });
const ofFinding = (finding) => ({ title: `Named by “${finding.check}”`, by: "the finding, worst first", order: finding.at.filter((at) => at !== null) });

// ---- the map

function buildMap() {
  if (!MAPPED) return;
  const total = COUNT, outside = total - (zones.find((zone) => zone.name === NEAR)?.count ?? 0);
  state.map = nearMissMap({
    dots: lines.map((_, index) => ({ x: plausible[index], y: apart[index], zone: zoneOf(index), named: isNamed(index) })),
    zones, limits, on: { pick: (index) => open(index, { scroll: true }), look: hover },
  });
  byId("map").append(make("h2", {}, "The near-miss map"),
    make("p", { class: "words" }, `Each dot is a pair. ${(total - outside).toLocaleString("en")} of ${plural(total, "pair")} (${percent((total - outside) / total)}) are near misses${data.asked
      ? ": a better answer is told from one that the model could well have written." : ", as far as their text tells; no model was asked how plausible the rejected answers are (--model asks one)."}`),
    state.map.box,
    make("p", { class: "key" }, ...[["named", "named by a warning or an error"], ["other", "not named"], ["here", "the pair shown"]].map(([kind, says]) => make("span", {}, make("i", { class: kind }), says))),
    make("p", { class: "note" }, `Across: ${data.basis.join("; or ")}. Up: the share of words that differ. The zones at the edges are drawn wider than they are, and dots of one value beside each other.`),
    zoneTable(total),
    make("p", { class: "note" }, data.full < COUNT ? `To keep this page small, the texts of ${plural(data.full, "pair")} are carried in full and those of the other ${(COUNT - data.full).toLocaleString("en")} cut at ${data.cut} characters.` : ""));
  byId("map").hidden = false;
  state.map.fit();
}

function zoneTable(total) {
  const body = zones.map((zone) => {
    const button = make("button", { type: "button", class: "plain", "data-zone": zone.name }, zone.name);
    button.addEventListener("click", () => sift(ofZone(zone)));
    return make("tr", {}, make("td", {}, zone.count ? button : zone.name), make("td", {}, zone.count.toLocaleString("en")), make("td", {}, percent(zone.count / total)), make("td", { class: "means" }, zone.means));
  });
  return make("table", { id: "zones" }, make("colgroup", {}, ...["name", "number", "number", ""].map((kind) => make("col", { class: kind }))),
    make("thead", {}, make("tr", {}, ...["zone", "pairs", "share"].map((says) => make("th", { scope: "col" }, says)), make("th", { class: "means", scope: "col" }, "what it means"))), make("tbody", {}, ...body));
}

/** A card beside the dot under the pointer: the pair in short. */
function hover(index, x, y) {
  const card = byId("card");
  if (index === null) { card.hidden = true; return; }
  anchor = byId("plot");
  const [prompt, chosen, rejected] = texts[index], short = (text, size) => (text.length > size ? `${text.slice(0, size)} …` : text);
  const one = (name, text, size) => make("div", { class: "answer" }, make("b", {}, name), make("p", {}, short(text, size)));
  card.replaceChildren(make("b", {}, `Line ${lines[index]} · ${zoneOf(index)}`), one("prompt", prompt.slice(-140), 140), one("▲ chosen", chosen, 200), one("▼ rejected", rejected, 200));
  const told = reasons(index).filter((finding) => BAD.includes(finding.severity)).map((finding) => finding.check);
  if (told.length) card.append(make("p", {}, `named by ${[...new Set(told)].join(", ")}`));
  card.dataset.line = lines[index];
  card.hidden = false;
  const below = y + card.offsetHeight + 20 < window.innerHeight;
  card.style.setProperty("top", `${below ? y + 12 : Math.max(8, y - card.offsetHeight - 12)}px`);
  card.style.setProperty("left", `${Math.max(8, Math.min(x + 12, document.documentElement.clientWidth - card.offsetWidth - 8))}px`);
}

// ---- the findings

function scaleOf([low, value, high]) {
  const at = (share) => 4 + 312 * share, drawing = make("svg:svg", { viewBox: "0 0 320 22", role: "img", "aria-label": `${percent(value)} on a scale from 0 to 100%` });
  drawing.append(make("svg:line", { x1: at(0), x2: at(1), y1: 8, y2: 8, class: "base" }),
    make("svg:rect", { x: at(low), width: Math.max(2, at(high) - at(low)), y: 4, height: 8, class: "band" }), make("svg:circle", { cx: at(value), cy: 8, r: 4, class: "point" }),
    make("svg:text", { x: at(0), y: 21 }, "0"), make("svg:text", { x: at(1), y: 21, "text-anchor": "end" }, "100%"));
  return drawing;
}

function findingCard(finding, place) {
  const parts = [["measured", finding.measured, "mono"], ["held against", finding.threshold], ["who says so", finding.source], ["what to do", finding.todo]].filter(([, text]) => text);
  const rows = parts.flatMap(([name, text, kind = ""]) => [make("dt", {}, name), make("dd", { class: kind }, text, name === "measured" && finding.scale ? scaleOf(finding.scale) : null)]);
  if (finding.lines.length) rows.push(make("dt", {}, "lines"), make("dd", {}, lineButtons(finding)));
  return make("section", { class: `finding ${finding.severity}`, id: `finding-${place}` },
    make("header", {}, make("span", { class: "severity" }, finding.severity === "info" ? "shown" : finding.severity), make("h3", {}, term(finding.check))),
    make("p", { class: "words" }, finding.message), make("dl", {}, ...rows));
}

function lineButtons(finding) {
  const box = make("div", { class: "lines" }), { at } = finding;
  finding.lines.slice(0, SHOWN).forEach((line, i) => {
    const button = make(at[i] === null ? "span" : "button", at[i] === null ? { class: "mono" } : { type: "button", "data-line": line }, String(line));
    if (at[i] !== null) button.addEventListener("click", () => open(at[i], { scroll: true }));
    box.append(button);
  });
  const whole = at.filter((index) => index !== null).length;
  if (whole && MAPPED) {
    const all = make("button", { type: "button", class: "all" }, `show ${whole === 1 ? "it" : `all ${whole.toLocaleString("en")}`} on the map`);
    all.addEventListener("click", () => { sift(ofFinding(finding)); byId("map").scrollIntoView(); });
    box.append(all);
  } else if (finding.lines.length > SHOWN) box.append(`and ${(finding.lines.length - SHOWN).toLocaleString("en")} more`);
  return box;
}

function buildFindings() {
  const loud = findings.map((finding, place) => [finding, place]).filter(([finding]) => LOUD.includes(finding.severity));
  byId("findings").append(make("h2", {}, loud.length ? "What was found" : "Nothing was found"), ...loud.map(([finding, place]) => findingCard(finding, place)));
  for (const [severity, title] of [["too few", "Too few to tell"], ["ok", "Looked at, and fine"]]) {
    const quiet = findings.map((finding, place) => [finding, place]).filter(([finding]) => finding.severity === severity);
    if (quiet.length) byId("findings").append(make("section", { class: "quietly" }, make("h2", {}, title),
      make("dl", {}, ...quiet.flatMap(([finding, place]) => [make("dt", { id: `finding-${place}` }, term(finding.check)), make("dd", {}, finding.message)]))));
  }
}

// ---- keys, start

function step(by) {
  const outside = state.map && zones.filter((zone) => zone.count), names = [null, ...(outside || []).map((zone) => zone.name)];
  const now = names.indexOf(state.sieve?.zone ?? null), next = names[(now + by + names.length) % names.length];
  sift(next === null ? null : { ...ofZone(zones.find((zone) => zone.name === next)), zone: next });
}

const KEYS = { j: () => move(1), k: () => move(-1), z: () => step(1), "?": toggleWords, Escape: () => { closeCard(); if (state.sieve) sift(null); } };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("select, input, textarea")) return;
  if ((!COUNT && event.key !== "?") || !(event.key in KEYS) || (byId("glossary").open && event.key !== "?")) return;
  event.preventDefault();
  KEYS[event.key]();
});

function buildKeys() {
  const help = make("button", { type: "button", class: "plain" }, "what each check asks, and cannot see");
  help.addEventListener("click", toggleWords);
  const told = COUNT ? [["j k", "next, previous pair"], ["z", "zone by zone"], ["Esc", "all of them"]] : [];
  byId("keys").append(...told.map(([keys, says]) => make("span", {}, ...keys.split(" ").flatMap((key) => [make("kbd", {}, key), " "]), says)),
    make("span", {}, make("kbd", {}, "?"), " ", help));
  byId("keys").hidden = false;
}

function start() {
  buildGlossary(data.words);
  buildFindings();
  buildKeys();
  byId("bench").classList.toggle("bare", !COUNT);
  if (!COUNT) return;
  buildMap();
  buildList();
  byId("pair").hidden = false;
  sift(null);
  const asked = lines.indexOf(Number(location.hash.slice(1)));
  if (asked >= 0 || state.at === null) open(Math.max(asked, 0));
  window.addEventListener("resize", drawList);
}

start();
