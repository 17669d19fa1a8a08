/** A long document is read step by step before it is answered: told, stopped, gone on with, and not read again. */

import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { answered, closeTabs, end, profile, ready, text, until } from "./tab.mjs";

after(end);
afterEach(closeTabs);

const LONG = "heron ".repeat(3000);

/** Makes a tab's engine one that reads: a token is a character, and a step waits where `wait` says so. */
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
