// The microscope's page: the list of rows, the switch between objectives, the overview, the keys.
// Weights, losses and margins are looked up in the data, never computed here.

const data = JSON.parse(byId("data").textContent);
const { rows, sides, switched } = data;
const COUNT = rows.number.length, PAIRS = sides.length > 1, ROW_HEIGHT = 56;
const NOUN = ["example", "example", "pair"][sides.length] ?? "ranking";
const state = { at: 0, order: [], sort: data.measure === "weight" ? "weight" : "mass", turned: false, view: null, full: "file" };
const MARKS = { wrong: "✕", undecided: "~", learnt: "✓" };

/** Objective -> the places in `switched` that hold it, one per setting. */
const groups = new Map();
switched.forEach((entry, place) => groups.set(entry.objective, [...(groups.get(entry.objective) ?? []), place]));
for (const places of groups.values()) places.sort((one, other) => switched[one].value - switched[other].value);

// ---- what an objective makes of the rows

/** The view of one of `switched`, or with null of the objective the rows were looked at with. */
function look(pick) {
  const own = pick === null || pick === data.own;
  const from = pick === null ? null : switched[pick];
  const packedWeights = own ? null : from.weights.map(figures);
  const opposite = packedWeights?.length === 1;
  return {
    pick, own, objective: own ? data.objective : from.objective,
    label: own ? ownLabel() : `${from.objective} · ${from.setting} ${from.value}`,
    weight: (place, row) => own ? sides[place].weight[row]
      : opposite && place ? 0 - packedWeights[0][row] : packedWeights[place][row],
    margin: own ? rows.margin : figures(from.margin), loss: own ? rows.loss : figures(from.loss),
    x: from?.x ?? [], y: from?.y ?? [],
  };
}

function ownLabel() {
  const found = data.own === null ? Object.entries(data.options)[0] : [switched[data.own].setting, switched[data.own].value];
  return found ? `${data.objective} · ${found.join(" ")}` : data.objective;
}

/** How far a carried push is from the one under the view: new weight over own weight. */
function ratio(place, row) {
  const own = sides[place].weight[row];
  if (state.view.own) return 1;
  return own ? state.view.weight(place, row) / own : 0;
}

const massOf = (row) => total(row, (place) => sides[place].mass[row] === null ? null
  : sides[place].mass[row] * Math.abs(ratio(place, row)));
const weightOf = (row) => Math.max(...sides.map((_, place) => Math.abs(state.view.weight(place, row))));
const lengthOf = (row) => total(row, (place) => sides[place].count[row]);
const total = (row, part) => sides.reduce((sum, _, place) => sum === null || part(place) === null ? null : sum + part(place), 0);

/** The push that gets full colour: the file's largest under this view, or this row's. */
function fullPush() {
  const most = (row) => Math.max(...sides.map((side, place) => side.most[row] * Math.abs(ratio(place, row))));
  if (state.full === "row") return most(state.at);
  return Object.keys(data.details).reduce((high, row) => Math.max(high, most(Number(row))), 0);
}

// ---- the list

const SORTS = {
  weight: { says: "heaviest weight", key: weightOf, down: true },
  margin: { says: "lowest margin", key: (row) => state.view.margin[row], pairs: true },
  mass: { says: "most gradient mass", key: massOf, down: true },
  length: { says: "greatest length", key: lengthOf, down: true },
  tag: { says: "tag", key: (row) => rows.tag[row] },
  file: { says: "file order", key: (row) => row },
};

/** Order the rows; those without a figure come last, and ties stay in file order. */
function arrange() {
  const { key, down } = SORTS[state.sort], sign = Boolean(down) !== state.turned ? -1 : 1;
  const keys = rows.number.map((_, row) => key(row));
  state.order = rows.number.map((_, row) => row).sort((one, other) => {
    const a = keys[one], b = keys[other];
    if (a === null || b === null) return (a === null) - (b === null) || one - other;
    return a < b ? -sign : a > b ? sign : one - other;
  });
}

const list = { box: make("div", { class: "rows", role: "listbox", tabindex: 0, "aria-label": `${NOUN}s` }), sheet: make("div", { class: "sheet" }) };

function buildList() {
  const choice = make("select", { id: "sort" });
  for (const [name, sort] of Object.entries(SORTS)) {
    if (PAIRS || !sort.pairs) choice.append(make("option", { value: name }, sort.says));
  }
  const turn = make("button", { type: "button", title: "the other way round", "aria-label": "reverse the order" }, "⇅");
  choice.addEventListener("change", () => sortBy(choice.value, false));
  turn.addEventListener("click", () => sortBy(state.sort, !state.turned));
  choice.value = state.sort;
  list.box.style.setProperty("--tall", `${COUNT * ROW_HEIGHT + 2}px`);
  list.sheet.style.setProperty("height", `${COUNT * ROW_HEIGHT}px`);
  list.box.append(list.sheet);
  list.box.addEventListener("scroll", drawList, { passive: true });
  list.box.addEventListener("click", ({ target }) => {
    const item = target.closest("[data-row]");
    if (item) open(Number(item.dataset.index));
  });
  list.box.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); move(step); }
  });
  byId("list").append(
    make("div", { class: "tools" }, make("label", { for: "sort" }, "by "), choice, turn, make("kbd", {}, "s")), list.box);
}

/** Only the rows in sight are in the document. */
function drawList() {
  const first = Math.max(0, Math.floor(list.box.scrollTop / ROW_HEIGHT) - 4);
  const last = Math.min(COUNT, first + Math.ceil(list.box.clientHeight / ROW_HEIGHT) + 9);
  const most = (state.view.most ??= rows.number.reduce((high, _, row) => Math.max(high, weightOf(row)), 1e-12));
  list.sheet.replaceChildren(...state.order.slice(first, last).map((row, i) => item(row, first + i, most)));
  list.box.setAttribute("aria-activedescendant", `row-${rows.number[state.at]}`);
}

function item(row, place, most) {
  const number = rows.number[row], kind = rows.standing[row];
  const figure = { weight: weightOf, margin: SORTS.margin.key, mass: massOf, length: lengthOf }[state.sort] ?? weightOf;
  const node = make("div", {
    class: "item", role: "option", id: `row-${number}`, "data-row": number, "data-index": row,
    "aria-selected": String(row === state.at), "aria-setsize": COUNT, "aria-posinset": place + 1,
  },
  make("span", { class: "head" }, make("b", {}, String(number)),
    kind ? make("span", { class: `mark ${kind}`, title: kind }, MARKS[kind]) : null,
    rows.tag[row] ? make("span", { class: "tag" }, rows.tag[row]) : null,
    make("span", { class: "figure" }, state.sort === "length" ? `${lengthOf(row)} tok` : show(figure(row)))),
  make("span", { class: "snippet" }, rows.prompt[row].slice(0, 160)));
  node.style.setProperty("top", `${place * ROW_HEIGHT}px`);
  node.style.setProperty("--part", Math.min(1, weightOf(row) / most).toFixed(3));
  return node;
}

function sortBy(name, turned) {
  Object.assign(state, { sort: name, turned });
  byId("sort").value = name;
  arrange();
  list.box.scrollTop = 0;
  open(state.order[0]);
}

function move(step) {
  const place = state.order.indexOf(state.at) + step;
  if (place >= 0 && place < COUNT) open(state.order[place]);
}

function inSight() {
  const top = state.order.indexOf(state.at) * ROW_HEIGHT, box = list.box;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW_HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW_HEIGHT - box.clientHeight;
}

// ---- the opened row

function open(row) {
  state.at = row;
  inSight();
  draw();
}

function draw() {
  drawList();
  const row = state.at, view = state.view, article = byId("pair");
  const detail = data.details[row]?.map((side) => unpacked(side, data.texts, data.wide));
  Object.assign(article.dataset, { row: rows.number[row], objective: view.objective, pick: view.pick ?? "own" });
  sides.forEach((side, place) => { article.dataset[PAIRS ? `weight${side.name[0].toUpperCase()}${side.name.slice(1)}` : "weight"] = view.weight(place, row); });
  closeCard();
  article.replaceChildren(heading(row), make("div", { class: "bench" },
    make("div", { class: "texts" }, promptBox(row), ...sides.map((_, place) => sideCard(row, place, detail?.[place])),
      ...(detail ? [legend(row), sharedMoves(row, detail), tokenTable(detail)] : [])),
    make("aside", {}, PAIRS ? curveCard(row) : ratherCard(detail), switched.length ? switchCard() : null, figuresCard(row, detail))));
}

/** Another objective, at the setting that stands at the same place. */
function choose(name) {
  const { pick } = state.view, at = pick === null ? 0 : groups.get(switched[pick].objective).indexOf(pick);
  const places = groups.get(name);
  see(places[Math.min(Math.max(at, 0), places.length - 1)]);
}

function see(pick) {
  state.view = look(pick);
  arrange();
  inSight();
  draw();
}

function turn(what) {
  if (!switched.length) return;
  const names = [...groups.keys()], { pick } = state.view;
  const name = pick === null ? null : switched[pick].objective;
  if (what === "objective" || name === null) return choose(names[(names.indexOf(name) + 1) % names.length]);
  const places = groups.get(name);
  see(places[(places.indexOf(pick) + 1) % places.length]);
}

// ---- the file as a whole

/** Two bars of one scale: which share of the rows, and which share of the gradient. */
function buildOverview() {
  const { shares, decided } = data;
  if (!shares || shares.some((part) => part.rows === COUNT)) return;
  const pushing = shares.some((part) => part.gradient);
  const bar = (says, share) => make("div", { class: "strip" }, make("span", { class: "name" }, says),
    make("div", { class: "bars" }, ...shares.map((part) => {
      const node = make("span", { class: `part ${part.name}`, title: `${part.name}: ${percent(share(part))}` },
        share(part) > 0.07 ? percent(share(part)) : "");
      node.style.setProperty("flex-grow", share(part));
      return node;
    })));
  const says = {
    wrong: `margin below ${show(-decided)}`, undecided: `between ${show(-decided)} and ${show(decided)}`,
    learnt: `margin above ${show(decided)}`,
  };
  byId("overview").append(
    bar(`${COUNT.toLocaleString("en")} pairs`, (part) => part.rows / COUNT),
    pushing ? make("div", { class: "strip" }, make("span", {}), bridges(shares)) : "",
    pushing ? bar(`their ${data.measure}`, (part) => part.gradient) : "",
    make("p", { class: "legend" }, ...shares.map((part) => make("span", {},
      make("span", { class: `mark ${part.name}` }, MARKS[part.name]), make("b", {}, ` ${part.name} `),
      `${part.rows.toLocaleString("en")}, ${says[part.name]}`))));
  byId("overview").hidden = false;
}

/** Bands from each share of the rows to its share of the gradient. */
function bridges(shares) {
  const drawing = make("svg:svg", { viewBox: "0 0 100 20", preserveAspectRatio: "none", class: "bridges", "aria-hidden": "true" });
  let above = 0, below = 0;
  for (const part of shares) {
    const to = above + (100 * part.rows) / COUNT, under = below + 100 * part.gradient;
    drawing.append(make("svg:path", { d: `M${above} 0L${to} 0L${under} 20L${below} 20Z`, class: part.name }));
    [above, below] = [to, under];
  }
  return drawing;
}

// ---- keys, words, start

const KEYS = {
  j: () => move(1), k: () => move(-1), o: () => turn("objective"), b: () => turn("setting"), "?": toggleWords,
  s: () => {
    const names = Object.keys(SORTS).filter((name) => PAIRS || !SORTS[name].pairs);
    sortBy(names[(names.indexOf(state.sort) + 1) % names.length], false);
  },
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeCard();
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("select, input, textarea") || (byId("glossary").open && event.key !== "?")) return;
  if (event.target.classList?.contains("token") && walk(event)) return;
  if (!COUNT || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

/** Arrow keys go from token to token; Tab leaves the side. */
function walk(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const next = step && event.target[step > 0 ? "nextElementSibling" : "previousElementSibling"];
  if (!next) return false;
  event.preventDefault();
  event.target.setAttribute("tabindex", -1);
  next.setAttribute("tabindex", 0);
  next.focus();
  return true;
}

function buildKeys() {
  const help = make("button", { type: "button", class: "plain" }, "words");
  help.addEventListener("click", toggleWords);
  const told = COUNT > 1 ? [["j k", `next, previous ${NOUN}`], ["s", "sort"]] : [];
  if (switched.length) told.push(["o", "objective"], ["b", "beta"]);
  byId("keys").append(...told.map(([keys, says]) => make("span", {},
    ...keys.split(" ").flatMap((key) => [make("kbd", {}, key), " "]), says)), make("span", {}, make("kbd", {}, "?"), " ", help));
  byId("keys").hidden = false;
}

const PRIMER = {
  pair: "A {pair} is two answers to one {prompt}, of which one was preferred. Training pushes the {chosen} answer’s tokens up and the {rejected} one’s down; colour shows how hard each token is pushed. A pair that the model already gets right is pushed less.",
  ranking: "A ranking is several answers to one {prompt}, best first. Training pushes some up and others down; colour shows how hard each token is pushed.",
  example: "An example is one answer to imitate. Training pushes each of its tokens up and what the model would rather have said down; colour shows how hard.",
};

function start() {
  buildGlossary(data.words);
  state.view = look(data.own);
  buildReplay(data);
  if (!COUNT) return;
  buildOverview();
  byId("primer").append(...sentence(PRIMER[NOUN]));
  byId("primer").hidden = byId("desk").hidden = false;
  byId("desk").classList.toggle("alone", COUNT === 1);
  buildList();
  buildKeys();
  arrange();
  const asked = rows.number.indexOf(Number(location.hash.slice(1)));
  open(asked >= 0 ? asked : state.order[0]);
  window.addEventListener("resize", drawList);
}

start();
