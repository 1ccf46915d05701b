// What the page is drawn with.  What a person or a model wrote becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** make("p", {class: "note"}, "text", node): an element; "svg:path" makes one of a drawing. */
export function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:")
    ? document.createElementNS(SVG, tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** A real button; `key` is printed on it, and is what a click does unless it has an `act` of its own. */
export function button(words, { key = null, act = null, kind = null, ...rest } = {}) {
  const node = make("button", { type: "button", class: kind, "data-key": key, "data-own": act && key ? "" : null, ...rest },
    key ? make("kbd", {}, keycap(key)) : null, key ? ` ${words}` : words);
  if (act) node.addEventListener("click", act);
  return node;
}

const CAPS = {
  ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", Enter: "Enter",
  "Shift+ArrowLeft": "⇧←", "Shift+ArrowRight": "⇧→", "Ctrl+Enter": "Ctrl Enter", "Ctrl+z": "Ctrl z", E: "⇧e",
};

/** A key as it is printed. */
export const keycap = (key) => CAPS[key] ?? key;

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
export const percent = (share) => `${Math.round(100 * share)}%`;

/** A new random id.  `crypto.randomUUID` is missing where a page is not on loopback. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Words for a screen reader.  The same words twice are said twice. */
export function announce(words) {
  const live = byId("live");
  live.textContent = live.textContent === words ? `${words}\u00a0` : words;
}

/** Call `act` once nothing has happened for `wait` milliseconds; `.now()` does not wait. */
export function settled(act, wait) {
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(later.now, wait);
  };
  later.now = () => {
    if (timer) { clearTimeout(timer); timer = 0; act(); }
  };
  later.stop = () => { clearTimeout(timer); timer = 0; };
  return later;
}

/** Where a thing is kept in the browser; a full or forbidden storage keeps nothing. */
export const kept = (storage) => ({
  get(name) { try { return storage().getItem(name); } catch { return null; } },
  set(name, text) { try { storage().setItem(name, text); return true; } catch { return false; } },
  drop(name) { try { storage().removeItem(name); } catch { /* nothing was kept */ } },
  names() { try { return Object.keys(storage()); } catch { return []; } },
});
export const local = kept(() => window.localStorage);
export const tabs = kept(() => window.sessionStorage);
