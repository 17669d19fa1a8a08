/**
 * The server takes over from a device that still works: what waits for the device goes along, what
 * it has begun to tell is told to its end.
 */

import assert from "node:assert/strict";
import test from "node:test";
import { makeError } from "../dist/errors.js";
import { done, FakeEngine, faking } from "./faked.mjs";
import { faulty, says, whole } from "./faulty.mjs";

const messages = [{ role: "user", content: "x" }];
const ask = (engine, params, options) => engine.chat.completions.create({ messages, ...params }, options);
const text = async (engine, options) => (await ask(engine, {}, options)).choices[0].message.content;

/**
 * Runs `use` with an engine whose first answer finds no room; `rest` makes the others. `agree` lets
 * the server take over.
 */
async function crowded(t, rest, use) {
  const { baseURL, posts } = await faulty(t, [says(200, whole)]);
  let isFirst = true;
  let asked, agree;
  const [isAsked, answer] = [new Promise((resolve) => (asked = resolve)), new Promise((resolve) => (agree = resolve))];
  const engine = new FakeEngine(async (given) => {
    if (!isFirst && rest) return rest(given);
    isFirst = false;
    throw makeError("out-of-memory", "no room");
  });
  engine.freed = 0;
  engine.free = () => engine.freed++;
  const onWhere = ({ where }) => (where === "server" ? (asked(), answer) : undefined);
  await faking(engine, { server: { baseURL, model: "big" }, onWhere }, (made) => use({ made, posts, isAsked, agree, engine }));
}

/** A step that the test waits for. */
function step() {
  let reach;
  const reached = new Promise((resolve) => (reach = resolve));
  return { reached, reach };
}

test("an answer of which nothing was told, and those that wait behind it, are the server's", async (t) => {
  const { reached, reach } = step();
  let starts = 0;
  const stopped = async ({ isCancelled }) => {
    starts++;
    reach();
    while (!isCancelled()) await new Promise(setImmediate);
    return { ...done(), whole: undefined, cancelled: true };
  };
  await crowded(t, stopped, async ({ made, posts, isAsked, agree, engine }) => {
    const stop = new AbortController();
    const answers = [text(made), text(made), text(made)];
    const unwanted = text(made, { signal: stop.signal });
    unwanted.catch(() => {});
    await Promise.all([isAsked, reached]);
    stop.abort();
    await assert.rejects(unwanted, { code: "cancelled" });
    agree();
    assert.deepEqual(await Promise.all(answers), ["Yes.", "Yes.", "Yes."]);
    assert.equal(made.info.where, "server");
    while (engine.freed === 0) await new Promise(setImmediate);
    assert.deepEqual([starts, posts.length, engine.freed], [1, 3, 1]);
  });
});

test("token ids are the device's: a prompt of them does not go along", async (t) => {
  await crowded(t, undefined, async ({ made, posts, isAsked, agree }) => {
    const answers = [[5, 9], [[5, 9]]].map((prompt) => made.completions.create({ prompt }));
    const refused = Promise.all(answers.map((answer) => assert.rejects(answer, { code: "out-of-memory" })));
    await isAsked;
    agree();
    await refused;
    assert.equal(posts.length, 0, "what the server would read as other words");
  });
});

test("half an answer comes to its end on the device, which is then freed", async (t) => {
  const [begun, free] = [step(), step()];
  const streamed = async ({ tell, isCancelled }) => {
    tell('{"choices":[{"delta":{"content":"Half"}}]}');
    begun.reach();
    await free.reached;
    assert.equal(isCancelled(), false);
    tell('{"choices":[{"delta":{"content":" and half"}}]}');
    return done();
  };
  await crowded(t, streamed, async ({ made, posts, isAsked, agree, engine }) => {
    const first = text(made);
    const pieces = (await ask(made, { stream: true }))[Symbol.asyncIterator]();
    const behind = text(made);
    const next = async () => (await pieces.next()).value?.choices[0].delta.content;
    assert.equal(await next(), "Half");
    await Promise.all([isAsked, begun.reached]);
    agree();
    assert.equal(await first, "Yes.");
    assert.deepEqual([made.info.where, engine.freed], ["server", 0]);
    free.reach();
    assert.deepEqual([await next(), await next(), await behind], [" and half", undefined, "Yes."]);
    while (engine.freed === 0) await new Promise(setImmediate);
    assert.equal(posts.length, 2);
  });
});

test("disposed while the device tells the rest: everything ends", async (t) => {
  const begun = step();
  const streamed = async ({ tell, isCancelled }) => {
    tell('{"choices":[{"delta":{"content":"Half"}}]}');
    begun.reach();
    while (!isCancelled()) await new Promise(setImmediate);
    return { ...done(), cancelled: true };
  };
  await crowded(t, streamed, async ({ made, isAsked, agree, engine }) => {
    const first = text(made);
    const pieces = (await ask(made, { stream: true }))[Symbol.asyncIterator]();
    await Promise.all([isAsked, begun.reached, pieces.next()]);
    agree();
    await first;
    const rest = assert.rejects(pieces.next(), { code: "disposed" });
    await made.dispose();
    await rest;
    while (engine.freed === 0) await new Promise(setImmediate);
  });
});
