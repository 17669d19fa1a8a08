/**
 * The store of conversations: the move from version 1, merging of files, and random actions in two
 * tabs that lose nothing.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { IDBFactory, IDBKeyRange } from "fake-indexeddb";
import { runnerImport } from "vite";

const load = async (path) => (await runnerImport(fileURLToPath(new URL(`../src/store/${path}`, import.meta.url)), { logLevel: "silent" })).module;
const { Database } = await load("database.ts");
const { Store } = await load("store.ts");
const { Tree } = await load("tree.ts");
const { fileOf, readFile } = await load("exchange.ts");
const { keepSources } = await load("sources.ts");
const { adaptersOf, forgetAdapter, forgetAdaptersOf, keepAdapter } = await load("adapters.ts");

let clock = 1000;
const now = () => ++clock;

/** A profile of a browser, and tabs of it. */
function profile() {
  const indexedDB = new IDBFactory();
  const writing = new Set();
  const tab = async () => {
    const db = new Database({ indexedDB, IDBKeyRange });
    await db.open();
    const store = new Store(db, { isAlive: async (id) => writing.has(id) }, now);
    await store.recover();
    return store;
  };
  return { indexedDB, writing, tab };
}

const done = (request) => new Promise((resolve, reject) => ((request.onsuccess = () => resolve(request.result)), (request.onerror = () => reject(request.error))));

/** A profile as version 1 of the page has left it. */
async function firstVersion(indexedDB, chats, states) {
  const opening = indexedDB.open("peregrine", 1);
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore("chats", { keyPath: "id" });
    opening.result.createObjectStore("states", { keyPath: "id" }).createIndex("updated", "updated");
  };
  const db = await done(opening);
  const transaction = db.transaction(["chats", "states"], "readwrite");
  for (const chat of chats) transaction.objectStore("chats").put(chat);
  for (const state of states) transaction.objectStore("states").put(state);
  await new Promise((resolve) => (transaction.oncomplete = resolve));
  db.close();
}

const said = (...turns) => turns.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));
const branchOf = ({ chat, messages }) => new Tree(messages).branch(chat.head, chat.head).map(({ content }) => content);

test("an old profile is moved: chats, their order, small print, instructions, states", async () => {
  const { indexedDB, tab } = profile();
  const messages = said("Hi", "Hello!", "And?", "Nothing.");
  messages[1].facts = "3 tokens";
  const chats = [
    { id: "a", title: "Mine", created: 5, updated: 9, messages },
    { id: "b", title: "With instructions", created: 6, updated: 7, messages: [{ role: "system", content: "Be brief." }, ...said("Why?", "So.")] },
    { id: "c", title: "Empty", created: 1, updated: 1, messages: [] },
  ];
  await firstVersion(indexedDB, chats, [{ id: "a", state: new Blob(["state"]), updated: 3 }]);
  const store = await tab();
  assert.deepEqual((await store.chats()).map(({ title }) => title), ["Mine", "With instructions", "Empty"]);
  const a = await store.conversation("a");
  assert.deepEqual(branchOf(a), ["Hi", "Hello!", "And?", "Nothing."]);
  assert.equal(new Tree(a.messages).branch(a.chat.head, null)[1].facts, "3 tokens");
  const b = await store.conversation("b");
  assert.equal(b.chat.instructions, "Be brief.");
  assert.deepEqual(branchOf(b), ["Why?", "So."]);
  assert.equal(await store.db.states.count(), 1);
  // Opened once more, nothing changes.
  store.db.close();
  assert.deepEqual(branchOf(await (await tab()).conversation("a")), ["Hi", "Hello!", "And?", "Nothing."]);
});

/** Asks and is answered. */
async function turn(store, chat, parent, question, answer) {
  const asked = await store.ask({ chat, parent, content: question });
  const begun = await store.beginAnswer(chat, asked.id, "toy");
  await store.endAnswer({ ...begun, content: answer }, undefined, null);
  return { asked, answered: begun };
}

describe("importing", () => {
  test("an older export takes nothing away, and is told", async () => {
    const { tab } = profile();
    const store = await tab();
    const first = await turn(store, "x", null, "one", "1");
    const older = fileOf(await store.everything());
    let parent = first.answered.id;
    for (const n of ["two", "three", "four"]) parent = (await turn(store, "x", parent, n, n)).answered.id;
    assert.deepEqual(await store.import(readFile(older)), { added: 0, merged: 0, messages: 0, unchanged: 1 });
    assert.equal(branchOf(await store.conversation("x")).length, 8);
  });

  test("files of version 1 are joined by what was said; twice is once", async () => {
    const { tab } = profile();
    const store = await tab();
    await turn(store, "x", null, "one", "1");
    const chat = { id: "x", title: "one", created: 1, updated: 2, messages: said("one", "1", "more", "2") };
    const file = JSON.stringify({ format: "peregrine-chats", version: 1, chats: [chat, { ...chat, id: "y" }] });
    assert.deepEqual(await store.import(readFile(file)), { added: 1, merged: 1, messages: 2, unchanged: 0 });
    assert.deepEqual(await store.import(readFile(file)), { added: 0, merged: 0, messages: 0, unchanged: 2 });
    assert.equal((await store.conversation("x")).messages.length, 4);
    assert.deepEqual(branchOf(await store.conversation("y")), ["one", "1", "more", "2"]);
  });

  test("an id that means something else here becomes a version of its own", async () => {
    const { tab } = profile();
    const [one, two] = [await tab(), await profile().tab()];
    await turn(one, "x", null, "one", "1");
    const file = JSON.parse(fileOf(await one.everything()));
    file.chats[0].messages[1].content = "another answer";
    file.chats.push({ ...file.chats[0], id: "z" });
    for (let i = 0; i < 2; i++) await one.import(readFile(JSON.stringify(file)));
    const { messages } = await one.conversation("x");
    assert.deepEqual(messages.map(({ content }) => content).sort(), ["1", "another answer", "one"]);
    assert.equal((await one.conversation("z")).messages.length, 2);
    await two.import(readFile(fileOf(await one.everything())));
    assert.equal((await two.conversation("x")).messages.length, 3);
  });

  const damage = {
    "no JSON": ["{", "not-json"],
    "another file": ['{"format":"x"}', "no-chats"],
    "a later version": ['{"format":"peregrine-chats","version":9,"chats":[]}', "version"],
  };
  const node = (id, parent, more) => ({ id, parent, role: "user", content: "x", created: 1, ...more });
  const of = (...messages) => JSON.stringify({ format: "peregrine-chats", version: 2, chats: [{ id: "a", title: "", created: 1, updated: 1, messages }] });
  Object.assign(damage, {
    "a role that nobody has": [of(node("a", null, { role: "ghost" })), "damaged"],
    "a parent that is not there": [of(node("a", "b")), "damaged"],
    "a circle": [of(node("a", "b"), node("b", "a")), "damaged"],
    "an id twice": [of(node("a", null), node("a", null)), "damaged"],
    "attachments that are none": [of(node("a", null, { attachments: [{ id: 3 }] })), "damaged"],
  });
  for (const [name, [text, code]] of Object.entries(damage)) {
    test(`refused: ${name}`, () => assert.throws(() => readFile(text), { code }));
  }

  /** A question with a document of which passages were read, answered. */
  async function withDocument(store, chat, id) {
    const document = { name: "birds.pdf", kind: "pdf", text: "Herons wade.\n\nOwls see.", pages: [{ number: 1, text: "Herons wade." }, { number: 2, text: "Owls see." }], warnings: [] };
    const attachments = [{ id, name: document.name, text: "Herons wade.", pages: 2, tokens: 3, part: "page 1", whole: 6 }];
    const asked = await store.ask({ chat, parent: null, content: "Which bird?", attachments });
    await keepSources(store.db, chat, [{ id, document, tokens: 6 }]);
    return { asked, document };
  }
  const sourcesOf = async (store) => (await store.db.sources.toArray()).map(({ id, chat, document }) => [id, chat, document.text]).sort();

  test("documents go along in the file: in a fresh profile what of them is read can be chosen anew", async () => {
    const store = await profile().tab();
    const { asked, document } = await withDocument(store, "x", "d");
    const file = fileOf([await store.whole("x")]);
    const other = await profile().tab();
    await other.import(readFile(file));
    assert.deepEqual((await other.conversation("x")).messages, [asked]);
    assert.deepEqual(await other.db.sources.get("d"), { id: "d", chat: "x", document });
    assert.deepEqual(JSON.parse(fileOf(await other.everything())), JSON.parse(file), "and from there on");
    await other.import(readFile(file));
    assert.equal(await other.db.sources.count(), 1);
    await other.purge(["x"]);
    assert.equal(await other.db.sources.count(), 0, "they go with their chat");
  });

  test("documents of a file join what is here: what is missing comes, what is here stays, what nobody has is not promised", async () => {
    const store = await profile().tab();
    await withDocument(store, "x", "d");
    const told = JSON.parse(fileOf([await store.whole("x")]));
    const text = (change) => {
      const file = structuredClone(told);
      change(file.chats[0]);
      return readFile(JSON.stringify(file));
    };
    const other = await profile().tab();
    const attached = async () => (await other.conversation("x")).messages[0].attachments[0];
    await other.import(text((chat) => delete chat.sources));
    assert.equal((await attached()).whole, undefined, "there is nothing to choose from");
    assert.equal((await attached()).text, "Herons wade.");
    await other.import(text(() => undefined));
    assert.equal((await attached()).whole, 6);
    await other.import(text((chat) => (chat.sources[0].document.text = "another")));
    assert.deepEqual(await sourcesOf(other), [["d", "x", "Herons wade.\n\nOwls see."]]);
    // The same questions in another chat: its documents do not go with this one's.
    await other.import(text((chat) => (chat.id = "y")));
    assert.equal(await other.db.sources.count(), 2);
    await other.purge(["x"]);
    const [copy] = (await other.conversation("y")).messages[0].attachments;
    assert.equal((await other.db.sources.get(copy.id)).chat, "y");
  });

  for (const [name, change] of Object.entries({
    "sources that are no list": (chat) => (chat.sources = "many"),
    "a source without a text": (chat) => delete chat.sources[0].document.text,
    "a source of no kind": (chat) => (chat.sources[0].document.kind = "ghost"),
    "pages that are none": (chat) => (chat.sources[0].document.pages = [null]),
  })) {
    test(`refused: ${name}`, async () => {
      const store = await profile().tab();
      await withDocument(store, "x", "d");
      const file = JSON.parse(fileOf([await store.whole("x")]));
      change(file.chats[0]);
      assert.throws(() => readFile(JSON.stringify(file)), { code: "damaged" });
    });
  }

  test("a file is read as it was written", async () => {
    const store = await profile().tab();
    const { asked } = await turn(store, "x", null, "one\n", " 1");
    await store.ask({ chat: "x", parent: asked.id, content: "with", attachments: [{ id: "d", name: "a.txt", text: "text", tokens: 3, part: "1-2" }] });
    await store.change("x", { title: "Named", named: true, instructions: "Be kind.", pinned: true });
    const before = await store.conversation("x");
    const other = await profile().tab();
    await other.import(readFile(fileOf([before])));
    assert.deepEqual(await other.conversation("x"), before);
  });
});

test("an answer whose tab is gone is kept, and told to be interrupted; one without a word is no version", async () => {
  const browser = profile();
  const store = await browser.tab();
  const asked = await store.ask({ chat: "x", parent: null, content: "one" });
  const first = await store.beginAnswer("x", asked.id, "toy");
  browser.writing.add(first.id);
  await store.writeAnswer({ ...first, content: "half of" });
  const other = await browser.tab();
  assert.equal((await other.conversation("x")).messages.at(-1).ending !== "interrupted", true, "its writer lives");
  const second = await store.beginAnswer("x", asked.id, "toy");
  browser.writing.clear();
  await other.recover();
  const { chat, messages } = await other.conversation("x");
  const half = messages.find(({ id }) => id === first.id);
  assert.equal(half.ending, "interrupted");
  assert.equal(half.content, "half of");
  assert.equal(messages.some(({ id }) => id === second.id), false);
  assert.equal(chat.head, first.id);
});

test("an answer is gone on with by one tab only", async () => {
  const store = await profile().tab();
  const { answered } = await turn(store, "x", null, "one", "half");
  const cut = { ...answered, content: "half" };
  delete cut.ending;
  assert.equal(await store.resume({ ...cut, ending: "writing" }, "half"), true);
  assert.equal(await store.resume({ ...cut, ending: "writing" }, "half"), false, "another is at it");
  await store.endAnswer({ ...cut, content: "half and half" }, undefined, null);
  assert.equal(await store.resume({ ...cut, ending: "writing" }, "half"), false, "it is longer by now");
  assert.equal((await store.db.messages.get(cut.id)).content, "half and half");
});

test("stopping a new version before its first word goes back to the version before", async () => {
  const store = await profile().tab();
  const { asked, answered } = await turn(store, "x", null, "one", "1");
  const again = await store.beginAnswer("x", asked.id, "toy");
  await store.endAnswer(again, "stopped", answered.id);
  assert.deepEqual(branchOf(await store.conversation("x")), ["one", "1"]);
});

test("what the browser has lost is put back with the next word, and with the next message", async () => {
  const store = await profile().tab();
  const { answered } = await turn(store, "x", null, "one", "1");
  const known = await store.conversation("x");
  const clear = () => Promise.all(store.db.tables.map((table) => table.clear()));
  await clear();
  await store.ask({ chat: "x", parent: answered.id, content: "two" }, known);
  assert.deepEqual(branchOf(await store.conversation("x")), ["one", "1", "two"]);
  const later = await store.conversation("x");
  const answer = await store.beginAnswer("x", later.messages.find(({ content }) => content === "two").id, "toy");
  await clear();
  await store.writeAnswer({ ...answer, content: "2" }, later);
  assert.deepEqual(branchOf({ ...(await store.conversation("x")), chat: { head: answer.id } }), ["one", "1", "two", "2"]);
  await store.purge(["x"]);
  assert.equal(await store.writeAnswer({ ...answer, content: "2" }, later), false, "what was deleted for good stays so");
  assert.equal(await store.conversation("x"), undefined);
});

test("on a full disk, states of the engine go before a message does", async () => {
  const store = await profile().tab();
  const { db } = store;
  await turn(store, "x", null, "one", "1");
  const file = readFile(fileOf(await store.everything()).replaceAll('"x"', '"y"'));
  const [add, bulkAdd] = [db.messages.add.bind(db.messages), db.messages.bulkAdd.bind(db.messages)];
  let states = 0;
  const full = (act) => async (...what) => {
    if (states > 0) throw new DOMException("no room", "QuotaExceededError");
    return act(...what);
  };
  // Transactions that write messages cannot ask the table of states itself.
  db.states.count = async () => states;
  db.states.clear = async () => void (states = 0);
  Object.assign(db.messages, { add: full(add), bulkAdd: full(bulkAdd) });
  states = 2;
  await store.ask({ chat: "x", parent: null, content: "two" });
  assert.equal(states, 0);
  states = 2;
  assert.deepEqual(await store.import(file), { added: 1, merged: 0, messages: 0, unchanged: 0 });
  const bulkPut = db.sources.bulkPut.bind(db.sources);
  Object.assign(db.sources, { bulkPut: full(bulkPut) });
  states = 2;
  await keepSources(db, "x", [{ id: "d", document: { name: "a.txt", kind: "text", text: "all of it", warnings: [] } }]);
  assert.equal((await db.sources.get("d")).document.text, "all of it", "nor does a document");
  Object.assign(db.messages, { add: async () => Promise.reject(new DOMException("no room", "QuotaExceededError")) });
  await assert.rejects(store.ask({ chat: "x", parent: null, content: "three" }), { name: "QuotaExceededError" }, "where there is nothing to go");
});

test("deleted chats come back, until they are purged", async () => {
  const store = await profile().tab();
  await turn(store, "x", null, "one", "1");
  await store.delete("x");
  assert.deepEqual(await store.chats(), []);
  assert.equal((await store.deletedChats()).length, 1);
  await store.purgeOld();
  await store.undelete("x");
  assert.deepEqual(branchOf(await store.conversation("x")), ["one", "1"]);
  await store.delete("x");
  clock += 31 * 24 * 3600 * 1000;
  await store.purgeOld();
  assert.equal(await store.conversation("x"), undefined);
  assert.equal(await store.isGone("x"), true);
});

test("search finds words in any branch and in titles", async () => {
  const store = await profile().tab();
  const { asked } = await turn(store, "x", null, "About birds", "The HERON fishes.");
  await turn(store, "y", null, "About foxes", "They run.");
  const again = await store.beginAnswer("x", asked.id, "toy");
  await store.endAnswer({ ...again, content: "The owl sees." }, undefined, null);
  const ids = async (text) => (await store.search(text)).map(({ chat }) => chat.id);
  assert.deepEqual(await ids("heron"), ["x"]);
  assert.deepEqual(await ids("owl"), ["x"]);
  assert.deepEqual((await ids("about")).sort(), ["x", "y"]);
  await store.change("y", { title: "Reynard" });
  assert.deepEqual(await ids("reynard"), ["y"]);
});

/** What two people at two tabs may do; numbers choose among what there is. */
const actions = fc.array(
  fc.record({
    tab: fc.nat({ max: 1 }),
    what: fc.constantFrom("new", "ask", "word", "end", "stop", "edit", "again", "switch", "open", "delete", "undo", "reload", "export", "import", "lose"),
    pick: fc.nat({ max: 50 }),
  }),
  { minLength: 5, maxLength: 60 },
);

test("random actions in two tabs never lose a message", async () => {
  await fc.assert(
    fc.asyncProperty(actions, async (steps) => {
      const browser = profile();
      const tabs = [];
      for (let i = 0; i < 2; i++) tabs.push({ store: await browser.tab(), chat: null, leaf: null, answer: null });
      /** All that was ever said: id to the least that must be there of it. */
      const promised = new Map();
      /** The same of documents: id to text. */
      const documents = new Map();
      const files = [];
      let serial = 0;

      const tell = (message) => promised.set(message.id, { ...message });
      const conversationOf = async ({ store, chat }) => (chat === null ? undefined : store.conversation(chat));
      const finish = async (tab, ending) => {
        if (!tab.answer) return;
        const { row, before } = tab.answer;
        await tab.store.endAnswer(row, ending, before);
        if (row.content.trim() !== "") tell(row);
        browser.writing.delete(row.id);
        tab.answer = null;
      };
      const begin = async (tab, parent, before) => {
        const row = await tab.store.beginAnswer(tab.chat, parent, "toy");
        browser.writing.add(row.id);
        tab.answer = { row, before };
        tab.leaf = row.id;
      };
      const pickOf = (list, pick) => list[pick % list.length];

      const act = {
        new: async (tab) => {
          await finish(tab, "stopped");
          Object.assign(tab, { chat: null, leaf: null });
        },
        ask: async (tab, pick) => {
          if (tab.answer) return;
          const known = await conversationOf(tab);
          const branch = known ? new Tree(known.messages).branch(tab.leaf, known.chat.head) : [];
          if (branch.at(-1)?.ending === "writing") return;
          tab.chat ??= `chat ${++serial}`;
          const id = `document ${++serial}`;
          const attachments = pick % 3 === 0 ? [{ id, name: id, text: "part", part: "1", whole: 9 }] : [];
          const message = await tab.store.ask({ chat: tab.chat, parent: branch.at(-1)?.id ?? null, content: ` question ${++serial}\n`, attachments }, known);
          tell(message);
          if (attachments.length > 0) {
            await keepSources(tab.store.db, tab.chat, [{ id, document: { name: id, kind: "text", text: `all of ${id}`, warnings: [] } }]);
            documents.set(id, `all of ${id}`);
          }
          await begin(tab, message.id, null);
        },
        word: async (tab) => {
          if (!tab.answer) return;
          const row = { ...tab.answer.row, content: `${tab.answer.row.content} word ${++serial}` };
          tab.answer.row = row;
          if (await tab.store.writeAnswer(row, await conversationOf(tab))) tell(row);
        },
        end: (tab) => finish(tab, undefined),
        stop: (tab) => finish(tab, "stopped"),
        edit: async (tab, pick) => {
          const known = await conversationOf(tab);
          if (!known || tab.answer) return;
          const questions = new Tree(known.messages).branch(tab.leaf, known.chat.head).filter(({ role }) => role === "user");
          if (questions.length === 0) return;
          const { parent } = pickOf(questions, pick);
          const message = await tab.store.ask({ chat: tab.chat, parent, content: `edited ${++serial}` }, known);
          tell(message);
          await begin(tab, message.id, null);
        },
        again: async (tab, pick) => {
          const known = await conversationOf(tab);
          if (!known || tab.answer) return;
          const answers = new Tree(known.messages).branch(tab.leaf, known.chat.head).filter(({ role, ending }) => role === "assistant" && ending !== "writing");
          if (answers.length === 0) return;
          const old = pickOf(answers, pick);
          await begin(tab, old.parent, old.id);
        },
        switch: async (tab, pick) => {
          const known = await conversationOf(tab);
          if (!known || known.messages.length === 0) return;
          await finish(tab, "stopped");
          tab.leaf = pickOf(known.messages, pick).id;
          await tab.store.show(tab.chat, tab.leaf);
        },
        open: async (tab, pick) => {
          const chats = await tab.store.chats();
          if (chats.length === 0) return;
          await finish(tab, "stopped");
          const chat = pickOf(chats, pick);
          Object.assign(tab, { chat: chat.id, leaf: chat.head });
        },
        delete: async (tab, pick) => {
          const chats = await tab.store.chats();
          if (chats.length > 0) await tab.store.delete(pickOf(chats, pick).id);
        },
        undo: async (tab, pick) => {
          const chats = await tab.store.deletedChats();
          if (chats.length > 0) await tab.store.undelete(pickOf(chats, pick).id);
        },
        // In the middle of whatever it is: the writer's lock goes with the tab.
        reload: async (tab) => {
          if (tab.answer) browser.writing.delete(tab.answer.row.id);
          tab.store.db.close();
          Object.assign(tab, { store: await browser.tab(), chat: null, leaf: null, answer: null });
        },
        export: async (tab) => void files.push(fileOf(await tab.store.everything())),
        import: async (tab, pick) => void (files.length > 0 && (await tab.store.import(readFile(pickOf(files, pick))))),
        // The browser clears the chat that is on the page: the next word brings it back.
        lose: async (tab) => {
          const known = await conversationOf(tab);
          if (!known || !tab.answer) return;
          await tab.store.db.messages.where("chat").equals(tab.chat).delete();
          await tab.store.db.chats.delete(tab.chat);
          const row = { ...tab.answer.row, content: `${tab.answer.row.content} word ${++serial}` };
          tab.answer.row = row;
          await tab.store.writeAnswer(row, known);
          tell(row);
        },
      };

      for (const { tab, what, pick } of steps) {
        await act[what](tabs[tab], pick);
        const all = new Map((await tabs[0].store.db.messages.toArray()).map((message) => [message.id, message]));
        for (const message of promised.values()) {
          const found = all.get(message.id);
          assert.ok(found, `${what}: "${message.content}" is gone`);
          assert.ok(found.content.startsWith(message.content), `${what}: "${message.content}" became "${found.content}"`);
          assert.equal(found.parent, message.parent);
          const conversation = await tabs[1].store.conversation(found.chat);
          assert.ok(conversation, `${what}: the chat of "${message.content}" is gone`);
          const tree = new Tree(conversation.messages);
          assert.equal(tree.upTo(found.id)[0].parent, null, `${what}: "${message.content}" has no way from the beginning`);
          assert.ok(tree.versions(found.id).some(({ id }) => id === found.id), "it is among the versions that one can switch to");
        }
      }
      const kept = new Map((await tabs[0].store.db.sources.toArray()).map(({ id, document }) => [id, document.text]));
      assert.deepEqual(kept, documents, "documents stay too");
      // And all of it goes to another browser.
      const [here, there] = [tabs[0].store, await profile().tab()];
      const told = await here.everything();
      await there.import(readFile(fileOf(told)));
      for (const { chat, messages, sources } of told) {
        const { messages: come, sources: come2 } = await there.whole(chat.id);
        const words = (list) => list.map(({ id, parent, content, attachments }) => JSON.stringify([id, parent, content, attachments])).sort();
        assert.deepEqual(words(come), words(messages));
        assert.deepEqual(come2, sources);
      }
      for (const store of [...tabs.map(({ store }) => store), there]) store.db.close();
    }),
    // The same in every run, so that what fails once fails again; another one may be chosen.
    { numRuns: 300, seed: Number(process.env.PEREGRINE_TEST_SEED ?? 501) },
  );
});

test("adapters are kept with their files, beside their model, in the order in which they came", async () => {
  const { tab } = profile();
  const [one, other] = [await tab(), await tab()];
  const adapter = (model, id, added, text) => ({ model, id, added, files: [{ path: `${id}/adapter_config.json`, file: new Blob([text]) }] });
  await keepAdapter(one.db, adapter("m", "late", 20, "second"));
  await keepAdapter(one.db, adapter("m", "early", 10, "first"));
  await keepAdapter(one.db, adapter("another", "early", 15, "of another model"));
  const told = async (model) => Promise.all((await adaptersOf(other.db, model)).map(async ({ id, files: [{ path, file }] }) => [id, path, await file.text()]));
  const early = ["early", "early/adapter_config.json", "first"];
  assert.deepEqual(await told("m"), [early, ["late", "late/adapter_config.json", "second"]]);
  // The same name once more takes the other's place.
  await keepAdapter(one.db, adapter("m", "late", 30, "third"));
  assert.deepEqual(await told("m"), [early, ["late", "late/adapter_config.json", "third"]]);
  await forgetAdapter(other.db, "m", "early");
  assert.deepEqual(await told("m"), [["late", "late/adapter_config.json", "third"]]);
  assert.deepEqual(await told("another"), [["early", "early/adapter_config.json", "of another model"]]);
  assert.deepEqual(await told("none"), []);
});

test("adapters beside a model that is deleted go with it, and no others", async () => {
  const { tab } = profile();
  const { db } = await tab();
  const keep = (model, id, source) => keepAdapter(db, { model, ...source, id, added: 1, files: [] });
  await keep("m", "one", { source: "org/repo" });
  await keep("m", "two", { source: "org/repo" });
  await keep("m", "of a file", {});
  await keep("another", "one", { source: "org/other" });
  await forgetAdaptersOf(db, (source) => source === "org/repo");
  assert.deepEqual((await adaptersOf(db, "m")).map(({ id }) => id), ["of a file"]);
  assert.deepEqual((await adaptersOf(db, "another")).map(({ id }) => id), ["one"]);
});
