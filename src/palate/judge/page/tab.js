// Which tab this is, to the server, that holds pairs for it.  A tab that is loaded again keeps its
// name, a copy of a tab gets a name of its own, and a new tab takes over that of a closed one, with
// the pairs that were held for it.  A lock tells which names are in use; it ends with its tab.

import { local, newId, tabs } from "./dom.js";

const NAME = "palate.tab", KNOWN = "palate.tabs", MOST = 20, PATIENCE_MS = 300;

/** The name of this tab. */
export async function nameOfTab() {
  const before = tabs.get(NAME);
  const known = (local.get(KNOWN) ?? "").split(" ").filter(Boolean);
  let name = null;
  if (!navigator.locks) name = before;
  else if (before && (await taken(before, PATIENCE_MS))) name = before; // a page that is loaded again may still hold it
  else {
    for (const other of known) {
      if (other !== before && (await taken(other, 0))) { name = other; break; }
    }
  }
  if (!name) {
    name = newId();
    if (navigator.locks) await taken(name, PATIENCE_MS);
  }
  tabs.set(NAME, name);
  local.set(KNOWN, [name, ...known.filter((other) => other !== name)].slice(0, MOST).join(" "));
  return name;
}

/** Whether the name could be had; it is held as long as the page lives. */
function taken(name, wait) {
  const how = wait ? { signal: AbortSignal.timeout(wait) } : { ifAvailable: true };
  return new Promise((done) => {
    navigator.locks.request(`${NAME}.${name}`, how, (lock) => {
      done(lock !== null);
      return lock && new Promise(() => {});
    }).catch(() => done(false));
  });
}
