// The way to the server.  A verdict waits in memory and in localStorage until the server has
// answered that it is on the disk; then, and only then, it is forgotten here.  Whatever is sent
// twice is there once, by its id, so every tab may send what any tab left behind.

import { announce, local, tabs } from "./dom.js";

const WAITS = "palate.unsent.", LOST = "palate.refused.", TOKEN = "palate.token";
const ORPHAN_MS = 5_000, LONGEST_MS = 8_000, PATIENCE_MS = 10_000;

/** A reply that is no 2xx; status 0 where there was no reply. */
export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

let token = tabs.get(TOKEN);
export const holdsToken = () => Boolean(token);
export function hold(given) {
  token = given;
  tabs.set(TOKEN, given);
}

/** One call.  Raises Refused. */
export async function call(method, path, body, { wait = PATIENCE_MS, last = false } = {}) {
  const reply = await asked(method, path, body, wait, last);
  let told = null;
  try { told = await reply.json(); } catch { /* told nothing */ }
  if (!reply.ok || told === null) {
    const words = [told?.error, told?.detail].find((each) => typeof each === "string");
    throw new Refused(reply.ok ? 0 : reply.status, words ?? "");
  }
  return told;
}

async function asked(method, path, body, wait, last) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(`/api/1/${path}`, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), keepalive: last,
      cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(wait),
    });
  } catch {
    throw new Refused(0, "the server does not answer");
  }
}

/** A file of the server's as a blob: the token stays out of the address. */
export async function file(path) {
  const reply = await asked("GET", path, undefined, 60_000, false);
  if (!reply.ok) throw new Refused(reply.status, "");
  return reply.blob();
}

// ---- what waits

const ours = new Map(); // id -> entry of this tab, also where storage is full
const heard = { saved: () => {}, refused: () => {}, changed: () => {}, token: () => {} };
let sending = false, failures = 0, timer = 0, latest = 0, down = "";

/** Who is told: saved(entry, reply), refused(entry, error), changed(count, down). */
export const hear = (who) => Object.assign(heard, who);

/** Everything that is not on the server's disk yet, in the order in which it was done. */
export function waiting() {
  const all = new Map(stored(WAITS).map((entry) => [entry.body.id, entry]));
  for (const [id, entry] of ours) all.set(id, entry);
  return [...all.values()].sort((one, other) => one.at - other.at);
}

function stored(prefix) {
  return local.names().filter((name) => name.startsWith(prefix)).flatMap((name) => {
    try {
      const entry = JSON.parse(local.get(name));
      return entry && typeof entry.path === "string" && entry.body?.id ? [entry] : [];
    } catch { return []; }
  });
}

/** Keep `body` until POST `path` has saved it.  `says`: what it is, for the list of what was lost. */
export function send(path, body, says) {
  latest = Math.max(Date.now(), latest + 1);
  const entry = { path, body, says, at: latest };
  ours.set(body.id, entry);
  local.set(WAITS + body.id, JSON.stringify(entry));
  changed();
  pump();
}

/** Resolves once nothing waits any more, or rejects once the server is seen to be away. */
export function drained() {
  return new Promise((done, fail) => {
    const look = () => {
      if (!waiting().length) done();
      else if (down) fail(new Refused(0, "the server does not answer"));
      else setTimeout(look, 15);
    };
    look();
  });
}

/** Send what waits, one after the other: a later verdict may stand on an earlier one. */
export async function pump() {
  if (sending) return;
  sending = true;
  clearTimeout(timer);
  try {
    for (let entry = next(); entry; entry = next()) {
      if (!(await attempt(entry))) return;
    }
  } finally {
    sending = false;
  }
}

/** The oldest of ours, or what another tab left long ago. */
function next() {
  const now = Date.now();
  return waiting().find((entry) => ours.has(entry.body.id) || Math.abs(now - entry.at) > ORPHAN_MS);
}

async function attempt(entry) {
  try {
    const reply = await call("POST", entry.path, entry.body);
    if (reply.saved !== true) throw new Refused(0, "");
    forget(entry);
    recovered();
    heard.saved(entry, reply);
    changed();
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return failed(entry, error);
  }
}

function forget(entry) {
  ours.delete(entry.body.id);
  local.drop(WAITS + entry.body.id);
}

/** A refusal for good is told and kept; anything else is tried again. */
function failed(entry, error) {
  if (error.status === 401) { heard.token(); return false; }
  if ([400, 404, 409, 413, 415, 422].includes(error.status)) {
    forget(entry);
    entry.refused = { status: error.status, words: error.message };
    local.set(LOST + entry.body.id, JSON.stringify(entry));
    recovered();
    heard.refused(entry, error);
    changed();
    return true;
  }
  failures += 1;
  down = { 503: "the store is locked", 507: "the disk is full" }[error.status] ?? "the server is away";
  if (failures === 1) announce(`Not saved: ${down}. What you judge is kept here and sent later.`);
  again();
  changed();
  return false;
}

function recovered() {
  if (down) announce("Saving works again.");
  [failures, down] = [0, ""];
}

/** Half a second, one, two, four, eight. */
function again() {
  clearTimeout(timer);
  timer = setTimeout(pump, Math.min(500 * 2 ** (failures - 1), LONGEST_MS));
}

const changed = () => heard.changed(unsaved().length, down);

/** Each pair once: a reason that came after its verdict is no second judgement. */
const once = (entries) => [...new Map(entries.map((entry) => [entry.body.presentation ?? entry.body.id, entry])).values()];
export const unsaved = () => once(waiting());

// ---- what was refused

export const lost = () => stored(LOST).sort((one, other) => one.at - other.at);
export const unsavable = () => once(lost());

export function dismiss() {
  lost().forEach((entry) => local.drop(LOST + entry.body.id));
  changed();
}

/** Try what was refused once more: another store may have stood at this address. */
export function retry(entries) {
  for (const entry of entries) {
    local.drop(LOST + entry.body.id);
    send(entry.path, entry.body, entry.says);
  }
}

/** Take over what a closed tab left, and try again whenever there may be an answer. */
export function wake() {
  for (const entry of stored(WAITS)) {
    ours.set(entry.body.id, entry);
    latest = Math.max(latest, entry.at);
  }
  window.addEventListener("online", pump);
  window.addEventListener("storage", changed);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) pump(); });
  setInterval(() => { if (!failures && waiting().length) pump(); }, ORPHAN_MS);
  changed();
  pump();
}
