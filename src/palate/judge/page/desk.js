// What all parts of the page share: the session, the views and which of them is open.

import { byId } from "./dom.js";

/** `session` is the server's reply; `items[0]` is on the screen, the rest is fetched ahead. */
export const desk = { session: null, view: "", items: [], differences: false };

export const VERDICTS = {
  left: "Left is better", left2: "Left is much better", right: "Right is better",
  right2: "Right is much better", tie: "About equal", both_bad: "Both bad", skip: "Skipped",
};

/** A verdict in words; on a narrow screen left stands above. */
export function said(verdict, strength = 1) {
  const words = VERDICTS[strength === 2 ? `${verdict}2` : verdict];
  const narrow = window.matchMedia("(max-width: 720px)").matches;
  return narrow ? words.replace("Left", "Upper").replace("Right", "Lower") : words;
}

const views = new Map();

/** A view: `enter(...)` draws it, `keys` are what it does, `leave` tidies up; `why(...)`: whether the
 *  last judgement's reason can still be told there. */
export const place = (name, view) => views.set(name, view);

/** Leave the open view and enter another. */
export function go(name, ...given) {
  views.get(desk.view)?.leave?.();
  desk.view = name;
  for (const id of ["judging", "editing", "writing", "history", "card", "message"]) byId(id).hidden = id !== name;
  byId("dock").hidden = name !== "judging" && !views.get(name).why?.(...given);
  const at = document.activeElement; // a box that is hidden would swallow keys until the next frame
  if (at && (byId("dock").hidden || !at.closest("#dock"))) at.blur();
  document.body.dataset.view = name;
  views.get(name).enter(...given);
}

/** What a key does in the open view, if anything. */
export const doing = (key) => views.get(desk.view)?.keys?.[key];

/** A calm sentence on an empty page: what is the case, and what to do. */
export const tell = (words, more = "", ...acts) => go("message", words, more, acts);

place("message", {
  enter(words, more, acts) {
    byId("messageWords").textContent = words;
    byId("messageMore").replaceChildren(...[more].flat());
    byId("messageActs").replaceChildren(...acts);
    byId("messageWords").focus();
  },
  keys: {},
});
