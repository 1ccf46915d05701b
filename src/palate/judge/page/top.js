// The frame around the two answers: how far one is, what was said so far, what is not saved yet,
// and, once in a while, that a pause would do good.

import { desk } from "./desk.js";
import { announce, button, byId, make, plural } from "./dom.js";
import { dismiss, lost, retry, unsavable, unsaved, waiting } from "./send.js";

let counts = {}, tally = {}, left = null;
const KNOWN = 100; // the server counts no further

/** The server's figures, where nothing of ours is still on its way. */
export function adopt(reply) {
  if (!reply.counts || waiting().length) return;
  counts = { ...reply.counts };
  tally = { ...reply.tally };
  drawCounts();
}

const KIND = { left: "pairs", right: "pairs", tie: "ties", both_bad: "both_bad", skip: "skipped" };

/** One verdict more, or with -1 one less, until the server says how many there are. */
export function counted(verdict, by = 1) {
  counts[KIND[verdict]] = (counts[KIND[verdict]] ?? 0) + by;
  if (verdict !== "skip") counts.judged = (counts.judged ?? 0) + by;
  drawCounts();
}

/** Tags taken back and tags given. */
export function tagged(before, after) {
  for (const tag of before) tally[tag] = Math.max(0, (tally[tag] ?? 0) - 1);
  for (const tag of after) tally[tag] = (tally[tag] ?? 0) + 1;
  drawCounts();
}

export const judged = () => counts.judged ?? 0;

const MODES = {
  rank: "winner stays", edit: "write better ones", write: "writing", audit: "audit",
  resolve: "said both ways", recheck: "a second look",
};

export function drawTop() {
  const { title, judge, mode } = desk.session;
  byId("title").textContent = title || "Judging";
  byId("where").textContent = [MODES[mode], judge && `as ${judge}`].filter(Boolean).join(" · ");
  document.title = `${title ? `${title} · ` : ""}palate judge`;
  byId("progress").hidden = false;
  drawCounts();
}

/** How many are left here, as far as the server counts. */
export function remaining(count) {
  left = count;
  drawCounts();
}

function drawCounts() {
  const goal = desk.session?.goal, done = judged();
  byId("count").textContent = goal ? `${done.toLocaleString("en")} of ${goal.toLocaleString("en")}` : `${done.toLocaleString("en")} judged${left !== null && left < KNOWN ? ` · ${left} left` : ""}`;
  byId("rail").toggleAttribute("hidden", !goal);
  byId("railDone").setAttribute("d", `M0 1H${goal ? Math.min(100, (100 * done) / goal) : 0}`);
  const said = Object.entries(tally).filter(([, count]) => count > 0).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  byId("tally").replaceChildren(...(said.length ? ["you say: ", ...said.slice(0, 5).flatMap(([tag, count], i) => [
    i ? ", " : "", `${tag} `, make("b", { class: "mono" }, count.toLocaleString("en"))])] : []));
}

// ---- what is not saved

let since = 0, slow = 0;

/** The red badge: at once where the server is away, else only when it takes its time. */
export function drawUnsent(count, down) {
  clearTimeout(slow);
  since = count ? since || Date.now() : 0;
  const gone = unsavable().length, late = count && Date.now() - since > 1500;
  const node = byId("unsent");
  node.hidden = !(gone || (count && (down || late)));
  const words = [];
  if (count && (down || late)) words.push(`${count} not saved yet${down ? `: ${down}` : ""}`);
  if (gone) words.push(`${gone} could not be saved`);
  node.textContent = words.join(" · ");
  if (count && !down && !late) slow = setTimeout(() => drawUnsent(unsaved().length, down), 1600);
}

/** A list of what waits and of what the server would not take. */
export function openLost() {
  const box = byId("lost"), gone = unsavable(), still = unsaved();
  const item = (entry, why) => make("li", {}, make("b", {}, entry.says?.what ?? "A judgement"), why ? make("span", { class: "note" }, ` ${why}`) : null,
    make("p", { class: "snippet" }, entry.says?.prompt ?? ""));
  const again = gone.length ? [
    make("h3", {}, `${gone.length} could not be saved`),
    make("ul", {}, gone.map((entry) => item(entry, WHY[entry.refused?.status] ?? entry.refused?.words))),
    make("p", { class: "row" }, button("try again", { act: () => { retry(lost()); box.close(); } }),
      button("they may be dropped", { act: () => { dismiss(); box.close(); } }))] : [];
  box.replaceChildren(
    make("header", {}, make("h2", { id: "lostTitle" }, "Not saved"), button("close", { key: "Escape", act: () => box.close() })),
    ...(still.length ? [make("h3", {}, `${still.length} not saved yet`),
      make("p", { class: "note" }, "They are kept in this browser, also when the page is closed, and sent as soon as the server is back."),
      make("ul", {}, still.slice(0, 50).map((entry) => item(entry)))] : []),
    ...again);
  box.showModal();
  box.focus();
}

const WHY = {
  409: "That pair has a verdict already, from another tab or another time. Look at it in the history.",
  404: "This store does not know that pair. Another store may have stood at this address.",
  400: "The server could not read it.",
};

/** Told once, in words, and kept in the list. */
export function refused(entry) {
  announce(`Could not be saved: ${entry.says?.what ?? "a judgement"}. ${WHY[entry.refused.status] ?? ""}`);
}

// ---- a pause

const LONG_MIN = 25, FIRST = 20, LAST = 8, TIMES = 3;
const pauses = { from: Date.now(), times: [], goal: false };

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

/** After 25 minutes, or when a verdict takes three times as long as at first; and at the goal. */
export function paced(ms) {
  pauses.times.push(ms);
  const { times } = pauses, goal = desk.session.goal;
  if (goal && judged() === goal && !pauses.goal) {
    pauses.goal = true;
    return suggest(`${plural(goal, "judgement")}: that was the goal of this session. `, ["c", "what you said"]);
  }
  const tired = times.length >= FIRST + LAST && median(times.slice(-LAST)) > TIMES * median(times.slice(0, FIRST));
  const long = Date.now() - pauses.from > LONG_MIN * 60_000;
  if (tired || long) suggest(long ? `You have judged for ${LONG_MIN} minutes. A short pause keeps verdicts honest.`
    : "Each pair now takes three times as long as at first. A short pause may help.");
}

function suggest(words, key) {
  Object.assign(pauses, { from: Date.now(), times: [] });
  const node = byId("pause");
  node.replaceChildren(words, " ", key ? button(key[1], { key: key[0], kind: "quiet" }) : "", " ",
    button("go on", { kind: "plain", act: () => { node.hidden = true; } }));
  node.hidden = false;
  announce(words);
}
