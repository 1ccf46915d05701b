"use strict";
// What the page is drawn with: elements, figures as text, terms, cards, tokens with heat, curves.
// Text from files and models reaches the page as text nodes only.  Nothing here knows an objective.

const SVG = "http://www.w3.org/2000/svg";
const MINUS = "\u2212";
const byId = (id) => document.getElementById(id);

/** make("p", {class: "note"}, "text", node): an element; "svg:path" makes one of a drawing. */
function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:")
    ? document.createElementNS(SVG, tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// ---- figures

/** Three digits with a real minus; the same text as `shown` in page.py. */
function show(value, sign = false) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  let text = size.toPrecision(3);
  if (size === 0) text = "0";
  else if (Number(text) < 1e-4) text = size.toExponential(2).replace("-", MINUS);
  else if (text.includes("e")) text = String(Number(text));
  return (value < 0 ? MINUS : sign && value > 0 ? "+" : "") + text;
}

const percent = (share) =>
  share > 0 && share < 0.0005 ? "<0.1%" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}%`;
const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** Whole numbers from base64, two or four bytes each. */
function integers(text, wide) {
  const view = new DataView(Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0)).buffer);
  const width = wide ? 4 : 2;
  return Array.from({ length: view.byteLength / width }, (_, place) =>
    wide ? view.getUint32(width * place, true) : view.getUint16(width * place, true));
}

/** Figures of three digits from base64: sign, five bits of decimal exponent, ten of mantissa. */
function figures(text) {
  return integers(text, false).map((code) => {
    if (code === 0) return 0;
    const mantissa = code & 1023, exponent = ((code >> 10) & 31) - 25;
    if (mantissa > 999) return null;
    const size = exponent < 0 ? mantissa / 10 ** -exponent : mantissa * 10 ** exponent;
    return code & 0x8000 ? -size : size;
  });
}

/** The tokens of a side as they were packed by `_numbered` in explain.py. */
function unpacked(packed, texts, wide) {
  const columns = Object.fromEntries(
    ["logp", "ref", "ratio", "push", "p", "pushed"].map((name) => [name, figures(packed[name])]));
  const names = integers(packed.instead, wide);
  let from = 0;
  return integers(packed.texts, wide).map((number, place) => {
    const to = from + packed.counts[place];
    const instead = names.slice(from, to).map((other, i) => (
      { text: texts[other], p: columns.p[from + i], push: columns.pushed[from + i] }));
    from = to;
    const kind = packed.kinds[place];
    const { logp, ref, ratio, push } = columns;
    return {
      text: texts[number], kind, instead, logp: logp[place], ref: ref[place], ratio: ratio[place],
      push: push[place], net: kind === "f" ? packed.net : null,
    };
  });
}

// ---- cards: what stands beside a token or a term while it is looked at

const cards = new WeakMap();
let anchor = document.body; // what the open card stands beside

/** Give a node a card: `fill()` returns the card's children. */
function withCard(node, fill) {
  cards.set(node, fill);
  node.setAttribute("aria-describedby", "card");
  node.dataset.card = "";
  return node;
}

function openCard(node) {
  const card = byId("card"), box = node.getClientRects()[0];
  if (!box || !cards.has(node)) return;
  anchor = node;
  card.replaceChildren(...cards.get(node)());
  card.hidden = false;
  const below = box.bottom + card.offsetHeight + 12 < window.innerHeight;
  const top = below ? box.bottom + 8 : Math.max(8, box.top - card.offsetHeight - 8);
  const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - card.offsetWidth - 8));
  card.style.setProperty("top", `${top}px`);
  card.style.setProperty("left", `${left}px`);
}

function closeCard() {
  byId("card").hidden = true;
}

for (const [event, act] of [["mouseover", openCard], ["focusin", openCard], ["click", openCard]]) {
  document.addEventListener(event, ({ target }) => {
    const node = target.closest?.("[data-card]");
    if (node) act(node);
    else if (event !== "focusin" && !target.closest?.("#card")) closeCard();
  });
}
document.addEventListener("focusout", closeCard);
document.addEventListener("scroll", ({ target }) => { if (target.contains(anchor)) closeCard(); }, { capture: true, passive: true });

// ---- terms of the glossary

const glossary = new Map();

/** `text` as a node that carries the card of `term`, or plain where the glossary lacks it. */
function term(name, text = name) {
  const found = glossary.get(name.toLowerCase());
  if (!found) return document.createTextNode(text);
  const node = make("button", { class: "term", type: "button", "data-term": name }, text);
  return withCard(node, () => [make("b", {}, found.term), make("p", {}, found.says)]);
}

/** A sentence in which `{margin}` or `{margin|margins}` marks a term. */
function sentence(text) {
  return text.split(/[{}]/).map((piece, place) => {
    if (place % 2 === 0) return document.createTextNode(piece);
    const [name, says] = piece.split("|");
    return term(name, says ?? name);
  });
}

/** The dialog of words, and the cards of `term`.  `words`: term -> sentence. */
function buildGlossary(words) {
  for (const [name, says] of Object.entries(words)) glossary.set(name.toLowerCase(), { term: name, says });
  const close = make("button", { type: "button" }, "close ", make("kbd", {}, "Esc"));
  close.addEventListener("click", () => byId("glossary").close());
  byId("glossary").append(make("header", {}, make("h2", { id: "glossary-title" }, "Words"), close),
    make("dl", {}, ...[...glossary.values()].flatMap(({ term: name, says }) => [make("dt", {}, name), make("dd", {}, says)])));
}

function toggleWords() {
  const panel = byId("glossary");
  closeCard();
  if (panel.open) panel.close();
  else panel.showModal();
}

// ---- tokens

const direction = (weight) => (weight > 0 ? "up" : weight < 0 ? "down" : "none");
const KINDS = { s: "shared", f: "first difference", a: "after it" };
const visible = (text) => text.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/ /g, "·");

/**
 * Tokens as text with heat.  `scale(push)` is the share of full colour, `way` up, down or none;
 * `ratio` turns the carried pushes into those of the objective that is shown.
 */
function heated(tokens, { way, scale, ratio, reference = true }) {
  const box = make("div", { class: "tokens", role: "group" });
  tokens.forEach((token, place) => {
    const shared = token.kind === "s", push = token.push * Math.abs(ratio);
    const node = make("span", {
      class: shared ? "token shared" : token.kind === "f" ? "token first" : "token",
      tabindex: place ? -1 : 0, "data-kind": KINDS[token.kind], "data-push": shared ? 0 : show(push),
    }, token.text || "∅");
    heat(node, way, shared ? 0 : scale(push));
    box.append(withCard(node, () => tokenCard(token, { way, ratio, reference })));
  });
  return box;
}

/** Colour and mark of a token: linear in its push, and nothing at zero. */
function heat(node, way, part) {
  node.classList.remove("up", "down");
  if (part > 0) node.classList.add(way);
  node.style.setProperty("--heat", part.toFixed(4));
}

function tokenCard(token, { way, ratio, reference }) {
  const push = token.push * Math.abs(ratio), signed = way === "down" ? -push : push;
  const says = {
    s: "Shared by both sides: no push as a target.",
    f: "The first token that differs.",
    a: "",
  }[token.kind];
  const rows = [["probability", percent(Math.exp(token.logp))], ["log-prob", show(token.logp)]];
  if (reference && token.ref !== null) {
    rows.push(["under the reference", show(token.ref)], ["log-ratio", show(token.ratio, true)]);
  }
  rows.push(["push", token.kind === "s" ? "0" : show(signed, true)]);
  if (token.net !== null) rows.push(["both sides' push, summed", show(token.net * Math.abs(ratio))]);
  return [
    make("b", { class: "said" }, visible(token.text)), says ? make("p", {}, says) : null,
    listed(rows), token.instead.length ? insteadTable(token, ratio) : null,
  ].filter(Boolean);
}

function insteadTable(token, ratio) {
  const most = Math.max(...token.instead.map((other) => other.p), 1e-9);
  const rows = token.instead.map((other) => {
    const bar = make("span", { class: "bar" });
    bar.style.setProperty("--part", (other.p / most).toFixed(3));
    return make("tr", {},
      make("td", { class: "said" }, visible(other.text)), make("td", {}, bar),
      make("td", {}, percent(other.p)),
      make("td", {}, token.kind === "s" ? "" : show(other.push * ratio, true)));
  });
  const head = ["what it would say", "", "p", token.kind === "s" ? "" : "push"];
  return make("table", {},
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", {}, text)))),
    make("tbody", {}, ...rows));
}

/** A list of named figures; `[name, text, key]` where the key is for whoever looks it up. */
function listed(rows) {
  return make("dl", {}, ...rows.flatMap(([name, text, key]) => [
    make("dt", {}, name),
    make("dd", key ? { "data-figure": key } : {}, text)]));
}

// ---- the weight curve

/**
 * Weight against margin, with dots on it and the other rows as ticks below.
 * `dots`: [{x, y, label, way}]; `others`: margins; `trail`: [[x, y], ...] that a dot came along.
 */
function curve({ x, y, dots = [], others = [], trail = [], height = 200 }) {
  const width = 280, left = 8, right = 272, top = 36;
  const floor = height - (others.length ? 54 : 34);
  const xs = x.length ? x : trail.map(([at]) => at), ys = x.length ? y : trail.map(([, at]) => at);
  const reached = [...xs, ...trail.map(([at]) => at)];
  const low = Math.min(...reached), high = Math.max(...reached, low + 1e-9);
  const bottom = Math.min(0, ...ys), most = Math.max(...ys, bottom + 1e-9);
  const px = (value) => left + (right - left) * Math.min(1, Math.max(0, (value - low) / (high - low)));
  const py = (value) => floor - (floor - top) * Math.min(1, Math.max(0, (value - bottom) / (most - bottom)));
  const path = (points) => points.map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join("");
  const zero = px(0), line = (a, b, c, d, kind) => make("svg:line", { x1: a, y1: b, x2: c, y2: d, class: kind });
  const text = (at, down, anchor, says, kind = "") =>
    make("svg:text", { x: at, y: down, "text-anchor": anchor, class: kind }, says);
  const drawing = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "curve",
    "aria-label": `weight against margin; ${dots.map((dot) => `${dot.label} at margin ${show(dot.x)}`).join(", ")}` });
  drawing.append(line(left, py(0), right, py(0), "axis"), line(zero, top, zero, floor, "zero"));
  drawing.append(text(left, 12, "start", `weight ${show(most)}`, "soft"));
  if (bottom < 0) drawing.append(text(left, floor - 4, "start", show(bottom), "soft"));
  drawing.append(make("svg:path", { d: path(xs.map((at, i) => [at, ys[i]])), class: "line" }));
  if (trail.length) drawing.append(make("svg:path", { d: path(trail), class: "trail" }));
  drawing.append(...rug(others, px, floor, [left, right]));
  drawing.append(text(left, height - 6, "start", "← prefers rejected"), text(right, height - 6, "end", "prefers chosen →"));
  drawing.append(text(Math.min(right - 12, Math.max(left + 12, zero)), floor + (others.length ? 36 : 14), "middle", "0", "soft"));
  for (const dot of dots) {
    const mark = make("svg:circle", { r: 6, class: `dot ${dot.way ?? ""}` }), label = text(0, 0, "start", "", "label");
    drawing.append(mark, label);
    drawing.moveDot = (x, y, says) => {
      const at = px(x), up = py(y);
      mark.style.setProperty("transform", `translate(${at.toFixed(1)}px,${up.toFixed(1)}px)`);
      label.setAttribute("x", Math.min(at + 9, right - 6.4 * says.length));
      label.setAttribute("y", up - 10);
      label.textContent = says;
    };
    drawing.moveDot(dot.x, dot.y, dot.label);
  }
  return drawing;
}

/** How many rows stand where: columns that hang below the axis. */
function rug(others, px, floor, [left, right]) {
  const bins = new Map();
  for (const margin of others) {
    if (margin === null) continue;
    const bin = Math.round(px(margin) / 4);
    bins.set(bin, (bins.get(bin) ?? 0) + 1);
  }
  const most = Math.max(...bins.values(), 1);
  return [...bins].map(([bin, count]) => make("svg:rect", {
    x: Math.min(right - 3, Math.max(left, bin * 4 - 1.5)), y: floor + 3, width: 3,
    height: Math.max(1.5, (20 * count) / most).toFixed(1), class: "rug",
  }));
}
