// What was judged, the newest first.  Any of it can be opened and judged anew.

import { compared } from "./diff.js";
import { desk, go, place, said } from "./desk.js";
import { announce, button, byId, make } from "./dom.js";
import { toggleHelp } from "./keys.js";
import { revisit, undo } from "./pair.js";
import { call, drained } from "./send.js";
import { visible } from "./signs.js";

const PAGE = 50;
const MARKS = { left: "←", right: "→", tie: "=", both_bad: "✕", skip: "…" };
const state = { rows: [], at: 0, more: false, busy: false };

async function load(fresh) {
  if (state.busy) return;
  state.busy = true;
  try {
    if (fresh) await drained().catch(() => {});
    const query = new URLSearchParams({ before: fresh ? "" : state.rows.at(-1)?.judgement ?? "", limit: PAGE });
    const reply = await call("GET", `history?${query}`);
    Object.assign(state, { rows: fresh ? reply.items : [...state.rows, ...reply.items], more: reply.more });
    state.at = Math.min(state.at, Math.max(0, state.rows.length - 1));
    draw();
  } catch {
    byId("historyWords").textContent = "The history waits for the server, which does not answer.";
  } finally {
    state.busy = false;
  }
}

function build() {
  byId("history").replaceChildren(
    make("h2", { class: "verdict", id: "historyWords", tabindex: -1 }, "What you judged"),
    make("div", { class: "desk" },
      make("div", { class: "rows" }, make("div", { role: "listbox", tabindex: 0, id: "historyRows", "aria-label": "Judgements, newest first" }),
        button("more", { act: () => load(false), id: "historyMore" })),
      make("article", { id: "historyPair", "aria-label": "The judgement opened" })),
    make("p", { class: "row keysrow" }, button("next", { key: "j" }), button("before", { key: "k" }), button("judge it anew", { key: "Enter" }),
      button("differences", { key: "d" }), button("undo the last", { key: "z" }), button("back", { key: "Escape" })));
  byId("historyRows").addEventListener("click", ({ target }) => {
    const row = target.closest("[data-place]");
    if (row) open(Number(row.dataset.place));
  });
  byId("historyRows").addEventListener("dblclick", again);
}

function draw() {
  const { rows, more } = state;
  byId("historyWords").textContent = !rows.length ? "Nothing is judged yet."
    : `${rows.length}${more ? " and more" : ""} judgement${rows.length === 1 ? "" : "s"}, the newest first.`;
  byId("historyRows").replaceChildren(...rows.map(row));
  byId("historyMore").hidden = !more;
  drawPair();
}

function row(item, at) {
  return make("div", { class: "item", role: "option", id: `row${at}`, "data-place": at, "aria-selected": String(at === state.at) },
    make("span", { class: "head" }, make("b", { class: "mark", "aria-hidden": "true" }, item.strength === 2 ? MARKS[item.verdict].repeat(2) : MARKS[item.verdict]),
      make("span", {}, kind(item)), make("span", { class: "tags" }, item.tags.join(", ")), make("span", { class: "figure" }, when(item.created))),
    make("span", { class: "snippet" }, visible(item.prompt.slice(0, 140))));
}

const kind = (item) => ({ edit: "You wrote a better one", write: "A pair that you wrote" })[item.mode] ?? said(item.verdict, item.strength);

const when = (seconds) => new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit",
  ...(Date.now() / 1000 - seconds > 43_200 ? { day: "numeric", month: "short" } : {}) }).format(new Date(seconds * 1000));

function drawPair() {
  const item = state.rows[state.at], pane = byId("historyPair");
  pane.hidden = !item;
  byId("historyRows").setAttribute("aria-activedescendant", item ? `row${state.at}` : "");
  if (!item) return;
  const texts = desk.differences ? compared(item.left, item.right) : { left: visible(item.left), right: visible(item.right) };
  const decided = item.verdict === "left" || item.verdict === "right", why = [...item.tags, item.reason].filter(Boolean).join(", ");
  const side = (name) => make("section", { class: `side ${decided ? (item.verdict === name ? "better" : "worse") : ""}` },
    make("h3", {}, ...(name === "left" ? both("Left", "Upper") : both("Right", "Lower")), make("span", { class: "told" }, !decided ? "" : item.verdict === name ? " ▲ better" : " ▼ worse")),
    make("div", { class: "text", dir: "auto" }, texts[name]));
  pane.replaceChildren(make("h2", {}, kind(item)), why ? make("p", { class: "words" }, why) : "",
    item.fast ? make("p", { class: "note" }, "Given in under a second and a half.") : "",
    make("div", { class: "prompt", dir: "auto" }, visible(item.prompt)), side("left"), side("right"));
}

const both = (wide, narrow) => [make("span", { class: "wide" }, wide), make("span", { class: "narrow" }, narrow)];

function open(at) {
  if (at < 0 || at >= state.rows.length) return at >= state.rows.length && state.more ? load(false) : undefined;
  const before = byId(`row${state.at}`);
  state.at = at;
  before?.setAttribute("aria-selected", "false");
  byId(`row${at}`).setAttribute("aria-selected", "true");
  byId(`row${at}`).scrollIntoView({ block: "nearest" });
  drawPair();
  announce(`${kind(state.rows[at])}: ${state.rows[at].prompt.slice(0, 80)}`);
}

function again() {
  const item = state.rows[state.at];
  if (!item) return;
  const { judgement, verdict, strength, tags, reason } = item;
  revisit({ ...item, draft: "", note: "", again: { judgement, verdict, strength, tags, reason } });
}

const step = (by) => () => open(state.at + by);

place("history", {
  enter() {
    if (!byId("historyRows")) build();
    byId("historyRows").focus();
    load(true);
  },
  keys: {
    j: step(1), ArrowDown: step(1), k: step(-1), ArrowUp: step(-1), Enter: again, z: undo, "Ctrl+z": undo, Escape: () => go("judging"), h: () => go("judging"),
    c: () => go("card"), w: () => go("writing"), "?": toggleHelp,
    d() { desk.differences = !desk.differences; drawPair(); },
  },
});
