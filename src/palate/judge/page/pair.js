// The two answers.  A verdict costs one frame: the next pair is here already, and what was said is
// sent behind it.  Whatever was done can be taken back, one by one.

import { compared } from "./diff.js";
import { desk, go, place, said, tell } from "./desk.js";
import * as drafts from "./drafts.js";
import { announce, button, byId, make, newId } from "./dom.js";
import { toggleHelp } from "./keys.js";
import { call, drained, send, unsaved } from "./send.js";
import { visible } from "./signs.js";
import { adopt, counted, judged, paced, remaining, tagged } from "./top.js";
import * as why from "./why.js";

const AHEAD = 2, FOLD = 700, RETRY_MS = 1500;
const made = []; // what was done in this tab, oldest first
const answered = new Map(); // presentation -> when the server had its verdict; Infinity until then
export const standing = new Map(); // presentation -> id of the judgement that stands
const state = { filling: null, choosing: false, stuck: 0 };
let tab = ""; // which tab this is, to the server
export const beTab = (name) => { tab = name; };

// ---- what comes next

/** Have two more than the one on the screen; one at a time where the next depends on the verdict. */
export function fill() {
  state.filling ??= load().catch(stuck).finally(() => { state.filling = null; });
  return state.filling;
}

async function load() {
  const chained = desk.session.mode === "rank";
  const missing = (chained ? 1 : 1 + AHEAD) - desk.items.length;
  if (missing <= 0) return;
  if (chained) await drained();
  const since = performance.now(), last = desk.items.at(-1)?.presentation ?? "";
  const n = Math.min(10, missing + (last ? 0 : unsaved().length)); // the server still holds for us what it has not heard of
  const query = new URLSearchParams({ n, mode: desk.session.mode, tab, last });
  const reply = await call("GET", `next?${query}`);
  remaining(reply.left + desk.items.length);
  const fresh = reply.items.filter((item) => !desk.items.some((held) => held.presentation === item.presentation)
    && !((answered.get(item.presentation) ?? -1) > since));
  desk.items.push(...fresh);
  state.stuck = 0;
  if (onScreen()) return;
  if (reply.done || desk.items.length) next(reply.done);
  else setTimeout(fill, 100); // what the server still holds for us is on its way to it
}

const onScreen = () => desk.view !== "judging" || byId("answers").dataset.presentation !== "";

/** No more pairs for now: what is on the screen stays, and an empty screen says why. */
function stuck(error) {
  if (error.status === 401) return heardNoToken();
  state.stuck ||= setTimeout(() => { state.stuck = 0; fill(); }, RETRY_MS);
  if (!onScreen()) waitHere();
}

let heardNoToken = () => {};
export const onNoToken = (act) => { heardNoToken = act; };

function waitHere() {
  blank();
  byId("note").replaceChildren("The server does not answer. What you judged is kept in this browser and sent when it is back; this page goes on by itself.");
  byId("note").hidden = false;
}

/** The next pair, or, where nothing comes any more, what came of it. */
function next(ended = false) {
  if (desk.items.length) draw();
  else if (!ended) blank();
  else if (judged() || made.length) go("card", true);
  else tell("There is nothing to judge here yet.", ["A store needs prompts with at least two answers each. Draw some with ",
    make("code", {}, "palate sample"), ", add them to this store, and open it again; or write a pair of your own. If this page is open in another tab, that tab has what there is."],
  button("write a pair", { key: "w", act: () => go("writing") }));
}

// ---- on the screen

/** Time that a pair was looked at: not while the page is hidden or another view is open. */
const clock = {
  sum: 0, since: 0,
  start() { this.sum = 0; this.go(); },
  go() { this.since = document.hidden ? 0 : performance.now(); },
  hold() { this.sum = this.read(); this.since = 0; },
  read() { return this.sum + (this.since ? performance.now() - this.since : 0); },
};
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clock.hold();
  else if (desk.view === "judging") clock.go();
});

function blank() {
  byId("answers").dataset.presentation = "";
  for (const side of ["left", "right"]) byId(side).querySelector(".text").replaceChildren();
  byId("prompt").replaceChildren();
  byId("unfold").hidden = byId("same").hidden = true;
  byId("verdicts").inert = true;
}

function draw() {
  const item = desk.items[0], answers = byId("answers");
  const other = answers.dataset.presentation !== item.presentation;
  unchoose();
  byId("verdicts").inert = false;
  answers.dataset.presentation = item.presentation;
  byId("prompt").replaceChildren(...visible(item.prompt));
  fold(item.prompt.length > FOLD || item.prompt.split("\n").length > 9);
  drawTexts(item);
  drawNote(item);
  told(item.again?.verdict, item.again?.strength);
  if (!other) return;
  window.scrollTo(0, 0);
  answers.classList.remove("new");
  requestAnimationFrame(() => answers.classList.add("new"));
  clock.start();
  if (drafts.fields(item.presentation, item.draft).open) go("editing", { item, ...drafts.fields(item.presentation, item.draft) });
  else if (desk.session.mode === "edit" && !item.again) choose("");
}

function drawTexts(item) {
  const found = desk.differences ? compared(item.left, item.right) : null;
  byId("left").querySelector(".text").replaceChildren(...(found?.left ?? visible(item.left)));
  byId("right").querySelector(".text").replaceChildren(...(found?.right ?? visible(item.right)));
  const same = byId("same");
  same.hidden = !found;
  same.textContent = !found ? "" : found.same ? "The two are the same, letter by letter."
    : "Marked words are those that the other answer lacks; ▸ is where they first differ.";
  document.querySelector("#acts [data-key=d]").setAttribute("aria-pressed", String(desk.differences));
}

function drawNote(item) {
  const { step, of } = item.marks ?? {};
  const words = [of > 1 ? `${step} of ${of} for this prompt: the winner stays.` : "", item.note ?? ""].filter(Boolean).join(" ");
  byId("note").replaceChildren(...(item.again ? again(item.again) : [words]));
  byId("note").hidden = !byId("note").textContent;
}

const again = (before) => ["From the history: ", make("b", {}, said(before.verdict, before.strength).toLowerCase()),
  ...(before.tags.length || before.reason ? [` (${[...before.tags, before.reason].filter(Boolean).join(", ")})`] : []),
  ". A new verdict replaces it. ", button("go back", { key: "Escape", kind: "quiet" })];

/** Which answer is taken for the better one, in words and not by colour alone. */
function told(verdict, strength = 1) {
  const given = strength === 2 ? `${verdict}2` : verdict;
  for (const side of ["left", "right"]) {
    const decided = verdict === "left" || verdict === "right";
    byId(side).classList.toggle("better", verdict === side);
    byId(side).classList.toggle("worse", decided && verdict !== side);
    byId(side).querySelector(".told").textContent = !decided ? "" : verdict === side ? "▲ better" : "▼ worse";
  }
  for (const node of byId("verdicts").children) node.classList.toggle("given", node.dataset.verdict === given);
}

function fold(long) {
  byId("prompt").classList.toggle("folded", long);
  byId("unfold").hidden = !long;
  byId("unfold").replaceChildren(make("kbd", {}, "p"), " the whole prompt");
  byId("unfold").setAttribute("aria-expanded", "false");
}

function unfold() {
  if (byId("unfold").hidden) return;
  const folded = byId("prompt").classList.toggle("folded");
  byId("unfold").replaceChildren(make("kbd", {}, "p"), folded ? " the whole prompt" : " less of the prompt");
  byId("unfold").setAttribute("aria-expanded", String(!folded));
}

function differ() {
  desk.differences = !desk.differences;
  if (desk.items.length) drawTexts(desk.items[0]);
}

// ---- verdicts

function verdict(name, strength = 1) {
  const item = desk.items[0];
  if (!item || byId("answers").dataset.presentation === "") return;
  if (state.choosing) return name === "left" || name === "right" ? pick(name) : undefined;
  const ms = Math.round(clock.read());
  const wins = name === "left" || name === "right"; // who says neither has no winner to give a reason for
  if (!desk.session.why || !wins) return give(item, { verdict: name, strength, ms, tags: [], reason: "" });
  told(name, strength);
  why.ask(said(name, strength), (reasons) => give(item, { verdict: name, strength, ms, ...reasons }), () => told());
}

/** Keep a verdict, show the next pair, and ask why. */
function give(item, given) {
  const done = record(item, given);
  made.push(done);
  why.justMade(done, item.again ? `Changed: ${said(given.verdict, given.strength).toLowerCase()}` : undefined);
  told();
  paced(given.ms);
  if (given.verdict === "both_bad" && !item.again) choose("Both bad.");
  else advance();
}

function record(item, given) {
  const body = { id: newId(), presentation: item.presentation, ...given };
  const before = standing.get(item.presentation) ?? item.again?.judgement;
  if (before) body.supersedes = before;
  if (item.again) { counted(item.again.verdict, -1); tagged(item.again.tags, []); }
  counted(given.verdict);
  tagged([], given.tags);
  answered.set(item.presentation, Infinity);
  standing.set(item.presentation, body.id);
  send("judgement", body, why.named(item, said(given.verdict, given.strength)));
  announce(`${said(given.verdict, given.strength)}.`);
  return { kind: "judgement", item, body };
}

/** Away with the pair on the screen. */
export function advance() {
  desk.items.shift();
  byId("answers").dataset.presentation = "";
  if (desk.view === "judging") next();
  fill();
}

/** The server has it: from now on a reply may show that pair only if it is meant to. */
export function acknowledged(entry) {
  if (entry.body.presentation && answered.has(entry.body.presentation)) answered.set(entry.body.presentation, performance.now());
}

/** The server would not have it: there is nothing of it to undo. */
export function refusedHere({ body }) {
  const at = made.findIndex((done) => done.body.id === body.id);
  if (at >= 0) made.splice(at, 1);
  if (standing.get(body.presentation) === body.id) standing.delete(body.presentation);
}

// ---- undo

export async function undo() {
  if (why.asking()) return why.release();
  const done = made.pop();
  if (!done) return undoThere();
  send("undo", { id: newId(), target: done.body.id, tab }, { what: "An undo", prompt: done.item?.prompt ?? "" });
  why.justMade(null);
  byId("pause").hidden = true;
  announce("Taken back.");
  tagged(done.body.tags, []);
  if (done.kind !== "judgement") return unwrite(done);
  counted(done.body.verdict, -1);
  standing.delete(done.item.presentation);
  answered.delete(done.item.presentation);
  back({ ...done.item, again: undefined });
}

/** What was written is a draft again; a box opens only when it is asked for, so that undo repeats. */
function unwrite({ kind, item, body }) {
  counted("left", -1);
  if (kind === "write") {
    drafts.keepFields("write", body);
    return go("writing", body, "The pair is taken back, and a draft again.");
  }
  const { side, text, reason, tags } = body;
  drafts.keepFields(item.presentation, { side, text, reason, tags });
  back({ ...item, again: undefined, draft: JSON.stringify({ side, text, reason, tags }) });
  byId("note").replaceChildren("Your better answer is a draft again. ", button("go on with it", { key: "e", kind: "quiet" }));
  byId("note").hidden = false;
}

function back(item) {
  desk.items = [item, ...desk.items.filter((held) => !held.again && held.presentation !== item.presentation)];
  byId("answers").dataset.presentation = "";
  if (desk.view === "judging") draw();
  else go("judging");
}

/** Nothing of this tab's is left to undo: the server knows what came before. */
async function undoThere() {
  try {
    await drained();
    const reply = await call("POST", "undo", { id: newId(), tab });
    adopt(reply);
    if (!reply.item) return announce("There is nothing to undo.");
    announce("Taken back.");
    standing.delete(reply.item.presentation);
    answered.delete(reply.item.presentation);
    why.justMade(null);
    back(reply.item);
  } catch {
    announce("What was done before this page was opened can be undone once the server is back.");
  }
}

// ---- a better answer

/** Ask which answer to start from; the arrows say it. */
function choose(words) {
  const item = desk.items[0];
  if (!item) return;
  const typed = drafts.fields(item.presentation, item.draft);
  if (typed.text && typed.side) return go("editing", { item, ...typed });
  state.choosing = byId("verdicts").inert = true; // its arrows now say where to start from
  why.offer([make("b", {}, words || "Write a better one."), words ? " Write a better one, from" : " Which is better? You start from it.", " ",
    button("left", { key: "ArrowLeft" }), " ", button("right", { key: "ArrowRight" }), " ",
    button(standing.has(item.presentation) ? "go on without" : "never mind", { key: "Escape", kind: "quiet" })]);
}

function unchoose() {
  state.choosing = byId("verdicts").inert = false;
  why.offer(null);
}

function pick(side) {
  unchoose();
  go("editing", { item: desk.items[0], side });
}

/** The better one of the pair just judged. */
export function editLast() {
  const done = why.last();
  if (done && ["left", "right"].includes(done.body.verdict)) go("editing", { item: done.item, side: done.body.verdict });
}

/** An edit is saved: with it, where there was none, the verdict that its side is the better one. */
export function edited(item, body) {
  const shown = desk.items[0]?.presentation === item.presentation;
  if (shown && !standing.has(item.presentation) && !item.again) {
    const reasons = desk.session.why ? { tags: body.tags, reason: body.reason } : { tags: [], reason: "" };
    made.push(record(item, { verdict: body.side, strength: 1, ms: body.ms, ...reasons }));
  }
  counted("left");
  tagged([], body.tags);
  send("edit", body, why.named(item, "A better answer that you wrote"));
  made.push({ kind: "edit", item, body });
  why.justMade(null);
  go("judging");
  if (shown) advance();
  announce("Saved. Next pair.");
}

export const noted = (done) => made.push(done);

function escape() {
  if (why.asking()) return why.release();
  const item = desk.items[0];
  unchoose();
  if (item && !item.again && standing.has(item.presentation)) return advance(); // it has its verdict
  if (item?.again) {
    desk.items.shift();
    byId("answers").dataset.presentation = "";
    go("history");
  }
}

/** A pair from the history, to be looked at again. */
export function revisit(item) {
  why.justMade(null); // a reason given now would go to another pair
  desk.items = [item, ...desk.items.filter((held) => !held.again && held.presentation !== item.presentation)];
  byId("answers").dataset.presentation = "";
  go("judging");
}

const KEYS = {
  ArrowLeft: () => verdict("left"), ArrowRight: () => verdict("right"),
  "Shift+ArrowLeft": () => verdict("left", 2), "Shift+ArrowRight": () => verdict("right", 2),
  ArrowDown: () => verdict("tie"), ArrowUp: () => verdict("both_bad"), s: () => verdict("skip"),
  z: undo, "Ctrl+z": undo, d: differ, p: unfold, e: () => choose(""), E: editLast,
  h: () => go("history"), w: () => go("writing"), c: () => go("card"), "?": toggleHelp, Escape: escape,
  ...why.KEYS,
};

place("judging", {
  enter() {
    if (desk.items.length && byId("answers").dataset.presentation === "") draw();
    else if (desk.items.length) clock.go();
    else blank();
    fill();
  },
  leave: () => clock.hold(),
  keys: KEYS,
});
