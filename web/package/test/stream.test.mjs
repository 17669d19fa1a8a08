import assert from "node:assert/strict";
import test from "node:test";
import { ChatCompletions, Completions } from "../dist/page/completions.js";
import { makeError } from "../dist/errors.js";
import { jsonOf } from "../dist/page/requests.js";
import { scripted } from "./scripted.mjs";

const usage = { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 };
const messages = [{ role: "user", content: "x" }];
const chunk = (content) => JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: null }] });

/** Chat completions over a worker that the test plays. */
function chat() {
  const { requests, control } = scripted();
  return { completions: new ChatCompletions(requests), control };
}

/** A stream, and what the worker says. */
async function streaming(signal) {
  const { completions, control } = chat();
  const creating = completions.create({ messages, stream: true }, { signal });
  control.event("");
  return { stream: await creating, control };
}

test("chunks are what the engine says", async () => {
  const { stream, control } = await streaming();
  control.event(chunk("Hel"));
  control.event(chunk("lo"));
  control.resolve({ usage, cancelled: false });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.deepEqual(chunks.map((c) => c.choices[0].delta.content), ["Hel", "lo"]);
  assert.deepEqual(stream.usage, usage);
  assert.equal(control.aborts, 0);
  await assert.rejects(async () => {
    for await (const _ of stream);
  }, TypeError);
});

test("the whole answer, and what is sent for it", async () => {
  const { completions, control } = chat();
  const answering = completions.create({ messages, seed: 7, max_tokens: undefined });
  const [request] = control.requests;
  assert.deepEqual(JSON.parse(request.body), { messages, seed: 7 });
  assert.deepEqual([request.kind, request.onlyRead, request.model, request.refuseWhenBusy], ["chat", false, "m", false]);
  assert.ok(Number.isSafeInteger(request.seed) && /^[0-9a-f]{32}$/.test(request.id));
  control.event("");
  control.resolve({ usage, cancelled: false, whole: '{"object":"chat.completion"}' });
  assert.deepEqual(await answering, { object: "chat.completion" });
});

test("plain completions, and prompts that are only read", async () => {
  const { requests, control } = scripted();
  const completions = new Completions(requests);
  const answering = completions.create({ prompt: Uint32Array.of(1, 2) });
  assert.deepEqual(JSON.parse(control.requests[0].body), { prompt: [1, 2] });
  control.resolve({ usage, cancelled: false, whole: '{"object":"text_completion"}' });
  assert.deepEqual(await answering, { object: "text_completion" });
  for (const [prompt, kind, body] of [["Once", "completion", { prompt: "Once" }], [messages, "chat", { messages }]]) {
    const reading = completions.prefill(prompt, {});
    const request = control.requests.at(-1);
    assert.deepEqual([request.kind, request.onlyRead, JSON.parse(request.body)], [kind, true, body]);
    control.resolve({ usage, cancelled: false });
    assert.deepEqual(await reading, usage);
  }
});

test("what is wrong with a request is known before its turn", async () => {
  const { completions, control } = chat();
  const creating = completions.create({ messages, stream: true, tempratur: 1 });
  control.reject(makeError("not-supported", "tempratur: …"));
  await assert.rejects(creating, { code: "not-supported" });
});

test("what JSON would drop or change is refused by name", () => {
  for (const value of [NaN, Infinity, 1n, () => {}, Symbol("x")]) {
    assert.throws(() => jsonOf({ messages, temperature: value }), { code: "argument", message: /^temperature: / });
  }
  for (const params of [undefined, null, 5, "x", [messages]]) assert.throws(() => jsonOf(params), { code: "argument" });
  assert.equal(jsonOf({ stop: undefined, top_p: null }), '{"top_p":null}');
});

test("leaving the loop stops the work", async () => {
  const { stream, control } = await streaming();
  control.event(chunk("x"));
  for await (const _ of stream) break;
  assert.equal(control.aborts, 1);
});

test("a signal before the first word ends the call at once, and one that has spoken before it begins nothing", async () => {
  const abort = new AbortController();
  const { completions, control } = chat();
  const answering = completions.create({ messages }, { signal: abort.signal });
  control.event("");
  abort.abort();
  await assert.rejects(answering, { code: "cancelled" });
  assert.equal(control.aborts, 1);
  await assert.rejects(completions.create({ messages }, { signal: abort.signal }), { code: "cancelled" });
  assert.equal(control.requests.length, 1);
});

test("work that was stopped by nobody who listens: the engine is gone", async () => {
  const { completions, control } = chat();
  const answering = completions.create({ messages });
  control.resolve({ usage, cancelled: true });
  await assert.rejects(answering, { code: "disposed" });
});

test("a signal stops the work and the loop throws, after what the engine had written", async () => {
  const abort = new AbortController();
  const { stream, control } = await streaming(abort.signal);
  control.event(chunk("x"));
  abort.abort("because");
  control.event(chunk("y"));
  control.resolve({ usage, cancelled: true });
  const seen = [];
  await assert.rejects(
    async () => {
      for await (const chunk of stream) seen.push(chunk.choices[0].delta.content);
    },
    { code: "cancelled", name: "AbortError", cause: "because" },
  );
  assert.deepEqual(seen, ["x", "y"]);
  assert.equal(control.aborts, 1);
});

test("a signal that speaks when all is written changes nothing", async () => {
  const abort = new AbortController();
  const { stream, control } = await streaming(abort.signal);
  control.event(chunk("x"));
  abort.abort();
  control.resolve({ usage, cancelled: false });
  const seen = [];
  for await (const chunk of stream) seen.push(chunk.choices[0].delta.content);
  assert.deepEqual(seen, ["x"]);
});

test("an error comes out of the loop, after what came before it", async () => {
  const { stream, control } = await streaming();
  control.event(chunk("x"));
  control.reject(makeError("device-lost", "gone"));
  const seen = [];
  await assert.rejects(
    async () => {
      for await (const chunk of stream) seen.push(chunk.choices[0].delta.content);
    },
    { code: "device-lost" },
  );
  assert.deepEqual(seen, ["x"]);
});
