// What is typed is kept at once in the browser and, half a second later, by the server.

import { local, settled } from "./dom.js";
import { call } from "./send.js";

const HERE = "palate.draft.", WAIT_MS = 500, LATER_MS = 4_000;
const timers = new Map();

/** Keep what is in a box; an empty text drops the draft. */
export function keep(name, text) {
  local.set(HERE + name, text);
  if (!timers.has(name)) timers.set(name, settled(() => put(name), WAIT_MS));
  timers.get(name)();
}

/** Forget a draft, here and there: the text was saved as what it is. */
export function drop(name) {
  timers.get(name)?.stop();
  local.set(HERE + name, "");
  put(name);
}

async function put(name, last = false) {
  const text = local.get(HERE + name) ?? "";
  try {
    await call("PUT", "draft", { key: name, text }, { last });
    if (local.get(HERE + name) === text) local.drop(HERE + name);
  } catch (error) {
    if (!last && (error.status === 0 || error.status === 503)) setTimeout(() => put(name), LATER_MS);
  }
}

/** What was typed: what the browser still holds is newer than what the server has. */
export const typed = (name, theirs) => local.get(HERE + name) ?? theirs ?? "";

/** The draft as the fields that were kept; a plain text is the field `text`. */
export function fields(name, theirs) {
  const text = typed(name, theirs);
  if (!text) return {};
  try {
    const found = JSON.parse(text);
    return found && typeof found === "object" ? found : { text };
  } catch { return { text }; }
}

export const keepFields = (name, values) =>
  keep(name, Object.values(values).some((each) => each?.length) ? JSON.stringify(values) : "");

window.addEventListener("pagehide", () => {
  for (const name of local.names()) if (name.startsWith(HERE)) put(name.slice(HERE.length), true);
});
