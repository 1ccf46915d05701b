// Why the last one won: a line that comes with a verdict, in nobody's way.  Tags and words are added
// to the judgement just made as a new row that replaces it, until the next verdict is given.

import { desk, said } from "./desk.js";
import { announce, button, byId, make, newId, tabs } from "./dom.js";
import { boxKeys } from "./keys.js";
import { send } from "./send.js";
import { tagged } from "./top.js";

const FRESH_MS = 3_000, DRAFT = "palate.reason";
const state = { done: null, held: null, offer: null, writing: false, fresh: false, words: "", aside: "", timer: 0, release: null, standing: null };

/** `standing`: presentation -> id of the judgement that stands, kept by whoever gives verdicts. */
export function buildWhy(standing) {
  state.standing = standing;
  byId("tags").replaceChildren(...desk.session.tags.map((tag, place) => button(tag, {
    key: place < 9 ? String(place + 1) : null, "aria-pressed": "false", "data-tag": tag,
    act: () => toggle(tag),
  })));
  draw();
}

/** What a verdict is called where it may have been lost. */
export const named = (item, words) => ({ what: words, prompt: item.prompt.slice(0, 120) });

/** A judgement was made: it may be said why.  null: there is none to speak of. */
export function justMade(done, words = done && said(done.body.verdict, done.body.strength)) {
  leaveBox();
  const skipped = done?.body.verdict === "skip";
  Object.assign(state, { done: skipped ? null : done, held: null, words, aside: skipped ? `${words}; it returns later.` : "" });
  if (state.done) freshen();
  draw();
}

/** A verdict that waits for its reason: `give({tags, reason})` is called with the first one. */
export function ask(words, give, release) {
  leaveBox();
  Object.assign(state, { held: { give }, release, words });
  announce(`${words}. Why? A number or r; Escape takes it back.`);
  draw();
}

/** Something else is asked in this place, in nodes; null: no more. */
export function offer(nodes) {
  if (nodes === state.offer) return;
  state.offer = nodes;
  draw();
  if (nodes) announce(byId("said").textContent);
}

export const asking = () => state.held !== null;

export function release() {
  leaveBox();
  state.held = null;
  state.release?.();
  draw();
}

/** Of the line only what was said stays after three seconds; its keys go on working. */
function freshen() {
  clearTimeout(state.timer);
  state.fresh = true;
  state.timer = setTimeout(() => {
    if (byId("why").matches(":hover, :focus-within")) return freshen();
    state.fresh = false;
    draw();
  }, FRESH_MS);
}

function draw() {
  const { done, held, words, writing } = state, box = byId("why");
  const open = !state.offer && (Boolean(held) || (done && state.fresh));
  box.classList.toggle("open", open);
  box.classList.toggle("held", Boolean(held));
  byId("said").replaceChildren(...(state.offer && !writing ? state.offer : words && (done || held) ? spoken() : [make("span", { class: "soft" }, opening())]));
  byId("tags").hidden = !open || writing;
  for (const node of byId("tags").children) node.setAttribute("aria-pressed", String(Boolean(done?.body.tags.includes(node.dataset.tag) && !held)));
  byId("after").replaceChildren(...acts(open));
}

function spoken() {
  const { done, held, words } = state;
  if (held) return [make("b", {}, `${words}.`), " Why?"];
  const why = [...done.body.tags, done.body.reason].filter(Boolean).join(", ");
  const last = make("span", { class: "soft" }, "Just now: ");
  if (state.fresh) return [last, make("b", {}, done.body.reason ? words : `${words}.`), done.body.reason ? `: ${done.body.reason.slice(0, 60)}` : " Why?"];
  return [last, make("span", { class: "soft" }, `${words}${why ? `: ${why.slice(0, 90)}` : ""}`)];
}

const opening = () => state.aside ? state.aside : desk.session.why ? "A verdict waits for its reason." : "Read both, then say which is better.";

function acts(open) {
  const { done, held, writing } = state;
  if (writing) return [state.form];
  const inWords = button("words", { key: "r", kind: "quiet" });
  if (held) return [inWords, button("take back", { key: "Escape", kind: "quiet" })];
  if (!done || state.offer) return [];
  const edits = ["left", "right"].includes(done.body.verdict) ? [button("edit it", { key: "E", kind: "quiet" })] : [];
  return open ? [inWords, ...edits] : [button("why?", { kind: "plain", act: () => { freshen(); draw(); } })];
}

/** The tag of a number key. */
function tag(number) {
  const found = desk.session.tags[number - 1];
  if (found) toggle(found);
}

function toggle(name) {
  if (state.held) return finish({ tags: [name], reason: "" });
  if (!state.done) return;
  const { tags } = state.done.body, there = tags.includes(name);
  freshen();
  revise({ tags: there ? tags.filter((each) => each !== name) : [...tags, name] });
  announce(there ? `${name} taken back` : name);
}

function finish(why) {
  const { give } = state.held;
  state.held = null;
  give(why);
}

/** A row that replaces the judgement just made. */
function revise(what) {
  const { done } = state, before = done.body;
  const body = { ...before, ...what, id: newId(), supersedes: before.id };
  if (["left", "right"].includes(body.verdict)) tagged(before.tags, body.tags); // no reason for a choice otherwise
  done.body = body;
  state.standing.set(body.presentation, body.id);
  send("judgement", body, named(done.item, said(body.verdict, body.strength)));
  draw();
}

/** The judgement whose reason can be told: the one just made. */
export const last = () => state.done;

// ---- in words

function reason(typed = null) {
  if (!state.held && !state.done) return;
  const input = make("input", {
    type: "text", id: "reason", "aria-label": "Why, in words", placeholder: "why, in words", maxlength: 2000, autocomplete: "off", dir: "auto",
  });
  input.value = typed ?? (state.held ? "" : state.done.body.reason);
  state.form = make("span", { class: "box" }, input, button("save", { key: "Enter", act: saveReason }),
    button("leave", { key: "Escape", kind: "quiet", act: leaveReason }));
  input.addEventListener("input", () => keepReason(input.value));
  boxKeys(input, { save: saveReason, leave: leaveReason, plain: true });
  state.writing = true;
  state.fresh = true;
  clearTimeout(state.timer);
  draw();
  input.focus();
}

function saveReason() {
  const text = byId("reason").value.trim();
  leaveBox();
  if (state.held) return text ? finish({ tags: [], reason: text }) : draw();
  freshen();
  if (text !== state.done.body.reason) revise({ reason: text });
  draw();
}

function leaveReason() {
  leaveBox();
  if (state.done) freshen();
  draw();
}

function leaveBox() {
  state.writing = false;
  tabs.drop(DRAFT);
}

/** A reload must not lose what was typed, nor the judgement that it belongs to. */
function keepReason(text) {
  if (state.done && !state.held) tabs.set(DRAFT, JSON.stringify({ done: state.done, words: state.words, text }));
}

export function restoreReason() {
  try {
    const found = JSON.parse(tabs.get(DRAFT));
    if (!found) return null;
    justMade(found.done, found.words);
    state.standing.set(found.done.body.presentation, found.done.body.id);
    reason(found.text);
    keepReason(found.text);
    return found.done;
  } catch { return null; }
}

/** What can be said of the judgement just made, in whichever view. */
export const KEYS = { r: () => reason() };
for (let number = 1; number <= 9; number++) KEYS[number] = () => tag(number);
