// So far: what the verdicts amount to, in words, then drawn, then as figures.  From here the pairs
// are taken home.

import { desk, go, place, tell } from "./desk.js";
import { announce, button, byId, make, percent, plural } from "./dom.js";
import { toggleHelp } from "./keys.js";
import { editLast, undo } from "./pair.js";
import * as why from "./why.js";
import { call, drained, file, unsaved, waiting } from "./send.js";

async function load(ended) {
  const words = byId("cardWords");
  try {
    await drained();
    draw(await call("GET", "stats"), ended);
  } catch {
    words.textContent = "The figures wait for the server, which does not answer.";
    byId("cardNote").textContent = waiting().length ? `${plural(unsaved().length, "judgement")} are kept in this browser and sent when it is back.` : "";
  }
  if (!document.activeElement?.closest("#why")) words.focus();
}

function build() {
  byId("card").replaceChildren(
    make("p", { class: "note", id: "cardNote", role: "status" }),
    make("h2", { class: "verdict", id: "cardWords", tabindex: -1 }, "Adding up."),
    make("div", { id: "cardBody" }),
    make("p", { class: "row" }, button("save the pairs", { key: "x", kind: "main" }), button("held-out pairs", { act: () => save("heldout") }),
      button("back to judging", { key: "Escape" }), button("history", { key: "h" }), button("quit", { act: quit })));
}

function draw(found, ended) {
  const [first, ...rest] = found.sentences ?? [];
  byId("cardNote").textContent = ended ? "Nothing is left to judge here." : "So far";
  byId("cardWords").textContent = first ?? "Nothing is judged yet.";
  byId("cardBody").replaceChildren(
    figures(found),
    make("div", { class: "bench" },
      make("div", { class: "say" }, rest.map((sentence) => make("p", { class: "words" }, sentence))),
      make("aside", {}, [intervals(found), reasons(found), needed(found)])));
}

function figures(found) {
  const shown = [["pairs", found.pairs], ["judgements", found.judgements], ["minutes", found.minutes && found.minutes < 1 ? "<1" : Math.round(found.minutes)], ["ties", found.ties], ["both bad", found.both_bad]];
  return make("dl", { class: "figures" }, shown.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, (value ?? 0).toLocaleString("en")))));
}

/** Two shares on one scale from 0 to 100%, each with its interval. */
function intervals({ agreement, left }) {
  const rows = [["you agree with yourself", agreement], ["the left one won", left]].filter(([, rate]) => rate);
  if (!rows.length) return null;
  const x = (share) => 4 + 256 * share, high = 50;
  const drawing = make("svg:svg", { viewBox: `0 0 264 ${rows.length * high + 20}`, class: "intervals", role: "img",
    "aria-label": rows.map(([name, rate]) => `${name}: ${band(rate)}`).join("; ") });
  drawing.append(make("svg:path", { d: `M${x(0.5)} 4V${rows.length * high}`, class: "half" }));
  rows.forEach(([name, rate], place) => {
    const y = place * high + 32;
    drawing.append(make("svg:text", { x: x(0), y: y - 18 }, name), make("svg:text", { x: x(1), y: y - 18, "text-anchor": "end", class: "mono" }, percent(rate.value)),
      make("svg:path", { d: `M${x(0)} ${y}H${x(1)}`, class: "axis" }),
      make("svg:rect", { x: x(rate.low), y: y - 5, width: Math.max(1, x(rate.high) - x(rate.low)), height: 10, rx: 2, class: "band" }),
      make("svg:circle", { cx: x(rate.value), cy: y, r: 4, class: "point" }));
  });
  const foot = rows.length * high + 14;
  drawing.append(make("svg:text", { x: x(0), y: foot, class: "mono" }, "0"), make("svg:text", { x: x(0.5), y: foot, "text-anchor": "middle", class: "mono" }, "50%"),
    make("svg:text", { x: x(1), y: foot, "text-anchor": "end", class: "mono" }, "100%"));
  return make("div", { class: "cardbox" }, make("h3", {}, "How sure, how one-sided"), drawing, make("p", { class: "note" }, rows.map(([name, rate]) => `${name}: ${band(rate)}, of ${rate.n}`).join("; "), "."));
}

const band = (rate) => `${percent(rate.value)} (${percent(rate.low)} to ${percent(rate.high)})`;

function reasons(found) {
  const list = Object.entries(found.reasons ?? {}).sort((a, b) => b[1] - a[1]);
  if (!list.length) return null;
  const most = list[0][1];
  return make("div", { class: "cardbox" }, make("h3", {}, "Why"), make("ul", { class: "bars" }, list.slice(0, 12).map(([tag, count]) => {
    const bar = make("span", { class: "bar" });
    bar.style.setProperty("--part", count / most);
    return make("li", {}, make("span", { class: "name" }, tag), bar, make("span", { class: "mono" }, String(count)));
  })));
}

function needed(found) {
  if (!found.needed?.length) return null;
  const have = found.heldout;
  return make("div", { class: "cardbox" }, make("h3", {}, "Enough to tell?"),
    make("table", {}, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "a win by"), make("th", { scope: "col" }, "held-out pairs"), have === undefined ? null : make("th", { scope: "col" }, ""))),
      make("tbody", {}, found.needed.map(({ gain, pairs }) => make("tr", {}, make("th", { scope: "row" }, `${gain} points`), make("td", {}, pairs.toLocaleString("en")),
        have === undefined ? null : make("td", {}, have >= pairs ? "✓ enough" : `${(pairs - have).toLocaleString("en")} more`))))),
    have === undefined ? null : make("p", { class: "note" }, `You have ${plural(have, "held-out pair")}.`));
}

/** The pairs as a file.  The token goes in a header, never in the address. */
async function save(split) {
  try {
    await drained();
    const blob = await file(`export.jsonl?${new URLSearchParams({ split, include: "" })}`);
    const url = URL.createObjectURL(blob), name = (desk.session.title || "judged").replace(/\.[a-z]+$/i, "").replace(/[^\p{L}\p{N}_-]+/gu, "-");
    make("a", { href: url, download: `${name}-${split === "train" ? "pairs" : split}.jsonl` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    const lines = blob.size ? (await blob.text()).trim().split("\n").filter(Boolean).length : 0;
    note(lines ? `${plural(lines, "pair")} saved to your downloads.` : "There is no pair to save yet.");
  } catch {
    note("The pairs could not be fetched: the server does not answer, or something is still on its way to it.");
  }
}

function note(words) {
  byId("cardNote").textContent = words;
  announce(words);
}

async function quit() {
  if (waiting().length) return note(`${plural(unsaved().length, "judgement")} are not saved yet. Quit once they are.`);
  try {
    await call("POST", "quit", {});
    tell("All is saved, and the server has ended.", "This tab may be closed. To go on, run palate judge again.");
  } catch {
    note("The server does not answer; it may have ended already.");
  }
}

place("card", {
  why: (ended) => ended && why.last() !== null,
  enter(ended = false) {
    if (!byId("cardWords")) build();
    load(ended);
  },
  keys: {
    x: () => save("train"), Escape: () => go("judging"), c: () => go("judging"), h: () => go("history"), w: () => go("writing"),
    z: undo, "Ctrl+z": undo, "?": toggleHelp, E: editLast, ...why.KEYS,
  },
});
