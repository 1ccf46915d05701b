// The judging page: it comes in with a token, asks who is judging what, and opens the first view.

import "./card.js";
import "./edit.js";
import "./history.js";
import { desk, go, tell } from "./desk.js";
import { button, byId } from "./dom.js";
import { listen } from "./keys.js";
import { acknowledged, beTab, fill, onNoToken, refusedHere, standing, undo } from "./pair.js";
import { call, hear, hold, holdsToken, lost, pump, retry, wake } from "./send.js";
import { nameOfTab } from "./tab.js";
import { adopt, drawTop, drawUnsent, openLost, refused } from "./top.js";
import { buildWhy, restoreReason } from "./why.js";
import { onUndo } from "./write.js";

let code = null; // until it was traded for the token

/** The token comes in the fragment, which is never sent, and leaves the address bar at once. */
async function enter() {
  const given = new URLSearchParams(location.hash.slice(1)), token = given.get("t");
  code = given.get("c") ?? code;
  if (token || given.get("c")) history.replaceState(null, "", location.pathname);
  if (token) hold(token);
  if (!code) return;
  try {
    hold((await call("POST", "open", { code })).token);
    code = null;
  } catch (error) {
    if (error.status) code = null; // used already, or too old
    if (!holdsToken()) throw error;
  }
}

function noToken() {
  tell("This page needs the link that the terminal printed.",
    "Open that link again: it holds the key to this store. What you judged and could not send is kept in this browser and sent then.");
}

function noServer(error) {
  const locked = error.status === 503;
  tell(locked ? "The store is locked by another program." : "The server does not answer.",
    locked ? "Close what else has it open. This page tries again by itself." : "Start it again with palate judge. This page tries again by itself; what you judged is kept in this browser.",
    button("try now", { act: start }));
  later = setTimeout(start, 3_000);
}

let starting = false, begun = false, later = 0;

async function start() {
  if (starting) return;
  starting = true;
  clearTimeout(later);
  try {
    await enter();
    if (!holdsToken()) return noToken();
    const [session, tab] = await Promise.all([call("GET", "session"), begun || nameOfTab()]);
    desk.session = session;
    if (!begun) beTab(tab);
  } catch (error) {
    return error.status === 401 || error.status === 403 ? noToken() : noServer(error);
  } finally {
    starting = false;
  }
  begin();
}

function begin() {
  drawTop();
  if (!begun) {
    begun = true;
    buildWhy(standing);
    wake();
    retry(lost().filter((entry) => entry.refused?.status === 404));
  } else pump();
  adopt(desk.session);
  if (desk.session.mode === "write") go("writing");
  else go("judging");
  restoreReason();
}

hear({
  saved(entry, reply) {
    acknowledged(entry);
    adopt(reply);
    if (desk.view === "judging") fill();
  },
  refused(entry) {
    refusedHere(entry);
    refused(entry);
  },
  changed: drawUnsent,
  token: noToken,
});
onNoToken(noToken);
onUndo(undo);
byId("unsent").addEventListener("click", openLost);
window.addEventListener("hashchange", () => { if (/[#&][tc]=/.test(location.hash)) start(); });
listen();
start();
