/**
 * A long document is read step by step before it is answered: told, stopped, gone on with, and not
 * read again.
 */

import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { answered, closeTabs, end, profile, ready, text, until } from "./tab.mjs";

after(end);
afterEach(closeTabs);

const LONG = "heron ".repeat(3000);

/**
 * Makes a tab's engine one that reads: a token is a character, and a step waits where `wait` says
 * so.
 */
function reads(tab, { asIs = true } = {}) {
  const { toy } = tab;
  const steps = [];
  let before = [];
  const written = (messages) => messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`).join("");
  const same = (ids) => {
    let i = 0;
    while (i < before.length && i < ids.length && before[i] === ids[i]) i++;
    return i;
  };
  const encode = (words) => [...words].map((letter) => letter.codePointAt(0));
  toy.info.model.contextLength = 100_000;
  toy.tokenizer.countTokens = async (words) => words.length;
  toy.tokenizer.encode = async (words, { addBos = false, ...rest } = {}) => {
    assert.deepEqual(rest, {}, "options that there are not");
    return [...(addBos ? [1] : []), ...encode(words)];
  };
  toy.wait = async () => {};
  toy.prefill = async (prompt, { signal }) => {
    const ids = typeof prompt[0] === "number" ? prompt : [...(asIs ? [] : [9, 9, 9]), ...encode(written(prompt))];
    await toy.wait(steps.length);
    if (signal.aborted) throw Object.assign(new Error("stopped"), { name: "AbortError" });
    const cached_tokens = same(ids);
    before = ids;
    if (typeof prompt[0] === "number") steps.push({ to: ids.length, cached_tokens });
    return { prompt_tokens: ids.length, prompt_tokens_details: { cached_tokens } };
  };
  const { create } = toy.chat.completions;
  toy.chat.completions.create = async (params, options) => {
    const ids = encode(`${written(params.messages)}<|im_start|>assistant\n`);
    const cached_tokens = same(ids);
    before = [...ids, 7];
    const stream = await create(params, options);
    stream.usage = { prompt_tokens: ids.length, completion_tokens: 1, prompt_tokens_details: { cached_tokens, dropped_messages: 0 }, timings: { tokens_per_second: 0 } };
    return stream;
  };
  toy.saveState = async () => new Blob([JSON.stringify(before)]);
  toy.restoreState = async (state) => void (before = JSON.parse(await state.text()));
  return steps;
}

test("read in steps with how far it is, and never back", async () => {
  const tab = await profile().tab();
  const steps = reads(tab);
  await tab.documents.attach([text("long.txt", LONG)]);
  await ready(tab, "long.txt");
  const seen = [];
  tab.toy.wait = async () => void seen.push(tab.talk.writing.value.reading.value);
  await tab.sender.send("which bird?");
  await answered(tab, "which bird?", "yes");
  assert.ok(steps.length > 3, `${steps.length} steps`);
  for (const [i, { to, cached_tokens }] of steps.entries()) if (i > 0) assert.ok(to > steps[i - 1].to && cached_tokens === steps[i - 1].to);
  const told = seen.filter(Boolean);
  assert.ok(told.every(({ done, total }, i) => total > LONG.length && (i === 0 || done > told[i - 1].done)));
  assert.ok(told.at(-1).left > 0);
  const answer = tab.talk.branch.value.at(-1);
  assert.ok(answer.cached < 100, "what was read for it was not remembered");

  // The next question costs only what is new.
  const count = steps.length;
  await tab.sender.send("and where?");
  await answered(tab, "which bird?", "yes", "and where?", "yes");
  assert.equal(steps.length, count);
  assert.ok(tab.talk.branch.value.at(-1).cached > LONG.length);
});

test("stopped, it goes on from there: at once, and after a reload", async () => {
  const browser = profile();
  const tab = await browser.tab();
  tab.talk.begin();
  const steps = reads(tab);
  await tab.documents.attach([text("long.txt", LONG)]);
  await ready(tab, "long.txt");
  const stopAt = (tab, steps, at) => (tab.toy.wait = async () => void (steps.length === at && tab.talk.leave()));
  stopAt(tab, steps, 2);
  await tab.sender.send("which bird?");
  await until(() => !tab.talk.writing.value && tab.talk.stoppedAt.value);
  const first = tab.talk.stoppedAt.value;
  assert.equal(first.done, steps[1].to);
  const { id, chat } = tab.talk.branch.value.at(-1);
  assert.equal(first.question, id);
  stopAt(tab, steps, 4);
  await tab.talk.answer(id);
  await until(() => !tab.talk.writing.value && tab.talk.stoppedAt.value?.done > first.done);
  assert.equal(steps[2].cached_tokens, first.done, "not a token is read twice");
  const second = tab.talk.stoppedAt.value;
  await until(async () => (await tab.db.states.get(chat))?.read?.tokens === second.done);

  const again = await browser.tab(tab);
  const later = reads(again);
  again.talk.begin();
  await until(() => again.talk.branch.value.length === 1);
  await again.talk.answer(id);
  await answered(again, "which bird?", "yes");
  assert.equal(later[0].cached_tokens, second.done);
  assert.equal(again.talk.stoppedAt.value, undefined);
});

test("a model that writes conversations in another way reads with the answer", async () => {
  const tab = await profile().tab();
  const steps = reads(tab, { asIs: false });
  await tab.documents.attach([text("long.txt", LONG)]);
  await ready(tab, "long.txt");
  await tab.sender.send("which bird?");
  await answered(tab, "which bird?", "yes");
  assert.deepEqual(steps, []);
});

/**
 * A reading that waits at this step, as one does whose page is about to go; every step takes so
 * many seconds of a played clock.
 */
async function interrupted(browser, at, seconds) {
  const tab = await browser.tab();
  tab.talk.begin();
  const steps = reads(tab);
  await tab.documents.attach([text("long.txt", LONG)]);
  await ready(tab, "long.txt");
  let clock = 0;
  const { performance } = globalThis;
  Object.defineProperty(globalThis, "performance", { value: { now: () => clock }, configurable: true });
  let go;
  tab.toy.wait = async () => {
    clock += 1000 * seconds;
    if (steps.length >= at) await new Promise((held) => (go = held));
  };
  await tab.sender.send("which bird?");
  await until(() => go);
  Object.defineProperty(globalThis, "performance", { value: performance, configurable: true });
  const end = async () => {
    tab.talk.leave();
    go();
    await until(() => !tab.talk.writing.value);
  };
  return { tab, end };
}

test("a reload while it is read: that is told, with what is kept, and it goes on from there", async () => {
  const browser = profile();
  const { tab, end } = await interrupted(browser, 4, 20);
  const chat = tab.talk.chat.value;
  const reached = tab.talk.writing.value.reading.value;
  const again = await browser.tab(tab);
  const steps = reads(again);
  await again.store.recover();
  again.talk.begin();
  await until(() => again.talk.branch.value.length === 1);
  const [question] = again.talk.branch.value;
  assert.deepEqual(question.reading, { total: reached.total });
  const { read } = await again.db.states.get(chat);
  assert.deepEqual([read.tokens, read.question], [reached.done, question.id]);
  await again.talk.answer(question.id);
  await answered(again, "which bird?", "yes");
  assert.equal(steps[0].cached_tokens, reached.done, "not a token is read twice");
  await until(async () => (await again.db.messages.get(question.id)).reading === undefined, "it is over");
  await end();
});

test("a reload before anything of it was kept is told too, and so is a reading that was stopped", async () => {
  const browser = profile();
  const { tab, end } = await interrupted(browser, 1, 1);
  const again = await browser.tab(tab);
  const steps = reads(again);
  await again.store.recover();
  again.talk.begin();
  await until(() => again.talk.branch.value.length === 1);
  const [{ id, reading, chat }] = again.talk.branch.value;
  assert.equal(reading.stopped, undefined);
  assert.equal(await again.db.states.get(chat), undefined);
  again.toy.wait = async () => void (steps.length === 2 && again.talk.leave());
  await again.talk.answer(id);
  const stopped = await until(async () => (await again.db.messages.get(id)).reading?.stopped && again.db.states.get(chat));
  assert.equal(stopped.read.tokens, steps.at(-1).to);
  assert.equal(stopped.read.question, id);
  await end();
});

test("a document is read once: in another chat, after a reload, it is not read again", async () => {
  const browser = profile();
  const first = await browser.tab();
  const said = reads(first);
  await first.documents.attach([text("long.txt", LONG)]);
  await ready(first, "long.txt");
  await first.sender.send("which bird?");
  await answered(first, "which bird?", "yes");
  assert.ok(said.length > 3);

  const ask = async (tab, question, instructions = "") => {
    const steps = reads(tab);
    tab.settings.value = { ...tab.settings.value, instructions };
    await tab.documents.attach([text("long.txt", LONG)]);
    await ready(tab, "long.txt");
    await tab.sender.send(question);
    await answered(tab, question, "yes");
    return { steps, answer: tab.talk.branch.value.at(-1), chat: tab.talk.chat.value };
  };
  const second = await browser.tab();
  const other = await ask(second, "Something else altogether");
  assert.deepEqual(other.steps, [], "nothing long is read");
  assert.ok(other.answer.cached > LONG.length, "and that is told");
  const third = await browser.tab();
  const told = await ask(third, "which bird?", "Be brief.");
  assert.ok(told.steps.length > 3, "after other instructions it is another text");

  // It holds the document's words: it goes with the last chat that has them.
  const ofDocuments = async () => (await second.db.states.toArray()).filter(({ chats }) => chats?.includes(other.chat));
  await second.store.purge([first.talk.chat.value]);
  assert.equal((await ofDocuments()).length, 1);
  await second.store.purge([other.chat, told.chat]);
  assert.deepEqual(await second.db.states.toArray(), []);
  assert.deepEqual(await second.db.sources.toArray(), []);
  for (const tab of [first, second, third]) await until(() => tab.talk.chat.value === null);
});

test("what was read of a document with another model is of no use, and no harm", async () => {
  const browser = profile();
  for (const refuses of [false, true]) {
    const tab = await browser.tab();
    const steps = reads(tab);
    if (refuses) tab.toy.restoreState = async () => Promise.reject(new Error("the state of another model"));
    await tab.documents.attach([text("long.txt", LONG)]);
    await ready(tab, "long.txt");
    await tab.sender.send("which bird?");
    await answered(tab, "which bird?", "yes");
    assert.ok(steps.length > 3);
    tab.talk.open(null);
  }
});

test("an adapter that came since counts: what was read without it is asked for anew", async () => {
  const tab = await profile().tab();
  reads(tab);
  const { toy } = tab;
  const asked = [];
  const { restoreState } = toy;
  toy.restoreState = async (state, options) => (asked.push(options), restoreState(state));
  const say = async (words, ...before) => {
    await tab.sender.send(words);
    await answered(tab, ...before, words, "yes");
  };
  await say("one");
  await say("two", "one", "yes");
  assert.deepEqual(asked, [], "the engine has it");
  toy.info = { ...toy.info, where: "device", adapters: [{ id: "poems", bytes: 1 }] };
  await say("three", "one", "yes", "two", "yes");
  assert.deepEqual(asked, [{ lora: [{ id: "poems" }] }]);
});
