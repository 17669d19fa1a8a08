import assert from "node:assert/strict";
import test from "node:test";
import { Pieces, usageOf, wholeOf } from "../dist/page/answers.js";
import { askedOf, programOf } from "../dist/page/dialect.js";

const asked = (program, body, kind = "chat") => askedOf({ kind, body: JSON.stringify(body) }, program, "big");
const sent = (...rest) => JSON.parse(asked(...rest).body);

test("which program a server is", () => {
  const list = (...owners) => ({ data: owners.map((owned_by, i) => ({ id: `m${i}`, owned_by })) });
  for (const owner of ["peregrine", "vllm", "llamacpp"]) assert.equal(programOf(list(owner), "?"), owner);
  assert.equal(programOf(list("vllm", "llamacpp"), "m1"), "llamacpp");
  for (const odd of [list("openai"), list(), { data: 5 }, { data: [null] }, null, "x", undefined]) assert.equal(programOf(odd, "m0"), "other");
});

test("peregrine serve gets what it was sent, but for the model's name and the counts", () => {
  const body = { messages: [{ role: "developer", content: "x" }], model: "y", truncation: "auto", return_token_ids: true, top_k: 3, stream: true };
  assert.deepEqual(sent("peregrine", body), { ...body, model: "big", stream_options: { include_usage: true } });
  const { isStream, wantsUsage, wantsIds } = asked("peregrine", body);
  assert.deepEqual([isStream, wantsUsage, wantsIds], [true, false, true]);
  assert.equal(asked("peregrine", { stream: true, stream_options: { include_usage: true } }).wantsUsage, true);
});

test("defaults are the engine's, whatever the server's are, and values that ask for nothing are not sent", () => {
  const nothing = { lora: [], truncation: "disabled", return_token_ids: false, ignore_eos: false, top_k: 0, min_p: 0, repetition_penalty: 1, temperature: null };
  const standard = { model: "big", temperature: 1, top_p: 1 };
  for (const body of [{}, nothing]) {
    assert.deepEqual(sent("other", body), standard);
    assert.deepEqual(sent("other", body, "completion"), { ...standard, max_tokens: 16 });
    assert.deepEqual(sent("vllm", body), { ...standard, top_k: 0, min_p: 0, repetition_penalty: 1 });
    assert.deepEqual(sent("llamacpp", body), { ...standard, top_k: 0, min_p: 0, repeat_penalty: 1 });
  }
});

test("our own fields: what a program knows is sent in its words, what it lacks is refused by name", () => {
  const own = { top_k: 5, min_p: 0.1, repetition_penalty: 1.1, ignore_eos: true, temperature: 0 };
  assert.deepEqual(sent("vllm", { ...own, return_token_ids: true }), { ...own, top_p: 1, model: "big", return_token_ids: true });
  const { repetition_penalty: repeat_penalty, ...rest } = own;
  assert.deepEqual(sent("llamacpp", own), { ...rest, repeat_penalty, top_p: 1, model: "big" });
  const other = asked("other", own);
  assert.deepEqual(other.warnings.map((line) => line.split(":")[0]), ["top_k", "min_p", "repetition_penalty", "ignore_eos"]);
  assert.deepEqual(JSON.parse(other.body), { ...own, top_p: 1, model: "big" });
  for (const [program, field, value] of [
    ["vllm", "truncation", "auto"],
    ["llamacpp", "truncation", "auto"],
    ["llamacpp", "return_token_ids", true],
    ["other", "truncation", "auto"],
    ["other", "return_token_ids", true],
    ...["vllm", "llamacpp", "other"].map((program) => [program, "lora", [{ id: "pirate", scale: 1 }]]),
  ]) {
    const api = { status: 400, type: "invalid_request_error", param: field, code: "unsupported_parameter" };
    assert.throws(() => asked(program, { [field]: value }), { code: "not-supported", message: new RegExp(`^${field}: `), api });
  }
});

test("the role developer is system where templates have no other; OpenAI's own field elsewhere", () => {
  const body = { messages: [{ role: "developer", content: "x" }, { role: "user", content: "y" }, "odd"] };
  for (const [program, role] of [["vllm", "system"], ["llamacpp", "system"], ["other", "developer"]]) assert.equal(sent(program, body).messages[0].role, role);
});

test("formats: OpenAI's go as they are, others in the program's words, or are refused by name", () => {
  const schema = { type: "json_schema", json_schema: { name: "x", schema: { type: "object" } } };
  for (const program of ["peregrine", "vllm", "llamacpp", "other"]) assert.deepEqual(sent(program, { response_format: schema }).response_format, schema);
  const [regex, choice, grammar] = [{ type: "regex", regex: "a+" }, { type: "choice", choice: ["yes", 'n"o\\'] }, { type: "grammar", grammar: "start: /a/" }];
  for (const format of [regex, choice, grammar]) assert.deepEqual(sent("peregrine", { response_format: format }).response_format, format);
  const vllm = sent("vllm", { response_format: regex });
  assert.deepEqual([vllm.structured_outputs, vllm.response_format], [{ regex: "a+" }, undefined]);
  assert.deepEqual(sent("vllm", { response_format: choice }).structured_outputs, { choice: choice.choice });
  assert.equal(sent("llamacpp", { response_format: choice }).grammar, 'root ::= "yes" | "n\\U00000022o\\U0000005c"');
  for (const [program, format] of [["vllm", grammar], ["llamacpp", regex], ["llamacpp", grammar], ["other", regex], ["other", choice], ["other", grammar]]) {
    assert.throws(() => asked(program, { response_format: format }), { code: "not-supported", message: /^response_format: / });
  }
  assert.throws(() => asked("vllm", { response_format: { type: "choice", choice: [] } }), { code: "argument", message: /^response_format\.choice: / });
});

test("tools: a choice by name goes to llama.cpp as the only tool, which is required", () => {
  const tools = ["f", "g"].map((name) => ({ type: "function", function: { name } }));
  const choice = { type: "function", function: { name: "g" } };
  for (const program of ["peregrine", "vllm", "other"]) assert.deepEqual(sent(program, { tools, tool_choice: choice }).tool_choice, choice);
  const { tools: [only, ...more], tool_choice, parallel_tool_calls } = sent("llamacpp", { tools, tool_choice: choice });
  assert.deepEqual([only, more, tool_choice, parallel_tool_calls], [tools[1], [], "required", true]);
  assert.equal(sent("llamacpp", { tools, parallel_tool_calls: false }).parallel_tool_calls, false);
  assert.throws(() => asked("llamacpp", { tools, tool_choice: { type: "function", function: { name: "h" } } }), { code: "argument", message: /^tool_choice: there is no tool "h"/ });
});

test("formats of plain completions", () => {
  const schema = { type: "object", properties: {} };
  const format = { type: "json_schema", json_schema: { name: "x", schema } };
  const { json_schema, response_format } = sent("llamacpp", { response_format: format }, "completion");
  assert.deepEqual([json_schema, response_format], [schema, undefined]);
  assert.deepEqual(sent("llamacpp", { response_format: { type: "json_object" } }, "completion").json_schema, { type: "object" });
  assert.deepEqual(sent("vllm", { response_format: format }, "completion").response_format, format);
  assert.throws(() => asked("other", { response_format: format }, "completion"), { code: "not-supported", message: /^response_format: / });
});

test("an answer of calls alone has no text", () => {
  const calls = [{ id: "c", type: "function", function: { name: "f", arguments: "{}" } }];
  const choice = { index: 0, finish_reason: "tool_calls", message: { role: "assistant", content: null, tool_calls: calls } };
  const { answer } = wholeOf("chat", { choices: [choice] });
  assert.deepEqual([answer.choices[0].message.content, answer.choices[0].message.tool_calls], [null, calls]);
  const without = wholeOf("chat", { choices: [{ index: 0, finish_reason: "stop", message: { content: "x", tool_calls: [] } }] });
  assert.equal("tool_calls" in without.answer.choices[0].message, false);
  const piece = new Pieces("chat").read({ choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: "{" } }] }, finish_reason: null }] });
  assert.equal(piece.weighs, true);
  assert.deepEqual(piece.chunk.choices[0].delta.tool_calls, [{ index: 0, function: { arguments: "{" } }]);
});

test("bodies that are none", () => {
  for (const [body, code] of [["{", "invalid_json"], ["[]", "invalid_type"], ["null", "invalid_type"], ['{"stream":1}', "invalid_type"]]) {
    assert.throws(() => askedOf({ kind: "chat", body }, "other", "big"), (error) => error.code === "argument" && error.api.status === 400 && error.api.code === code);
  }
});

test("counts and times, as they are told or seen", () => {
  const times = { asked: 100, first: 350, last: 1350 };
  const base = { prompt_tokens: 3, completion_tokens: 5, total_tokens: 8 };
  assert.deepEqual(usageOf({ prompt_tokens: 3, completion_tokens: 5 }, undefined, times), {
    ...base,
    prompt_tokens_details: { cached_tokens: 0, dropped_messages: 0 },
    timings: { prefill_ms: 250, decode_ms: 1000, tokens_per_second: 4 },
  });
  // vLLM's null; llama.cpp's times.
  const llama = usageOf({ ...base, prompt_tokens_details: null }, { prompt_ms: 1, predicted_ms: 2, predicted_per_second: 3 }, times);
  assert.deepEqual([llama.prompt_tokens_details, llama.timings], [{ cached_tokens: 0, dropped_messages: 0 }, { prefill_ms: 1, decode_ms: 2, tokens_per_second: 3 }]);
  const own = { ...base, prompt_tokens_details: { cached_tokens: 2, dropped_messages: 1 }, timings: { prefill_ms: 4, decode_ms: 5, tokens_per_second: 6 } };
  assert.deepEqual(usageOf(own, undefined, times), own);
  assert.equal(usageOf(null, undefined, times), undefined);
  assert.equal(usageOf({ ...base, completion_tokens: 1 }, undefined, times).timings.tokens_per_second, 0);
});

test("pieces and whole answers in the engine's shape", () => {
  const pieces = new Pieces("chat");
  const first = pieces.read({ id: "1", object: "x", choices: [{ index: 0, delta: { role: "assistant", content: null }, token_ids: null }], usage: null });
  assert.deepEqual([first.weighs, first.chunk], [false, { id: "1", object: "chat.completion.chunk", choices: [{ index: 0, delta: { role: "assistant" }, finish_reason: null }] }]);
  assert.equal(pieces.read({ choices: [{ delta: { content: "a" } }] }).weighs, true);
  assert.equal(pieces.isWhole, false);
  assert.equal(pieces.read({ choices: [{ delta: { tool_calls: [{ index: 0 }] } }] }).weighs, true);
  pieces.read({ choices: [{ index: 1, delta: { content: "b" }, finish_reason: "stop" }] });
  assert.equal(pieces.isWhole, false, "the other answer has not ended");
  assert.equal(pieces.read({ choices: [{ index: 0, delta: {}, finish_reason: "length" }] }).weighs, true);
  assert.equal(pieces.isWhole, true);
  assert.deepEqual(pieces.read({ choices: [], usage: { prompt_tokens: 1 } }), { weighs: false, usage: { prompt_tokens: 1 }, timings: undefined });
  for (const odd of [null, 5, [], {}, { choices: 5 }, { choices: [null] }]) assert.equal(pieces.read(odd), undefined);

  const { answer } = wholeOf("chat", { choices: [{ message: { content: null }, finish_reason: "stop" }] });
  assert.deepEqual(JSON.parse(JSON.stringify(answer.choices)), [{ index: 0, message: { refusal: null, role: "assistant", content: "" }, logprobs: null, finish_reason: "stop" }]);
  for (const odd of [null, [], { choices: [] }, { choices: [{ message: {} }] }]) assert.equal(typeof wholeOf("chat", odd), "string");
});
