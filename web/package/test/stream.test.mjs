import assert from "node:assert/strict";
import test from "node:test";
import { makeError } from "../dist/errors.js";
import { ChatCompletions, Completions } from "../dist/completions.js";

const result = { text: "", ids: [1, 2], finish: "stop", promptTokens: 5, cachedTokens: 0, droppedMessages: 0, prefillSeconds: 1, decodeSeconds: 1 };
const messages = [{ role: "user", content: "x" }];

/** Completions over a worker whose pieces and ends the test decides; `control` is that of the newest call. */
function scripted(Kind = ChatCompletions) {
  const control = { aborts: 0, requests: [] };
  const link = {
    call(name, request, onPiece) {
      assert.equal(name, "answer");
      control.requests.push(request);
      control.piece = (token, text, logprobs) => onPiece({ token, text, logprobs });
      return { result: new Promise((resolve, reject) => Object.assign(control, { resolve, reject })), abort: () => control.aborts++ };
    },
  };
  return { completions: new Kind(link, "m", false), control };
}

/** A stream, and what the worker says. */
async function streaming(params = {}, signal) {
  const { completions, control } = scripted();
  return { stream: await completions.create({ messages, stream: true, ...params }, { signal }), control };
}

/** Waits until the newest call is another one. */
const turn = () => new Promise((resolve) => setTimeout(resolve));

test("chunks in OpenAI's shape", async () => {
  const { stream, control } = await streaming({ stream_options: { include_usage: true }, return_token_ids: true });
  control.piece(1, "Hel");
  control.piece(2, "lo");
  control.resolve(result);
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.deepEqual(chunks[0].choices[0].delta, { role: "assistant", content: "" });
  assert.deepEqual(chunks.slice(1, 3).map((c) => c.choices[0].delta.content), ["Hel", "lo"]);
  assert.deepEqual(chunks.slice(1, 3).map((c) => c.choices[0].token_ids), [[1], [2]]);
  assert.equal(chunks[3].choices[0].finish_reason, "stop");
  assert.deepEqual(chunks[4].choices, []);
  assert.equal(chunks[4].usage.total_tokens, 7);
  assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
  assert.equal(control.aborts, 0);
});

test("the whole answer", async () => {
  const { completions, control } = scripted();
  const answering = completions.create({ messages, return_token_ids: true });
  control.piece(1, "Hel");
  control.piece(2, "l");
  control.resolve({ ...result, text: "o", finish: "context" });
  const answer = await answering;
  assert.equal(answer.object, "chat.completion");
  assert.deepEqual(answer.choices, [
    { index: 0, message: { role: "assistant", content: "Hello", refusal: null }, logprobs: null, finish_reason: "length", token_ids: [1, 2] },
  ]);
  assert.equal(answer.usage.completion_tokens, 2);
});

test("several answers: one after the other, seeds that follow each other, the prompt counted once", async () => {
  const { completions, control } = scripted();
  const answering = completions.create({ messages, n: 2, seed: 7 });
  control.piece(1, "a");
  control.resolve(result);
  await turn();
  control.piece(1, "b");
  control.resolve({ ...result, cachedTokens: 4 });
  const answer = await answering;
  assert.deepEqual(answer.choices.map((choice) => [choice.index, choice.message.content]), [[0, "a"], [1, "b"]]);
  assert.deepEqual(control.requests.map((request) => request.seed), [7, 8]);
  assert.equal(answer.usage.prompt_tokens, 5);
  assert.equal(answer.usage.completion_tokens, 4);
  assert.equal(answer.usage.prompt_tokens_details.cached_tokens, 0);
});

test("log-probabilities", async () => {
  const { completions, control } = scripted();
  const answering = completions.create({ messages, logprobs: true, top_logprobs: 1 });
  assert.equal(control.requests[0].logprobs, 1);
  const likely = { token: 9, bytes: [0xc3], logprob: -0.5 };
  control.piece(9, "", { this: likely, top: [likely] });
  control.resolve(result);
  const told = { token: "\ufffd", bytes: [0xc3], logprob: -0.5 };
  assert.deepEqual((await answering).choices[0].logprobs, { content: [{ ...told, top_logprobs: [told] }], refusal: null });
});

test("plain completions", async () => {
  const { completions, control } = scripted(Completions);
  const answering = completions.create({ prompt: "Once", stop: "." });
  assert.deepEqual([control.requests[0].prompt, control.requests[0].stop, control.requests[0].maxTokens], ["Once", ["."], 16]);
  control.piece(1, " upon");
  control.resolve({ ...result, text: " a" });
  const answer = await answering;
  assert.equal(answer.object, "text_completion");
  assert.deepEqual(answer.choices, [{ index: 0, text: " upon a", logprobs: null, finish_reason: "stop" }]);
});

test("leaving the loop stops the work", async () => {
  const { stream, control } = await streaming();
  control.piece(1, "x");
  for await (const _ of stream) break;
  assert.equal(control.aborts, 1);
});

test("a signal before the first piece ends the loop at once", async () => {
  const abort = new AbortController();
  const { completions, control } = scripted();
  const answering = completions.create({ messages }, { signal: abort.signal });
  abort.abort();
  await assert.rejects(answering, { code: "cancelled" });
  assert.equal(control.aborts, 1);
});

test("work that was stopped by nobody who listens: the engine is gone", async () => {
  const { completions, control } = scripted();
  const answering = completions.create({ messages });
  control.resolve({ ...result, finish: "cancelled" });
  await assert.rejects(answering, { code: "disposed" });
});

test("a signal stops the work and the loop throws, after what the engine had written", async () => {
  const abort = new AbortController();
  const { stream, control } = await streaming({}, abort.signal);
  control.piece(1, "x");
  abort.abort("because");
  control.piece(2, "y");
  control.resolve({ ...result, finish: "cancelled" });
  const seen = [];
  await assert.rejects(
    async () => {
      for await (const chunk of stream) seen.push(chunk.choices[0].delta.content);
    },
    { code: "cancelled", name: "AbortError", cause: "because" },
  );
  assert.deepEqual(seen, ["", "x", "y"]);
  assert.equal(control.aborts, 1);
});

test("an error comes out of the loop", async () => {
  const { completions, control } = scripted();
  const answering = completions.create({ messages });
  control.reject(makeError("device-lost", "gone"));
  await assert.rejects(answering, { code: "device-lost" });
});
