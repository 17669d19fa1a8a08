/**
 * Tabs of the page without anything that is drawn, and an engine that answers when a test says so.
 */

import { signal } from "@preact/signals";
import Dexie from "dexie";
import { IDBFactory, IDBKeyRange } from "fake-indexeddb";
import { fileURLToPath } from "node:url";
import { createServer, createServerModuleRunner } from "vite";
import { browser } from "./support.mjs";

const window = browser();
for (const name of ["location", "history", "localStorage"]) globalThis[name] = window[name];
globalThis.addEventListener = window.addEventListener.bind(window);
globalThis.removeEventListener = window.removeEventListener.bind(window);
let session = window.sessionStorage;
Object.defineProperty(globalThis, "sessionStorage", { get: () => session, configurable: true });
/** Locks as a browser has them; a test may put others there. */
export const platform = { locks: undefined };
Object.defineProperty(globalThis, "navigator", { value: platform, configurable: true });

const PARTS = fileURLToPath(new URL("parts.ts", import.meta.url));
const server = await createServer({ configFile: false, logLevel: "silent", server: { middlewareMode: true, hmr: false, ws: false, watch: null }, appType: "custom", optimizeDeps: { noDiscovery: true } });
/** What ends each tab. */
const ends = [];
/** Closes all tabs. */
export async function closeTabs() {
  for (const end of ends.splice(0)) await end();
}
/** Ends what was begun. */
export const end = () => server.close();

/** A storage of one tab. */
function storage() {
  const map = new Map();
  return { getItem: (key) => map.get(key) ?? null, setItem: (key, value) => void map.set(key, String(value)), removeItem: (key) => void map.delete(key) };
}

/** Waits for a state. */
export async function until(state, what = "it never came") {
  for (let i = 0; i < 30_000; i++) {
    const found = await state();
    if (found) return found;
    await new Promise((go) => setTimeout(go, 1));
  }
  throw new Error(what);
}

/**
 * Answers "yes" at once; a question with [held] when `release` is called, or with nothing where it
 * is stopped before.
 */
export function engine() {
  const asked = [];
  const held = [];
  const create = async ({ messages }, { signal: stopped }) => {
    asked.push(messages);
    const stream = { usage: undefined };
    stream[Symbol.asyncIterator] = async function* () {
      if (messages.at(-1).content.includes("[held]")) await new Promise((go) => held.push(go));
      if (stopped.aborted) throw Object.assign(new Error("stopped"), { name: "AbortError" });
      yield { choices: [{ delta: { content: "yes" }, finish_reason: null }] };
    };
    return stream;
  };
  return {
    asked,
    held,
    release: () => held.splice(0).forEach((go) => go()),
    info: { model: { name: "toy", contextLength: 4096 } },
    // It writes conversations in a way of its own: they are read with the answer.
    tokenizer: { countTokens: async (text) => text.split(/\s+/).length, encode: async (text) => text.split(/\s+/).map((_, i) => i) },
    prefill: async () => ({ prompt_tokens: -1 }),
    chat: { completions: { create } },
    saveState: async () => new Blob(["state"]),
    restoreState: async () => undefined,
  };
}

/** A browser's profile, empty. */
export function profile() {
  window.localStorage.clear();
  window.history.replaceState(null, "", "/");
  const indexedDB = new IDBFactory();
  /** A tab at the address that is there; `of`: the tab that is loaded anew. */
  const tab = async (of) => {
    const own = (session = of?.session ?? storage());
    const runner = createServerModuleRunner(server.environments.ssr, { hmr: false });
    const parts = await runner.import(PARTS);
    Object.assign(Dexie.dependencies, { indexedDB, IDBKeyRange });
    const db = new parts.Database({ indexedDB, IDBKeyRange });
    await db.open();
    // What is told stays until the test has seen it, however long it takes; held only after it was
    // told, which lets go of what is held.
    parts.notice.subscribe((shown) => shown && queueMicrotask(() => parts.holdNotice(true)));
    ends.push(async () => {
      db.close();
      await runner.close();
    });
    const locks = new parts.Locks();
    const store = new parts.Store(db, locks);
    const toy = engine();
    const models = { engine: signal(toy), where: signal(toy.info), longerContext: () => undefined };
    const settings = signal({ instructions: "", whenFull: "stop", maxTokens: 64 });
    const talk = new parts.Talk({ store: Promise.resolve(store), locks, models, settings });
    const choosing = new parts.Choosing(models, settings);
    const documents = new parts.Documents(Promise.resolve(db), talk, choosing);
    const sent = new parts.Sent(Promise.resolve(db), talk, choosing, documents);
    const sender = new parts.Sender(talk, documents);
    const said = () => talk.branch.value.map(({ content }) => content);
    const here = () => (session = own);
    return { ...parts, ...parts.local, session: own, here, db, store, models, toy, settings, talk, documents, sent, sender, said };
  };
  return { tab };
}

/** A store that takes nothing, until it is told to. */
export function refuse(store, ...names) {
  for (const name of names) store[name] = async () => Promise.reject(new DOMException("no room", "QuotaExceededError"));
  return () => names.forEach((name) => delete store[name]);
}

/** Waits until these are what is said, and nothing more comes. */
export const answered = (tab, ...said) => until(() => !tab.talk.writing.value && tab.said().join("|") === said.join("|"), `${said} never came`);
/** Names of the documents beside the box. */
export const pendingOf = (tab) => tab.documents.pending.value.map(({ name }) => name);
/** Waits until these documents are read. */
export const ready = (tab, ...names) => until(() => pendingOf(tab).join() === names.join() && tab.documents.pending.value.every(({ kept }) => kept), `${names} never came`);
/** A document. */
export const text = (name, content = "The heron stands in the reeds.") => new File([content], name, { type: "text/plain" });
