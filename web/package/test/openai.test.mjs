import assert from "node:assert/strict";
import test from "node:test";
import { countOf, readChat, readCompletion, usageOf } from "../dist/request.js";

const messages = [{ role: "user", content: "Hello!" }];
const refused = (params, code, message) =>
  assert.throws(() => readChat({ messages, ...params }), (error) => {
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });

test("defaults are OpenAI's", () => {
  const request = readChat({ messages });
  assert.deepEqual(request.messages, messages);
  assert.equal(request.temperature, 1);
  assert.equal(request.topP, 1);
  assert.equal(request.topK, 0);
  assert.equal(request.repetitionPenalty, 1);
  assert.ok(Number.isSafeInteger(request.seed));
});

test("fields are taken over", () => {
  const request = readChat({ messages, temperature: 0, top_p: 0.5, top_k: 3, min_p: 0.1, seed: 7, max_tokens: 9 });
  assert.deepEqual([request.temperature, request.topP, request.topK, request.minP, request.seed, request.maxTokens], [0, 0.5, 3, 0.1, 7, 9]);
  assert.equal(readChat({ messages, max_tokens: 9, max_completion_tokens: 4 }).maxTokens, 4);
});

test("what is not supported is refused by name", () => {
  refused({ tools: [{ type: "function" }] }, "not-supported", /^tools: /);
  refused({ response_format: { type: "json_object" } }, "not-supported", /^response_format: /);
  assert.throws(() => readCompletion({ prompt: "x", echo: true }), { code: "not-supported", message: /^echo: / });
  assert.throws(() => readCompletion({ prompt: "x", messages }), { code: "not-supported", message: /^messages: not a field/ });
  refused({ tempratur: 1 }, "not-supported", /^tempratur: not a field/);
});

test("penalties, biases, stops, log-probabilities", () => {
  const request = readChat({ messages, presence_penalty: -2, frequency_penalty: 1.5, logit_bias: { 5: -100, 17: 2 }, stop: "\n", logprobs: true, top_logprobs: 3, n: 4 });
  assert.deepEqual([request.presencePenalty, request.frequencyPenalty, request.logprobs], [-2, 1.5, 3]);
  assert.deepEqual(request.logitBias, [[5, -100], [17, 2]]);
  assert.deepEqual(request.stop, ["\n"]);
  assert.equal(readChat({ messages, logprobs: true }).logprobs, 0);
  assert.equal("logprobs" in readChat({ messages }), false);
  assert.equal(countOf({ n: 4 }), 4);
  assert.ok(readChat({ messages, top_p: 0 }).topP > 0);
  refused({ presence_penalty: 2.1 }, "argument", /^presence_penalty: /);
  refused({ logit_bias: { x: 1 } }, "argument", /^logit_bias: expected token ids, found "x"/);
  refused({ logit_bias: { 3: 101 } }, "argument", /^logit_bias\["3"\]: /);
  refused({ stop: ["a", "b", "c", "d", "e"] }, "argument", /^stop: /);
  refused({ stop: [""] }, "argument", /^stop: /);
  refused({ top_logprobs: 2 }, "argument", /^top_logprobs: .*logprobs/);
  refused({ logprobs: true, top_logprobs: 21 }, "argument", /^top_logprobs: /);
  assert.throws(() => countOf({ n: 0 }), { code: "argument", message: /^n: / });
});

test("prompts", () => {
  assert.deepEqual(readCompletion({ prompt: [1, 2] }).prompt, [1, 2]);
  for (const prompt of [undefined, [], [-1], [2 ** 32], ["a", "b"], 5]) assert.throws(() => readCompletion({ prompt }), { code: "argument", message: /^prompt: / });
});

test("values that change nothing are let through", () => {
  readChat({ messages, n: 1, tools: [], stop: null, logprobs: false, frequency_penalty: 0, response_format: { type: "text" }, logit_bias: {} });
});

test("wrong values are refused by name, with what was expected", () => {
  refused({ temperature: -1 }, "argument", /^temperature: expected a number from 0 to 2, found -1/);
  refused({ temperature: "0" }, "argument", /^temperature: .*found "0"/);
  refused({ temperature: NaN }, "argument", /^temperature: /);
  refused({ top_k: 1.5 }, "argument", /^top_k: expected a whole number/);
  refused({ max_tokens: 0 }, "argument", /^max_tokens: expected a whole number of at least 1, found 0/);
  refused({ max_tokens: 5e9 }, "argument", /^max_tokens: expected a whole number of at most 4294967295, found 5000000000/);
  refused({ truncation: "some" }, "argument", /^truncation: expected "auto" or "disabled", found "some"/);
  refused({ seed: 2 ** 60 }, "argument", /^seed: /);
  refused({ messages: [] }, "argument", /^messages: /);
  refused({ messages: [{ role: "tool", content: "x" }] }, "argument", /^messages\[0\]\.role: /);
  refused({ messages: [messages[0], { role: "user", content: [{ type: "image_url" }] }] }, "argument", /^messages\[1\]\.content: .*text/);
});

test("unknown fields of messages and of nested options are refused by name, with the one that is near", () => {
  refused({ messages: [messages[0], { role: "user", content: "x", contnt: "y" }] }, "not-supported", /^messages\[1\]\.contnt: not a field of a message; did you mean content\?$/);
  refused({ messages: [{ ...messages[0], name: "Ann" }] }, "not-supported", /^messages\[0\]\.name: not a field/);
  refused({ messages: [{ ...messages[0], tool_calls: [{}] }] }, "not-supported", /tool_calls/);
  // What an answer of this engine has, and is sent back with.
  assert.deepEqual(readChat({ messages: [{ role: "assistant", content: "x", refusal: null, tool_calls: [] }] }).messages, [{ role: "assistant", content: "x" }]);
  refused({ tempratur: 1 }, "not-supported", /did you mean temperature\?/);
  refused({ maxTokens: 1 }, "not-supported", /did you mean max_tokens\?/);
  refused({ stream_options: { include_usge: true } }, "not-supported", /^stream_options\.include_usge: .*include_usage/);
  refused({ stream_options: { include_usage: 1 } }, "argument", /^stream_options\.include_usage: expected true or false/);
  refused({ stream_options: true }, "argument", /^stream_options: /);
  refused({ stream: "yes" }, "argument", /^stream: expected true or false/);
  refused({ return_token_ids: 1 }, "argument", /^return_token_ids: /);
  refused({ logprobs: "true" }, "argument", /^logprobs: /);
  refused({ logit_bias: "none" }, "argument", /^logit_bias: /);
  for (const body of [undefined, null, "Hello", []]) assert.throws(() => readChat(body), { code: "argument", message: /^the request: expected an object/ });
});

test("truncation says whether the oldest turns may go", () => {
  assert.equal(readChat({ messages }).dropOldest, false);
  assert.equal(readChat({ messages, truncation: "disabled" }).dropOldest, false);
  assert.equal(readChat({ messages, truncation: "auto" }).dropOldest, true);
});

test("usage counts and speeds", () => {
  const usage = usageOf([{ text: "", ids: [1, 2, 3], finish: "stop", promptTokens: 10, cachedTokens: 4, droppedMessages: 2, prefillSeconds: 0.5, decodeSeconds: 0.25 }]);
  assert.equal(usage.total_tokens, 13);
  assert.deepEqual(usage.prompt_tokens_details, { cached_tokens: 4, dropped_messages: 2 });
  assert.deepEqual(usage.timings, { prefill_ms: 500, decode_ms: 250, tokens_per_second: 8 });
});
