// A pair of one's own: a prompt, the better answer, one that is nearly as good, and why.  Beside the
// boxes the pair is read while it is written: fine against better, not garbage against great.

import { desk, go, place } from "./desk.js";
import * as drafts from "./drafts.js";
import { announce, button, byId, make, newId, settled } from "./dom.js";
import { box, tagButtons } from "./edit.js";
import { boxKeys, toggleHelp } from "./keys.js";
import { noted } from "./pair.js";
import { call, send } from "./send.js";
import { counted, tagged } from "./top.js";

const NAME = "write", READ_MS = 400, MODEL_MS = 60_000, AGAIN_MS = 1000;
const state = { tags: new Set(), from: 0, asked: 0, built: false };

function build() {
  const keys = { save, leave };
  const prompt = box("writePrompt", "Prompt", { rows: 2, keys });
  const chosen = box("writeChosen", "▲ Chosen", { rows: 9, keys });
  const rejected = box("writeRejected", "▼ Rejected: nearly as good", { rows: 9, keys });
  const reason = make("input", { id: "writeReason", type: "text", maxlength: 2000, autocomplete: "off", dir: "auto", placeholder: "why the chosen one wins (words or a tag)", "aria-label": "Why the chosen one wins" });
  boxKeys(reason, keys);
  byId("writing").replaceChildren(
    make("h2", { class: "verdict", tabindex: -1, id: "writeTitle" }, "Write a pair: a good answer, and one that is nearly as good."),
    make("div", { class: "bench" },
      make("div", { class: "boxes" }, prompt.node,
        make("div", { class: "pairbox" }, make("div", { class: "answer better" }, chosen.node), make("div", { class: "answer worse" }, rejected.node)),
        make("div", { class: "foot" }, make("div", { id: "writeTags" }), reason),
        make("p", { class: "note", id: "writeNote", role: "status" }),
        make("p", { class: "row" }, button("save the pair", { key: "Ctrl+Enter", kind: "main", id: "writeSave", act: save }),
          button("copy chosen to rejected", { act: copy, id: "writeCopy" }), button("back to judging", { key: "Escape", act: leave }))),
      make("aside", { "aria-label": "The pair as it reads", "aria-live": "polite" }, scale(), make("p", { class: "words", id: "reading" }),
        make("ul", { class: "notes", id: "readingNotes" }), make("p", { class: "note", id: "plausible" }))));
  for (const node of [prompt.area, chosen.area, rejected.area, reason]) node.addEventListener("input", changed);
}

const ENDS = [[8, "start", "cartoon", "garbage · great"], [129, "middle", "near miss", "fine · better"], [256, "end", "hairline", "a word or two"]];

/** Where a pair stands between garbage against great and a hair's breadth; fixed borders. */
function scale() {
  const drawing = make("svg:svg", { viewBox: "0 0 264 64", class: "scale", role: "img", "aria-label": "from a cartoon over a near miss to a hairline", id: "scale" },
    make("svg:rect", { x: 60.8, y: 8, width: 137.2, height: 8, class: "zone" }),
    make("svg:path", { d: "M8 12H256", class: "axis" }), make("svg:path", { d: "M60.8 6V18M198 6V18", class: "tick" }),
    ENDS.flatMap(([x, anchor, name, says]) => [make("svg:text", { x, y: 36, "text-anchor": anchor, class: name === "near miss" ? "aim" : null }, name),
      make("svg:text", { x, y: 51, "text-anchor": anchor, class: "small" }, says)]),
    make("svg:path", { id: "needle", d: "M-5 0L5 0L0 9Z", class: "needle", visibility: "hidden" }));
  return drawing;
}

const values = () => ({
  prompt: byId("writePrompt").value, chosen: byId("writeChosen").value, rejected: byId("writeRejected").value,
  reason: byId("writeReason").value, tags: [...state.tags],
});

/** What keeps the pair from being saved, in words; "" if nothing does. */
function missing({ prompt, chosen, rejected, reason, tags }) {
  if (!prompt.trim()) return "A prompt is needed.";
  if (!chosen.trim() || !rejected.trim()) return "Both answers are needed.";
  if (chosen.trim() === rejected.trim()) return "The two answers are the same.";
  return reason.trim() || tags.length ? "" : "Say why the chosen one wins: in words, or with a tag.";
}

function changed() {
  drafts.keepFields(NAME, values());
  drawState();
  read();
}

function drawState() {
  const found = values(), lacks = missing(found);
  byId("writeSave").disabled = Boolean(lacks);
  byId("writeNote").textContent = found.chosen || found.rejected ? lacks : "";
  byId("writeCopy").hidden = !found.chosen.trim() || Boolean(found.rejected.trim());
}

const read = settled(async () => {
  const { prompt, chosen, rejected } = values(), number = ++state.asked;
  try {
    const reply = await call("POST", "reading", { prompt, chosen, rejected }, { wait: desk.session.plausible ? MODEL_MS : 10_000 });
    if (number === state.asked) drawReading(reply);
    if (reply.plausible?.again) setTimeout(() => number === state.asked && read(), AGAIN_MS); // the model is not so far
  } catch (error) {
    if (number === state.asked) drawReading({ sentence: error.status ? "This could not be read." : "The reading waits for the server.", notes: [], place: null, plausible: null });
  }
}, READ_MS);

const LEVELS = { good: ["✓", "good"], look: ["~", "look at this"], bad: ["✕", "mend this"] };

function drawReading({ sentence, notes, place: at, plausible }) {
  byId("reading").textContent = sentence;
  byId("readingNotes").replaceChildren(...notes.map((note) => make("li", { class: note.level },
    make("span", { class: "level", role: "img", "aria-label": LEVELS[note.level]?.[1] ?? "" }, LEVELS[note.level]?.[0] ?? "·"),
    make("span", {}, make("b", {}, note.name), ` ${note.says}`))));
  byId("plausible").textContent = plausible ? plausible.says : "";
  const there = typeof at === "number";
  byId("needle").setAttribute("visibility", there ? "visible" : "hidden");
  if (there) byId("needle").setAttribute("transform", `translate(${8 + 248 * at} 2)`);
  const where = !there ? "" : at < 0.2 ? "near the cartoon end" : at < 0.3 ? "between cartoon and near miss" : at <= 0.75 ? "a near miss" : "near the hairline end";
  byId("scale").setAttribute("aria-label", there ? `the pair stands ${where}` : "from a cartoon over a near miss to a hairline");
}

function save() {
  const found = values(), lacks = missing(found);
  if (lacks) { byId("writeNote").textContent = lacks; return announce(lacks); }
  const body = { id: newId(), ...found, reason: found.reason.trim(), ms: Math.round(performance.now() - state.from) };
  send("pair", body, { what: "A pair that you wrote", prompt: found.prompt.slice(0, 120) });
  noted({ kind: "write", item: null, body });
  counted("left");
  tagged([], body.tags);
  drafts.drop(NAME);
  put({});
  byId("writeNote").replaceChildren("Saved. ", button("undo", { key: "z", act: () => undoLast() }));
  announce("The pair is saved.");
  byId("writePrompt").focus();
}

let undoLast = () => {};
export const onUndo = (act) => { undoLast = act; };

/** The rejected answer is best written by spoiling the chosen one. */
function copy() {
  byId("writeRejected").value = byId("writeChosen").value;
  byId("writeRejected").focus();
  changed();
}

function put({ prompt = "", chosen = "", rejected = "", reason = "", tags = [] }) {
  [byId("writePrompt").value, byId("writeChosen").value, byId("writeRejected").value, byId("writeReason").value] = [prompt, chosen, rejected, reason];
  state.tags = new Set(tags);
  byId("writeTags").replaceChildren(tagButtons(state.tags, changed));
  state.from = performance.now();
  drawState();
  read();
}

function leave() {
  read.stop();
  go("judging");
}

place("writing", {
  enter(given, words = "") {
    if (!state.built) build();
    const first = !state.built;
    state.built = true;
    if (given || first) put(given ?? drafts.fields(NAME, desk.session.draft));
    if (words) { byId("writeNote").textContent = words; return byId("writeTitle").focus(); }
    byId(byId("writePrompt").value ? "writeChosen" : "writePrompt").focus();
  },
  keys: { Escape: leave, z: () => undoLast(), "Ctrl+z": () => undoLast(), h: () => go("history"), c: () => go("card"), "?": toggleHelp },
});
