// The keyboard.  One key, one act; nothing while a box is written in, nothing on a held key, nothing
// with Alt or Meta, and with Ctrl only Ctrl z.  Buttons do what their key does.

import { desk, doing } from "./desk.js";
import { button, byId, keycap, make } from "./dom.js";

const BOX = "textarea, input, select, [contenteditable]";

/** The name of a key press as views know it, or "" where it is none of ours. */
export function nameOf(event) {
  if (event.altKey || event.metaKey || event.isComposing || event.getModifierState("AltGraph")) return "";
  const { key } = event;
  if (event.ctrlKey) return !event.shiftKey && key.toLowerCase() === "z" ? "Ctrl+z" : "";
  if (key.startsWith("Arrow")) return event.shiftKey ? `Shift+${key}` : key;
  const digit = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  if (digit && !event.shiftKey && key.length === 1) return digit[1]; // also where digits need Shift
  if (key.length > 1) return key;
  return event.shiftKey ? key.toUpperCase() : key.toLowerCase();
}

function pressed(event) {
  if (event.target.closest?.(BOX) || document.querySelector("dialog[open]")) return;
  const act = doing(nameOf(event));
  const onButton = event.target.closest?.("button, a[href]") && (event.key === "Enter" || event.key === " ");
  if (event.repeat && (act || onButton)) return event.preventDefault();
  if (!act || onButton) return;
  event.preventDefault();
  act();
}

/** A click on a button with a key is that key; a pointer leaves no focus behind on it. */
function clicked(event) {
  const node = event.target.closest?.("button[data-key]");
  if (!node || node.closest("dialog")) return;
  if (event.detail > 0) node.blur();
  if (node.dataset.own === undefined) doing(node.dataset.key)?.();
}

/** Esc leaves a box and Ctrl Enter saves it; `plain`: Enter alone saves as well. */
export function boxKeys(node, { save, leave, plain = false }) {
  node.addEventListener("keydown", (event) => {
    if (event.isComposing || event.repeat) return;
    const saves = event.key === "Enter" && (plain || event.ctrlKey || event.metaKey);
    if (!saves && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    (saves ? save : leave)();
  });
}

export function listen() {
  document.addEventListener("keydown", pressed);
  document.addEventListener("click", clicked);
}

const TOLD = [
  ["Judge", [["ArrowLeft ArrowRight", "left, right is better"], ["Shift+ArrowLeft Shift+ArrowRight", "much better"],
    ["ArrowDown", "about equal"], ["ArrowUp", "both bad, and write a better one"], ["s", "skip; it returns later"],
    ["z Ctrl+z", "undo, as often as you like"]]],
  ["Say why", [["1 … 9", "a reason for the judgement just made; again takes it back"], ["r", "a reason in words"],
    ["E", "edit the better one of the pair just judged"]]],
  ["Look", [["d", "mark the differences"], ["p", "the whole prompt"], ["Space", "scroll"], ["h", "history"], ["c", "so far: figures, export, quit"]]],
  ["Write", [["e", "write the better answer yourself"], ["w", "write a pair of your own"], ["Ctrl+Enter", "save the box"], ["Escape", "leave the box"]]],
];

/** The table of keys, as a dialog. */
export function toggleHelp() {
  const box = byId("keys");
  if (box.open) return box.close();
  const tags = desk.session?.tags ?? [];
  box.replaceChildren(
    make("header", {}, make("h2", { id: "keysTitle" }, "Keys"), button("close", { key: "Escape", act: () => box.close() })),
    make("div", { class: "columns" }, TOLD.map(([title, rows]) => make("section", {}, make("h3", {}, title),
      make("dl", {}, rows.flatMap(([keys, does]) => [
        make("dt", {}, keys.split(" ").flatMap((key) => [key === "…" ? "…" : make("kbd", {}, keycap(key)), " "])),
        make("dd", {}, does)]))))),
    tags.length ? make("p", { class: "note" }, "Reasons: ", tags.slice(0, 9).flatMap((tag, i) => [make("kbd", {}, String(i + 1)), ` ${tag}  `])) : "",
    make("p", { class: "note" }, "No key deletes anything. Verdicts are saved as they are given; an undo is kept as well."));
  box.onkeydown = (event) => { if (event.key === "?") { event.preventDefault(); box.close(); } };
  box.showModal();
  box.focus();
}
