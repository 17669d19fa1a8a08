/**
 * What waits to be sent: drafts and documents, in tabs that share them and browsers that keep
 * nothing.
 */

import assert from "node:assert/strict";
import { after, afterEach, describe, test } from "node:test";
import Dexie from "dexie";
import { answered, closeTabs, end, pendingOf, profile, ready, refuse, text, until } from "./tab.mjs";

after(end);
afterEach(closeTabs);

describe("documents", () => {
  test("those that are still read when their chat is left are there when one comes back", async () => {
    const tab = await profile().tab();
    const reading = tab.documents.attach([text("a.txt"), text("b.txt")]);
    assert.deepEqual(pendingOf(tab), ["a.txt", "b.txt"], "all of them stand there from the beginning");
    tab.talk.open("another");
    assert.deepEqual(pendingOf(tab), []);
    await reading;
    assert.deepEqual(pendingOf(tab), []);
    tab.talk.open(null);
    await ready(tab, "a.txt", "b.txt");
  });

  test("one attached while the first question of a chat is on its way is that chat's, also after a reload", async () => {
    const browser = profile();
    const tab = await browser.tab();
    tab.talk.begin();
    await tab.documents.attach([text("first.txt")]);
    const sending = tab.sender.send("which bird?");
    const reading = tab.documents.attach([text("late.txt")]);
    await Promise.all([sending, reading]);
    await answered(tab, "which bird?", "yes");
    const chat = tab.talk.chat.value;
    await ready(tab, "late.txt");
    assert.deepEqual(tab.talk.branch.value[0].attachments.map(({ name }) => name), ["first.txt"]);
    tab.talk.open(null);
    assert.deepEqual(pendingOf(tab), [], "a new chat has none");
    const again = await browser.tab();
    again.talk.open(chat);
    await ready(again, "late.txt");
    again.talk.open(null);
    await again.store.chats();
    assert.deepEqual(pendingOf(again), []);
  });

  test("one attached and read before the question was kept goes along, and comes back where that fails", async () => {
    const browser = profile();
    const tab = await browser.tab();
    tab.talk.begin();
    const count = tab.toy.tokenizer.countTokens;
    // The question waits for what goes along with it.
    await tab.documents.attach([text("first.txt")]);
    let go;
    tab.toy.tokenizer.countTokens = async (words) => {
      if (words === "which bird?") await new Promise((held) => (go = held));
      return count(words);
    };
    const mend = refuse(tab.store, "ask");
    const sending = tab.sender.send("which bird?");
    await until(() => go);
    await tab.documents.attach([text("late.txt")]);
    go();
    await sending;
    assert.equal(tab.talk.chat.value, null);
    await ready(tab, "first.txt", "late.txt");
    await tab.documents.move(null, null);
    const again = await browser.tab();
    await ready(again, "first.txt", "late.txt");
    mend();
  });

  test("whole where there is room, passages where the person wants them", async () => {
    const browser = profile();
    const tab = await browser.tab();
    tab.talk.begin();
    const content = Array.from({ length: 40 }, (_, i) => `Paragraph ${i} is about ${i === 23 ? "the heron" : "nothing much"}. ${"It goes on for a while. ".repeat(9)}`).join("\n\n");
    await tab.documents.attach([text("long.txt", content)]);
    const [{ id }] = tab.documents.pending.value;
    const [whole] = await tab.documents.attachments("where is the heron?");
    assert.equal(whole.part, undefined);
    await tab.documents.choose(id, "passages");
    const again = await browser.tab();
    await ready(again, "long.txt");
    const [part] = await again.documents.attachments("where is the heron?");
    assert.match(part.part, /\d+ of \d+ passages/);
    assert.match(part.text, /the heron/);
    assert.ok(part.tokens <= 1024 && part.tokens < whole.tokens);
    await again.documents.choose(id, "whole");
    assert.equal((await again.documents.attachments("where is the heron?"))[0].text, whole.text);
  });

  test("two tabs attach in the same place: after a reload both are there; what one has sent or removed is gone", async () => {
    const browser = profile();
    const [one, two] = [await browser.tab(), await browser.tab()];
    await one.documents.attach([text("a.txt")]);
    await two.documents.attach([text("b.txt")]);
    const three = await browser.tab();
    await ready(three, "a.txt", "b.txt");
    one.documents.remove(one.documents.pending.value[0].id);
    await until(async () => (await one.db.drafts.get("new"))?.documents.length === 1);
    three.talk.open("another");
    three.talk.open(null);
    await ready(three, "b.txt");
  });

  test("one that does not fit the disk stays as long as the page", async () => {
    const tab = await profile().tab();
    tab.db.drafts.put = async () => Promise.reject(new DOMException("no room", "QuotaExceededError"));
    await tab.documents.attach([text("a.txt")]);
    tab.talk.open("another");
    tab.talk.open(null);
    await ready(tab, "a.txt");
  });
});

describe("drafts", () => {
  test("two tabs that write in the same place keep each its own over a reload", async () => {
    const browser = profile();
    const one = await browser.tab();
    one.keepDraft(null, "from the first");
    const two = await browser.tab();
    two.keepDraft(null, "from the second");
    assert.equal((await browser.tab(one)).draftOf(null), "from the first");
    one.here();
    one.keepDraft(null, "");
    assert.equal((await browser.tab(two)).draftOf(null), "from the second");
    assert.equal((await browser.tab()).draftOf(null), "from the second", "a new tab has what was written last");
  });

  test("of a chat that the browser has lost: they wait in a new one, which can be begun", async () => {
    for (const hash of ["", "#/chat/lost"]) {
      const browser = profile();
      localStorage.setItem("peregrine.chat", "lost");
      localStorage.setItem("peregrine.draft.lost", "a draft");
      history.replaceState(null, "", `/${hash}`);
      const tab = await browser.tab();
      tab.notice.value = undefined;
      tab.talk.begin();
      await until(() => tab.talk.chat.value === null);
      assert.equal(tab.draftOf(null), "a draft");
      assert.equal(tab.notice.value !== undefined, hash !== "", "told only to who asked for it");
      await tab.sender.send("one");
      await answered(tab, "one", "yes");
    }
  });
});

test("a browser without any database: chats are there as long as the page, and live", async () => {
  const tab = await profile().tab();
  const before = { ...Dexie.dependencies };
  Object.assign(Dexie.dependencies, { indexedDB: undefined, IDBKeyRange: undefined });
  const { db, kept } = await tab.openDatabase(() => undefined);
  assert.equal(kept, false);
  const store = new tab.Store(db, { isAlive: async () => false });
  const seen = [];
  const subscription = store.live(() => store.chats()).subscribe((chats) => seen.push(chats.length));
  await until(() => seen.at(-1) === 0);
  await store.ask({ chat: "x", parent: null, content: "one" });
  await until(() => seen.at(-1) === 1);
  subscription.unsubscribe();
  Object.assign(Dexie.dependencies, before);
});
