/**
 * What people do while something is going on: nothing that they have written or were answered is
 * lost, and it stands where it belongs.
 */

import assert from "node:assert/strict";
import { after, afterEach, describe, test } from "node:test";
import { answered, closeTabs, end, pendingOf, platform, profile, ready, refuse, text, until } from "./tab.mjs";

after(end);
afterEach(async () => {
  await closeTabs();
  platform.locks = undefined;
});

/** Sends `question` in a new chat and waits until it is answered. */
async function asked(tab, question) {
  await tab.sender.send(question);
  await answered(tab, question, "yes");
}

describe("questions", () => {
  test("one after an answer that was stopped before its first word follows the question before", async () => {
    const tab = await profile().tab();
    await tab.sender.send("one [held]");
    await until(() => tab.toy.held.length > 0);
    tab.talk.leave();
    const second = tab.sender.send("two");
    tab.toy.release();
    await second;
    await answered(tab, "one [held]", "two", "yes");
    const { messages } = await tab.store.conversation(tab.talk.chat.value);
    const ids = new Set(messages.map(({ id }) => id));
    assert.deepEqual(messages.filter(({ parent }) => parent !== null && !ids.has(parent)), [], "nothing hangs in the air");
  });

  test("Enter twice is one question, and a suggestion that is clicked twice too", async () => {
    const tab = await profile().tab();
    await tab.documents.attach([text("notes.txt")]);
    await Promise.all([tab.sender.send("which bird?"), tab.sender.send("")]);
    await answered(tab, "which bird?", "yes");
    assert.equal((await tab.store.conversation(tab.talk.chat.value)).messages.length, 2);
    assert.deepEqual(pendingOf(tab), []);
    const chat = tab.talk.chat.value;
    await Promise.all([tab.talk.ask(chat, "more"), tab.talk.ask(chat, "more")]);
    await answered(tab, "which bird?", "yes", "more", "yes");
    assert.equal((await tab.store.conversation(tab.talk.chat.value)).messages.length, 4);
  });

  test("a suggestion takes nothing of what stands in the box, and no document beside it", async () => {
    const tab = await profile().tab();
    await tab.documents.attach([text("notes.txt")]);
    tab.keepDraft(null, "a long text");
    await Promise.all([tab.sender.suggest("who are you?"), tab.sender.suggest("who are you?")]);
    await answered(tab, "who are you?", "yes");
    const { messages } = await tab.store.conversation(tab.talk.chat.value);
    assert.equal(messages.length, 2);
    assert.deepEqual(messages.flatMap(({ attachments }) => attachments ?? []), []);
    tab.talk.open(null);
    assert.equal(tab.sender.boxOf(null), "a long text");
    assert.deepEqual(pendingOf(tab), ["notes.txt"]);
  });

  test("one whose chat is left before it is kept is that chat's, with its documents", async () => {
    const tab = await profile().tab();
    await asked(tab, "one");
    const first = tab.talk.chat.value;
    tab.talk.open(null);
    await tab.sender.send("two");
    await answered(tab, "two", "yes");
    await tab.documents.attach([text("notes.txt")]);
    const second = tab.talk.chat.value;
    const sending = tab.sender.send("which bird?");
    tab.talk.open(first);
    await Promise.all([sending, tab.sender.send("more")]);
    await answered(tab, "one", "yes", "more", "yes");
    assert.deepEqual([tab.draftOf(first), tab.draftOf(second)], ["", ""]);
    tab.talk.open(second);
    await answered(tab, "two", "yes", "which bird?");
    assert.deepEqual(pendingOf(tab), []);
    const [question] = tab.talk.branch.value.slice(-1);
    assert.equal(question.attachments[0].name, "notes.txt");
    await tab.talk.answer(question.id);
    await answered(tab, "two", "yes", "which bird?", "yes");
  });

  test("a new chat that is left at once is there, and its question does not stand in another", async () => {
    const tab = await profile().tab();
    const sending = tab.sender.send("one");
    await until(() => tab.talk.chat.value !== null);
    const first = tab.talk.chat.value;
    assert.equal(tab.sender.boxOf(first), "", "the box is empty while it is on its way");
    tab.talk.open(null);
    assert.equal(tab.sender.boxOf(null), "");
    await Promise.all([sending, tab.sender.send("two")]);
    await answered(tab, "two", "yes");
    tab.talk.open(first);
    await answered(tab, "one");
    assert.equal(tab.draftOf(null), "");
  });

  test("the first of a chat that cannot be kept stands in the box of a new chat again, with its documents, also after a reload", async () => {
    const browser = profile();
    const tab = await browser.tab();
    tab.talk.begin();
    await tab.documents.attach([text("notes.txt")]);
    const mend = refuse(tab.store, "ask");
    const sending = tab.sender.send("which bird?");
    await until(() => tab.talk.chat.value !== null);
    tab.keepDraft(tab.talk.chat.value, "and what I write meanwhile");
    await sending;
    assert.equal(tab.talk.chat.value, null);
    assert.equal(tab.draftOf(null), "which bird?\nand what I write meanwhile");
    assert.match(tab.notice.value.text, /still in the box/);
    assert.deepEqual(pendingOf(tab), ["notes.txt"]);
    const again = await browser.tab(tab);
    again.talk.begin();
    assert.equal(again.talk.chat.value, null);
    assert.equal(again.draftOf(null), "which bird?\nand what I write meanwhile");
    await ready(again, "notes.txt");
    tab.here();
    mend();
    await tab.sender.send(tab.draftOf(null));
    await answered(tab, "which bird?\nand what I write meanwhile", "yes");
    assert.equal(tab.draftOf(null), "");
  });

  test("Back to a chat whose first question is just being kept: it is there once, and answered", async () => {
    const tab = await profile().tab();
    tab.talk.begin();
    let keep;
    tab.store.ask = async (...what) => {
      await new Promise((go) => (keep = go));
      return tab.Store.prototype.ask.apply(tab.store, what);
    };
    const sending = tab.sender.send("one");
    await until(() => keep);
    const chat = tab.talk.chat.value;
    tab.talk.open(null);
    // As the browser's Back does.
    tab.talk.open(chat, "none", "told");
    await tab.talk.loaded;
    await new Promise(setImmediate);
    keep();
    await sending;
    await answered(tab, "one", "yes");
    assert.equal(tab.talk.chat.value, chat);
    assert.deepEqual([tab.draftOf(null), tab.draftOf(chat)], ["", ""]);
    assert.equal((await tab.store.chats()).length, 1);
  });

  test("the first of a chat is not lost where the page goes before it is kept", async () => {
    const browser = profile();
    const tab = await browser.tab();
    tab.talk.begin();
    tab.store.ask = () => new Promise(() => {});
    void tab.sender.send("one");
    await until(() => tab.talk.chat.value !== null);
    const again = await browser.tab(tab);
    again.talk.begin();
    await until(() => again.talk.chat.value === null);
    assert.equal(again.draftOf(null), "one");
  });

  test("what is written while the first is being kept is the new chat's", async () => {
    const tab = await profile().tab();
    const sending = tab.sender.send("one");
    tab.keepDraft(null, "the next");
    await sending;
    assert.equal(tab.draftOf(null), "");
    assert.equal(tab.draftOf(tab.talk.chat.value), "the next");
  });

  test("a chat that is left before it is here does not hold up the next question", async () => {
    const tab = await profile().tab();
    await asked(tab, "one");
    const chat = tab.talk.chat.value;
    tab.talk.open(null);
    tab.talk.open(chat);
    const { loaded } = tab.talk;
    tab.talk.open(null);
    await loaded;
  });

  test("an edited one that cannot be kept throws, and is still a draft", async () => {
    const tab = await profile().tab();
    await asked(tab, "one");
    const [{ id }] = tab.talk.branch.value;
    tab.keepDraft(`edit ${id}`, "another");
    const mend = refuse(tab.store, "ask");
    await assert.rejects(tab.talk.edit(id, "another"), { name: "QuotaExceededError" });
    assert.equal(tab.draftOf(`edit ${id}`), "another");
    mend();
    assert.equal(await tab.talk.edit(id, "another"), true);
    await answered(tab, "another", "yes");
    assert.equal(tab.draftOf(`edit ${id}`), "");
  });

  test("the answer follows the instructions that were given just before", async () => {
    const tab = await profile().tab();
    await asked(tab, "one");
    await tab.store.change(tab.talk.chat.value, { instructions: "Be brief." });
    await tab.sender.send("two");
    await until(() => tab.toy.asked.length === 2);
    assert.deepEqual(tab.toy.asked[1][0], { role: "system", content: "Be brief." });
  });
});

describe("answers", () => {
  test("one that cannot be begun in the store is written all the same, and kept later", async () => {
    const tab = await profile().tab();
    const mend = refuse(tab.store, "beginAnswer", "writeAnswer", "endAnswer");
    await asked(tab, "one");
    assert.match(tab.talk.fault.value.title, /could not keep the answer/);
    assert.match(tab.talk.fault.value.detail, /no room/);
    mend();
    tab.talk.fault.value.ways[0].go();
    await until(() => tab.talk.fault.value === undefined);
    const { messages } = await tab.store.conversation(tab.talk.chat.value);
    assert.deepEqual(new tab.Tree(messages).branch(null, null).map(({ content }) => content), ["one", "yes"]);
  });

  test("several that could not be kept: none takes the other's place, each is told where it stands, and the next question keeps it", async () => {
    const tab = await profile().tab();
    const mend = refuse(tab.store, "endAnswer", "writeAnswer");
    await asked(tab, "one");
    const first = tab.talk.chat.value;
    tab.talk.open(null);
    assert.equal(tab.talk.fault.value, undefined);
    await tab.sender.send("two");
    await answered(tab, "two", "yes");
    const second = tab.talk.chat.value;
    const leaving = new window.Event("beforeunload", { cancelable: true });
    window.dispatchEvent(leaving);
    assert.equal(leaving.defaultPrevented, true, "the browser asks before the page goes");
    tab.talk.open(first);
    await answered(tab, "one", "yes");
    assert.match(tab.talk.fault.value.title, /could not keep the answer/);
    await assert.rejects(tab.talk.ask(first, "more"), "not before the answer is kept");
    mend();
    await tab.sender.send("more");
    await answered(tab, "one", "yes", "more", "yes");
    tab.talk.open(second);
    await answered(tab, "two", "yes");
    tab.talk.fault.value.ways[0].go();
    await until(() => tab.talk.fault.value === undefined);
    for (const [chat, count] of [[first, 4], [second, 2]]) {
      const { messages } = await tab.store.conversation(chat);
      assert.equal(messages.length, count);
      assert.equal(new tab.Tree(messages).branch(null, null).length, count, "one branch");
    }
  });

  test("one that is not kept is gone on with once it is", async () => {
    const tab = await profile().tab();
    const mend = refuse(tab.store, "endAnswer", "writeAnswer");
    await asked(tab, "one");
    const [, { id }] = tab.talk.branch.value;
    await tab.talk.again(id);
    assert.deepEqual(tab.said(), ["one", "yes"]);
    assert.match(tab.talk.fault.value.title, /could not keep the answer/, "it is still told");
    mend();
    await tab.talk.again(id);
    await answered(tab, "one", "yes");
    assert.equal(tab.talk.fault.value, undefined);
    assert.equal((await tab.store.conversation(tab.talk.chat.value)).messages.length, 3, "two versions");
  });

  test("they come in a browser that gives no locks", async () => {
    const refused = async () => Promise.reject(new DOMException("no", "SecurityError"));
    platform.locks = { request: refused, query: refused };
    const tab = await profile().tab();
    await tab.store.recover();
    await asked(tab, "one");
  });
});

describe("chats", () => {
  test("Undo brings a deleted one back, and takes nobody away from what is going on", async () => {
    const tab = await profile().tab();
    await asked(tab, "one");
    const first = tab.talk.chat.value;
    const remove = async () => {
      await tab.store.delete(first);
      await until(() => tab.talk.chat.value === null);
      return tab.notice.value.action.go;
    };
    (await remove())();
    await answered(tab, "one", "yes");
    const undo = await remove();
    await tab.sender.send("two [held]");
    await until(() => tab.toy.held.length > 0);
    undo();
    await until(async () => (await tab.store.chats()).length === 2);
    tab.toy.release();
    await answered(tab, "two [held]", "yes");
  });

  test("one that is deleted for good while another is opened does not close that", async () => {
    const browser = profile();
    const tab = await browser.tab();
    await asked(tab, "one");
    const first = tab.talk.chat.value;
    tab.talk.open(null);
    await tab.sender.send("two");
    await answered(tab, "two", "yes");
    const second = tab.talk.chat.value;
    let gone;
    tab.store.isGone = (id) => new Promise((go) => (gone = () => go(tab.Store.prototype.isGone.call(tab.store, id))));
    await tab.store.purge([second]);
    await until(() => gone);
    tab.talk.open(first);
    await answered(tab, "one", "yes");
    gone();
    await tab.store.chats();
    await new Promise(setImmediate);
    assert.equal(tab.talk.chat.value, first);
  });
});

describe("a context that is full", () => {
  /**
   * A tab whose engine has no room for a second question until `room` is called; `longer`: tokens
   * to which it may grow; `first`: a version of the answer.
   */
  async function full({ longer } = { longer: 8192 }) {
    const tab = await profile().tab();
    const { create } = tab.toy.chat.completions;
    let has = true;
    tab.toy.chat.completions.create = async (params, options) => {
      const { messages } = params;
      if (has && messages.length > 2) throw new tab.PeregrineError("context-full", "too long");
      return create(params, options);
    };
    tab.models.longerContext = () => longer;
    const room = () => (has = false);
    await asked(tab, "one");
    const first = tab.talk.branch.value.at(-1).id;
    await tab.talk.again(first);
    await tab.sender.send("two");
    await until(() => tab.talk.fault.value);
    return { tab, room, first };
  }
  const waysOf = (tab) => tab.talk.fault.value.ways.map(({ label }) => label);
  const OTHERS = ["Leave out the oldest messages", "New chat", "Close"];

  test("what fits is offered where it does not grow as far, and the oldest messages can still be left out", async () => {
    const { tab, room } = await full();
    assert.deepEqual(waysOf(tab), ["Use a context of 8,192 tokens", ...OTHERS]);
    assert.match(tab.talk.fault.value.advice, /^Use a longer context, /);
    const wanted = [];
    tab.models.growContext = async (tokens) => {
      wanted.push(tokens);
      if (tokens <= 5000) return room();
      const fit = { needed: 3, budget: 2, contextLength: tokens, largestContext: 5000 };
      throw new tab.OutOfMemoryError("out-of-memory", "the longer context does not fit", { fit });
    };
    const { value: before } = tab.talk.fault;
    before.ways[0].go();
    await until(() => tab.talk.fault.value !== before);
    assert.equal(tab.talk.fault.value.title, "There is not enough memory for this.");
    assert.deepEqual(waysOf(tab), ["Use a context of 5,000 tokens", ...OTHERS]);
    tab.talk.fault.value.ways[0].go();
    await answered(tab, "one", "yes", "two", "yes");
    assert.deepEqual(wanted, [8192, 5000]);
    assert.equal(tab.talk.fault.value, undefined);
  });

  test("where it cannot grow, nobody is told to let it", async () => {
    const { tab } = await full({});
    assert.deepEqual(waysOf(tab), OTHERS);
    assert.match(tab.talk.fault.value.advice, /^Start a new chat, /);
  });

  test("no other context is offered where no longer one fits, or the error does not say so", async () => {
    for (const fit of [{ needed: 3, budget: 2, contextLength: 8192, largestContext: 4096 }, undefined]) {
      const { tab } = await full();
      tab.models.growContext = async () => Promise.reject(new tab.OutOfMemoryError("out-of-memory", "no", { fit }));
      const { value: before } = tab.talk.fault;
      before.ways[0].go();
      await until(() => tab.talk.fault.value !== before);
      assert.deepEqual(waysOf(tab), OTHERS);
      tab.talk.fault.value.ways[0].go();
      await until(() => tab.toy.asked.at(-1).length === 1);
    }
  });

  for (const [how, ends] of [["grows", (go) => go()], ["cannot grow", (_, fail) => fail(new Error("no"))]]) {
    test(`a question that is asked and answered while it ${how} stands where it stands`, async () => {
      const { tab, room } = await full();
      let end;
      tab.models.growContext = () => new Promise((go, fail) => (end = () => ends(go, fail)));
      tab.talk.fault.value.ways[0].go();
      await until(() => end);
      room();
      await tab.sender.send("three");
      await answered(tab, "one", "yes", "two", "three", "yes");
      const { length } = tab.toy.asked;
      end();
      await new Promise(setImmediate);
      await answered(tab, "one", "yes", "two", "three", "yes");
      assert.equal(tab.toy.asked.length, length, "nothing is asked anew");
      assert.equal(tab.talk.fault.value, undefined);
    });
  }

  test("at an answer without the oldest messages it grows once, as far as it fits, and the answer stays", async () => {
    const tab = await profile().tab();
    await asked(tab, "one");
    const { id } = tab.talk.branch.value.at(-1);
    assert.equal(tab.talk.longerAt(id), undefined, "it has all that it can have");
    tab.models.longerContext = () => 8192;
    assert.equal(tab.talk.longerAt(id), 8192);
    const wanted = [];
    tab.models.growContext = async (tokens) => {
      wanted.push([tokens, tab.talk.longerAt(id)]);
      if (tokens <= 5000) return;
      const fit = { needed: 3, budget: 2, contextLength: tokens, largestContext: 5000 };
      throw new tab.OutOfMemoryError("out-of-memory", "the longer context does not fit", { fit });
    };
    await tab.talk.growAt(id, 8192);
    assert.equal(tab.notice.value.text, "There is not enough memory for this.");
    assert.equal(tab.talk.longerAt(id), 5000);
    await tab.talk.growAt(id, 5000);
    assert.equal(tab.notice.value.text, "The model remembers 5,000 tokens now.");
    assert.equal(tab.talk.longerAt(id), undefined);
    assert.equal(tab.talk.longerAt("the next"), 8192);
    assert.deepEqual(wanted, [[8192, undefined], [5000, undefined]], "not while it grows");
    assert.equal(tab.toy.asked.length, 1, "nothing is asked anew");
  });

  test("where another version is looked at meanwhile, nothing is asked, and nothing stands in the way", async () => {
    const { tab, room, first } = await full();
    let end;
    tab.models.growContext = () => new Promise((go) => (end = go));
    tab.talk.fault.value.ways[0].go();
    await until(() => end);
    tab.talk.leaf.value = first;
    await answered(tab, "one", "yes");
    room();
    end();
    await until(() => tab.talk.fault.value === undefined);
    assert.equal(tab.talk.writing.value, undefined);
    assert.deepEqual(tab.said(), ["one", "yes"]);
  });
});
