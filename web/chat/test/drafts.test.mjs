/** What waits to be sent: drafts and documents, in tabs that share them and browsers that keep nothing. */

import assert from "node:assert/strict";
import { after, afterEach, describe, test } from "node:test";
import Dexie from "dexie";
import { answered, closeTabs, end, pendingOf, profile, ready, text, until } from "./tab.mjs";

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
