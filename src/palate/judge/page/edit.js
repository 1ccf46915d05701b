// The better answer, written by the person: it starts from one of the two, and what was changed is
// shown while it changes.  The text as it was is no answer.

import { changes } from "./diff.js";
import { desk, go, place } from "./desk.js";
import * as drafts from "./drafts.js";
import { announce, button, byId, make, newId, settled } from "./dom.js";
import { boxKeys } from "./keys.js";
import { edited } from "./pair.js";
import { visible } from "./signs.js";

const DRAW_MS = 60;
const state = { item: null, side: "left", tags: new Set(), from: 0 };

/** A labelled box that grows with its text. */
export function box(id, label, { rows = 3, hint = "", keys }) {
  const area = make("textarea", { id, rows, dir: "auto", spellcheck: "true", autocomplete: "off", "aria-describedby": hint ? `${id}Hint` : null });
  boxKeys(area, keys);
  return { area, node: make("div", { class: "field" }, make("label", { for: id }, label), hint ? make("p", { class: "note", id: `${id}Hint` }, hint) : null, area) };
}

/** Tags as buttons that stay pressed. */
export function tagButtons(chosen, changed) {
  return make("div", { class: "tagrow", role: "group", "aria-label": "Reason tags" }, desk.session.tags.map((tag) => {
    const node = button(tag, { "aria-pressed": String(chosen.has(tag)) });
    node.addEventListener("click", () => {
      if (!chosen.delete(tag)) chosen.add(tag);
      node.setAttribute("aria-pressed", String(chosen.has(tag)));
      changed();
    });
    return node;
  }));
}

function build() {
  const { item, side } = state, keys = { save, leave };
  const words = box("betterText", "Yours", { rows: 8, keys });
  const reason = make("input", { id: "betterReason", type: "text", maxlength: 2000, autocomplete: "off", dir: "auto",
    "aria-label": "Why it is better", placeholder: desk.session.why ? "why it is better (needed)" : "why it is better" });
  boxKeys(reason, keys);
  const other = side === "left" ? item.right : item.left;
  byId("editing").replaceChildren(
    make("h2", { class: "title" }, "Write the better answer"),
    make("div", { class: "prompt", dir: "auto" }, visible(item.prompt)),
    make("div", { class: "pairbox" },
      make("div", { class: "answer" }, words.node),
      make("article", { class: "answer", "aria-label": "What you changed" }, make("h2", {}, "What you changed"), make("div", { class: "text", id: "changed", dir: "auto" }))),
    make("div", { class: "foot" }, tagButtons(state.tags, changed), reason),
    make("p", { class: "note", id: "editNote", role: "status" }),
    make("p", { class: "row" }, button("save", { key: "Ctrl+Enter", kind: "main", id: "editSave", act: save }), button("leave, keep the draft", { key: "Escape", act: leave })),
    make("details", {}, make("summary", {}, "the other answer"), make("div", { class: "text other", dir: "auto" }, visible(other))));
  for (const node of [words.area, reason]) node.addEventListener("input", changed);
  return words.area;
}

const parent = () => state.item[state.side];
const draw = settled(() => {
  const text = byId("betterText").value, same = text.trim() === parent().trim(), needed = desk.session.why && !state.tags.size && !byId("betterReason").value.trim();
  byId("changed").replaceChildren(...(same ? visible(text) : changes(parent(), text)));
  byId("editSave").disabled = same || !text.trim() || needed;
  byId("editNote").textContent = same ? "Nothing is changed yet." : !text.trim() ? "An empty text is no answer."
    : needed ? "Say why yours is better: a tag, or words." : "";
}, DRAW_MS);

function changed() {
  keep("1");
  draw();
}

/** `open`: whether a reload should come back to the box. */
function keep(open) {
  const text = byId("betterText").value, values = text === parent() ? {} : {
    side: state.side, text, reason: byId("betterReason").value, tags: [...state.tags], open,
  };
  drafts.keepFields(state.item.presentation, values);
  state.item.draft = Object.keys(values).length ? JSON.stringify(values) : "";
}

function save() {
  draw.now();
  if (byId("editSave").disabled) return announce(byId("editNote").textContent);
  const { item, side } = state;
  const body = {
    id: newId(), presentation: item.presentation, side, text: byId("betterText").value, tags: [...state.tags],
    reason: byId("betterReason").value.trim(), ms: Math.round(performance.now() - state.from),
  };
  draw.stop();
  item.draft = "";
  drafts.drop(item.presentation);
  edited(item, body);
}

function leave() {
  draw.stop();
  keep("");
  go("judging");
}

place("editing", {
  enter({ item, side, text, reason = "", tags = [] }) {
    Object.assign(state, { item, side, tags: new Set(tags), from: performance.now() });
    const kept = text === undefined ? drafts.fields(item.presentation, item.draft) : { text, reason };
    const usable = kept.text && (kept.side ?? side) === side;
    const area = build();
    area.value = usable ? kept.text : item[side];
    byId("betterReason").value = usable ? kept.reason ?? "" : "";
    draw();
    draw.now();
    window.scrollTo(0, 0);
    area.focus();
    area.setSelectionRange(0, 0);
  },
  keys: { Escape: leave },
});
