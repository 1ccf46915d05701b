// Where two texts differ, word by word.  Words are matched by a longest common subsequence; long
// texts are first cut at words that occur once in each, so that no text takes more than moments.

import { make } from "./dom.js";
import { visible } from "./signs.js";

const CELLS = 1_000_000; // of one table; past it a stretch is cut, or said to differ as a whole
const DEEPEST = 4; // cuts within cuts
const ALONE = String.raw`[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]`;
const LETTERS = String.raw`(?:(?!${ALONE})[\p{L}\p{M}\p{N}_])+`;
const PICTURE = String.raw`\p{Extended_Pictographic}[\ufe0f\p{Emoji_Modifier}]*(?:\u200d\p{Extended_Pictographic}[\ufe0f\p{Emoji_Modifier}]*)*`;
const CLOSES = /^[.!?,;:…。！？]$/u;
const WORD = new RegExp(String.raw`(${LETTERS}(?:['’.,:/-]${LETTERS})*|${PICTURE}|\S|^(?=\s))(\s*)`, "gu");

/** A text as words, each with the white space behind it.  Put together they are the text. */
export function words(text) {
  return Array.from(text.matchAll(WORD), ([, word, gap]) => ({ word, gap }));
}

/** For each word of `one` its place in `other`, or -1: a longest common subsequence. */
export function matched(one, other) {
  const places = new Int32Array(one.length).fill(-1);
  match(one.map((each) => each.word), other.map((each) => each.word), [0, one.length, 0, other.length], places);
  slide(one, places);
  const back = turned(places, other.length);
  slide(other, back);
  return turned(back, one.length);
}

/** The same matches, seen from the other side. */
function turned(places, count) {
  const back = new Int32Array(count).fill(-1);
  places.forEach((j, i) => { if (j >= 0) back[j] = i; });
  return back;
}

/** A run that begins with the end mark of the sentence before it ends with its own instead. */
function slide(list, places) {
  for (let i = 0; i < list.length; i++) {
    if (places[i] >= 0) continue;
    let end = i;
    while (end < list.length && places[end] < 0) end++;
    const whole = end < list.length && places[end] === (i ? places[i - 1] : -1) + 1;
    if (whole && CLOSES.test(list[i].word) && list[i].word === list[end].word) {
      places[i] = places[end];
      places[end] = -1;
    }
    i = end;
  }
}

/** Match one[a..b] with other[c..d]: shared ends first, then the table, or cuts. */
function match(one, other, [a, b, c, d], places, depth = 0) {
  while (a < b && c < d && one[a] === other[c]) places[a++] = c++;
  while (a < b && c < d && one[b - 1] === other[d - 1]) places[--b] = --d;
  if (a === b || c === d) return;
  if ((b - a + 1) * (d - c + 1) <= CELLS) return table(one, other, [a, b, c, d], places);
  const cuts = depth < DEEPEST ? anchors(one, other, [a, b, c, d]) : [];
  for (const [i, j] of cuts) {
    match(one, other, [a, i, c, j], places, depth + 1);
    places[i] = j;
    [a, c] = [i + 1, j + 1];
  }
  if (cuts.length) match(one, other, [a, b, c, d], places, depth + 1);
}

/** The textbook: length[i][j] of the best match of the rest from i and j on. */
function table(one, other, [a, b, c, d], places) {
  const width = d - c + 1, length = new Uint16Array((b - a + 1) * width);
  for (let i = b - 1; i >= a; i--) {
    for (let j = d - 1; j >= c; j--) {
      const at = (i - a) * width + j - c;
      length[at] = one[i] === other[j] ? length[at + width + 1] + 1 : Math.max(length[at + width], length[at + 1]);
    }
  }
  for (let i = a, j = c; i < b && j < d;) {
    const at = (i - a) * width + j - c;
    if (one[i] === other[j]) places[i++] = j++;
    else if (length[at + width] >= length[at + 1]) i++;
    else j++;
  }
}

/** Words that occur once on each side, the longest run of them that keeps its order. */
function anchors(one, other, [a, b, c, d]) {
  const once = (list, from, to) => {
    const seen = new Map();
    for (let i = from; i < to; i++) seen.set(list[i], seen.has(list[i]) ? -1 : i);
    return seen;
  };
  const there = once(other, c, d);
  const both = [...once(one, a, b)].filter(([word, i]) => i >= 0 && (there.get(word) ?? -1) >= 0)
    .map(([word, i]) => [i, there.get(word)]).sort((x, y) => x[0] - y[0]);
  const tails = [], before = new Map();
  for (const pair of both) { // patience: piles by their top card
    let low = 0, high = tails.length;
    while (low < high) { const mid = (low + high) >> 1; if (tails[mid][1] < pair[1]) low = mid + 1; else high = mid; }
    before.set(pair, tails[low - 1]);
    tails[low] = pair;
  }
  const run = [];
  for (let pair = tails.at(-1); pair; pair = before.get(pair)) run.unshift(pair);
  return run;
}

/** The place of the first word where two lists part, or -1 if they are one list. */
export function parting(one, other) {
  const least = Math.min(one.length, other.length);
  for (let i = 0; i < least; i++) if (one[i].word !== other[i].word || one[i].gap !== other[i].gap) return i;
  return one.length === other.length ? -1 : least;
}

/** Two texts as nodes, what the other lacks marked, and whether they are the same. */
export function compared(left, right) {
  const one = words(left), other = words(right), first = parting(one, other);
  const there = matched(one, other), back = turned(there, other.length);
  return { left: drawn(one, other, there, first), right: drawn(other, one, back, first), same: first < 0 };
}

function drawn(list, other, places, first) {
  const nodes = [];
  let lead = first < 0 ? [] : list.slice(0, first), run = [];
  const flush = () => {
    if (!run.length) return;
    const last = run.at(-1).gap;
    const text = run.map((each) => each.word + each.gap).join("").slice(0, last ? -last.length : undefined);
    nodes.push(make("mark", {}, visible(text)), ...visible(last));
    run = [];
  };
  if (lead.length) nodes.push(make("span", { class: "lead" }, visible(lead.map((each) => each.word + each.gap).join(""))));
  for (let i = Math.max(first, 0); i < list.length; i++) {
    if (i === first) nodes.push(here());
    if (places[i] < 0) { run.push(list[i]); continue; }
    flush();
    nodes.push(...visible(list[i].word), ...space(list, other, places, i));
  }
  flush();
  if (first === list.length) nodes.push(here());
  return nodes;
}

const here = () => make("span", { class: "here", role: "img", "aria-label": "first difference", title: "the first difference" });

/** The white space behind a matched word; drawn where it alone differs: what follows is matched too. */
function space(list, other, places, i) {
  const { gap } = list[i], theirs = other[places[i]].gap;
  const last = i + 1 === list.length ? places[i] + 1 === other.length : places[i + 1] === places[i] + 1;
  if (gap === theirs || !last) return visible(gap);
  const drawing = gap.replaceAll(" ", "␣").replaceAll("\n", "⏎\n") || "∅";
  return [make("mark", { class: "space", title: "white space that differs" }, drawing)];
}

/** What became of a text: kept, taken out, put in, in one line of nodes. */
export function changes(before, after) {
  const one = words(before), other = words(after), places = matched(one, other), back = turned(places, other.length);
  const nodes = [];
  const put = (tag, from) => {
    if (from.length) nodes.push(make(tag, {}, visible(from.map((each) => each.word + each.gap).join(""))));
  };
  let i = 0, j = 0;
  while (i < one.length || j < other.length) {
    const [a, c] = [i, j];
    while (i < one.length && places[i] < 0) i++;
    while (j < other.length && j !== (i < one.length ? places[i] : other.length)) j++;
    put("del", one.slice(a, i));
    put("ins", other.slice(c, j));
    if (i < one.length) {
      nodes.push(...visible(other[j].word), ...space(other, one, back, j));
      i++; j++;
    }
  }
  return nodes;
}
