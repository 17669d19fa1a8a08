/**
 * A server that answers in place of the device: what may be asked, and that every answer says whose
 * it is.
 */

import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { answered, closeTabs, end, profile, until } from "./tab.mjs";
import { load } from "./support.mjs";

after(end);
afterEach(closeTabs);

const { apiAddress, mayReach } = await load("app/policy.ts");

test("an address as people write it", () => {
  const read = (text) => apiAddress(text)?.href;
  assert.equal(read("localhost:8080"), "http://localhost:8080/v1");
  assert.equal(read("http://127.0.0.1:8080/"), "http://127.0.0.1:8080/v1");
  assert.equal(read("http://[::1]:8080/v1"), "http://localhost:8080/v1", "policies cannot name it");
  assert.equal(read("https://llm.example/api/v1"), "https://llm.example/api/v1");
  for (const wrong of ["", "not an address", "javascript:alert(1)", "file:///etc", "http://", "http://me:secret@localhost/v1", "http://localhost/#v1"]) assert.equal(read(wrong), undefined, wrong);
});

test("what the page's own policy allows", () => {
  const meta = document.createElement("meta");
  meta.httpEquiv = "Content-Security-Policy";
  document.head.append(meta);
  const may = (sources, address) => {
    meta.content = `default-src 'none'; connect-src ${sources}; base-uri 'none'`;
    return mayReach(new URL(address));
  };
  const here = "'self' https://*.hf.co http://localhost:* http://127.0.0.1:*";
  for (const address of ["http://localhost:8080/v1", "https://localhost/v1", "http://127.0.0.1/v1", "https://cdn.hf.co/x", location.origin]) assert.ok(may(here, address), address);
  for (const address of ["https://llm.example/v1", "http://192.168.0.7:8080/v1", "http://localhost.evil.example/v1", "https://hf.co/x", "https://evilhf.co/x", "http://cdn.hf.co/x"]) assert.ok(!may(here, address), address);
  assert.ok(may(`${here} https://llm.example`, "https://llm.example/v1"));
  assert.ok(!may(`${here} https://llm.example`, "https://llm.example:8443/v1"));
  assert.ok(may(`${here} https://llm.example:8443`, "https://llm.example:8443/v1"));
  meta.remove();
  assert.ok(mayReach(new URL("https://llm.example")), "a policy that is nowhere in the document is the browser's to tell");
});

test("the server that was kept last, or none: also where there is no room to keep it, and in every tab", async () => {
  const { isKept, keepServer, keptServer, onServerChange } = await load("app/server.ts");
  const [one, two] = ["one", "two"].map((model) => ({ address: `http://localhost:8080/${model}`, model, apiKey: model }));
  keepServer(one);
  assert.deepEqual(keptServer(), one);
  const { localStorage: real } = globalThis;
  const full = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  const put = (value) => Object.defineProperty(globalThis, "localStorage", { value, configurable: true, writable: true });
  put({ getItem: (key) => real.getItem(key), removeItem: (key) => real.removeItem(key), setItem: full });
  keepServer(two);
  put(real);
  assert.deepEqual(keptServer(), two, "never the one before it");
  assert.ok(isKept({ ...two }) && !isKept(one) && !isKept({ ...two, apiKey: "other" }));
  keepServer(one);
  let changes = 0;
  onServerChange(() => changes++);
  localStorage.removeItem("peregrine.server");
  assert.equal(keptServer(), undefined, "another tab has forgotten it");
  for (const [key, count] of [["peregrine.settings", 0], ["peregrine.server", 1], [null, 2]]) {
    window.dispatchEvent(Object.assign(new window.Event("storage"), { key }));
    assert.equal(changes, count, String(key));
  }
  keepServer(undefined);
  assert.equal(keptServer(), undefined);
});

const SERVER = { where: "server", address: "http://localhost:8080/v1", model: { name: "Big" }, reason: "no-device" };
const lacking = async () => Promise.reject(Object.assign(new Error("no such thing"), { code: "not-supported" }));

/** A tab in which a server answers, as `pieces` say: each a chunk's choice, or an error. */
async function tabWith(pieces, browser = profile()) {
  const tab = await browser.tab();
  const { toy, models } = tab;
  toy.info = SERVER;
  models.where.value = SERVER;
  Object.assign(toy, { saveState: lacking, restoreState: lacking, prefill: lacking, tokenizer: { encode: lacking, countTokens: lacking } });
  toy.chat.completions.create = async ({ messages, truncation }) => {
    toy.asked.push({ messages, truncation });
    return {
      usage: undefined,
      async *[Symbol.asyncIterator]() {
        for (const piece of pieces(messages)) {
          if (piece instanceof Error) throw piece;
          yield { choices: [{ delta: { content: piece.text }, finish_reason: piece.finish ?? null }] };
        }
      },
    };
  };
  return tab;
}
const say = (text, finish) => [{ text }, { text: "", finish: finish ?? "stop" }];
const last = (tab) => tab.talk.branch.value.at(-1);

test("every answer says whose it is, also after a reload, and the kept states of the device stay", async () => {
  const browser = profile();
  const tab = await tabWith(() => say("yes"), browser);
  await tab.sender.send("who?");
  await answered(tab, "who?", "yes");
  assert.equal(last(tab).server, "localhost:8080");
  assert.equal(last(tab).model, "Big");
  assert.equal(last(tab).ending, undefined);
  const chat = tab.talk.chat.value;
  await tab.db.states.put({ id: chat, state: new Blob(["kept"]), updated: 1 });
  await tab.sender.send("and?");
  await answered(tab, "who?", "yes", "and?", "yes");
  assert.equal(await tab.db.states.count(), 1, "a server is no reason to forget what the device had read");
  const again = await browser.tab(tab);
  again.talk.begin();
  await answered(again, "who?", "yes", "and?", "yes");
  assert.equal(last(again).server, "localhost:8080");
  // The device answers again: its answers are its own.
  await again.sender.send("here?");
  await answered(again, "who?", "yes", "and?", "yes", "here?", "yes");
  assert.equal(last(again).server, undefined);
  assert.equal(last(again).model, "toy");
});

test("a server that takes over before the first word: the answer is its own", async () => {
  const tab = await profile().tab();
  const { create } = tab.toy.chat.completions;
  tab.toy.chat.completions.create = async (...asked) => {
    tab.toy.info = SERVER;
    return create(...asked);
  };
  await tab.sender.send("who?");
  await answered(tab, "who?", "yes");
  assert.deepEqual([last(tab).server, last(tab).model], ["localhost:8080", "Big"]);
});

test("cut at the longest answer, without counts; gone on with in words", async () => {
  const tab = await tabWith((messages) => (messages.length > 1 ? say(" and more") : say("half", "length")));
  await tab.sender.send("who?");
  await answered(tab, "who?", "half");
  assert.equal(last(tab).ending, "length");
  await tab.talk.continue(last(tab).id);
  await answered(tab, "who?", "half and more");
  assert.deepEqual(tab.toy.asked.at(-1).messages.map(({ role }) => role), ["user", "assistant", "user"]);
  assert.equal(last(tab).server, "localhost:8080");
});

test("the oldest messages are left out for servers that do not do it themselves, and only where the person wants it", async () => {
  const tab = await tabWith((messages) => (messages.length > 2 ? [new tab.PeregrineError("context-full", "too long")] : say("yes")));
  tab.settings.value = { ...tab.settings.value, instructions: "Be kind." };
  await tab.sender.send("one");
  await answered(tab, "one", "yes");
  await tab.sender.send("two");
  await until(() => tab.talk.fault.value);
  assert.equal(tab.talk.fault.value.title, "The conversation is longer than the model can remember.");
  assert.deepEqual(tab.said(), ["one", "yes", "two"]);
  tab.talk.fault.value.ways[0].go();
  await answered(tab, "one", "yes", "two", "yes");
  assert.deepEqual(tab.toy.asked.at(-1), { messages: [{ role: "system", content: "Be kind." }, { role: "user", content: "two" }], truncation: "disabled" });
  assert.equal(last(tab).ending, undefined);
});

test("the mark of a server goes along in a file", async () => {
  const { fileOf, readFile } = await load("store/exchange.ts");
  const messages = [{ id: "q", chat: "x", parent: null, role: "user", content: "who?", created: 1 }, { id: "a", chat: "x", parent: "q", role: "assistant", content: "I", created: 2, server: "llm.example" }];
  const [read] = readFile(fileOf([{ chat: { id: "x", title: "", created: 1, updated: 2, head: "a" }, messages }]));
  assert.equal(read.messages[1].server, "llm.example");
});
