/** An engine without a GPU, and llama.cpp's server behind it. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { after, before, test } from "node:test";
import { ChatCompletions } from "../dist/page/completions.js";
import { createEngine } from "../dist/index.js";
import { Remote } from "../dist/page/remote.js";
import { Requests } from "../dist/page/requests.js";
import { llama } from "./llama.mjs";

const { conversations } = JSON.parse(readFileSync(new URL("../../../tests/golden/greedy.json", import.meta.url), "utf8"));
const [capital, story] = ["capital", "story"].map((name) => conversations.find((conversation) => conversation.name === name));

let server;
let engine;
before(async () => {
  server = await llama();
  engine = await createEngine({ model: new Blob(["no model"]), device: "gpu", server: { baseURL: server.baseURL, model: "tiny" }, onWhere() {} });
});
after(async () => {
  await engine?.dispose();
  await server?.end();
});
const ask = (params, options) => engine.chat.completions.create({ messages: capital.messages, temperature: 0, max_tokens: 40, ...params }, options);

test("a whole answer is the one of the golden file, with its counts", async () => {
  assert.deepEqual([engine.info.where, engine.info.reason, engine.info.address], ["server", "no-device", server.baseURL]);
  const { object, choices, usage } = await ask({});
  assert.deepEqual([object, choices[0].message, choices[0].finish_reason], ["chat.completion", { role: "assistant", content: capital.answer, refusal: null }, "stop"]);
  assert.equal(usage.prompt_tokens, capital.prompt_ids.length);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.ok(usage.timings.decode_ms > 0 && usage.timings.tokens_per_second > 0);
  const again = await ask({ temperature: 1, top_k: 1, repetition_penalty: 1 });
  assert.equal(again.choices[0].message.content, capital.answer, "top_k has a say");
  assert.ok(again.usage.prompt_tokens_details.cached_tokens > 0);
});

test("streams: pieces, the end, counts; a stop; the end of max_tokens", async () => {
  const stream = await ask({ stream: true, stream_options: { include_usage: true } });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.equal(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join(""), capital.answer);
  assert.deepEqual(chunks.flatMap(({ choices }) => choices.map((choice) => choice.finish_reason)).filter(Boolean), ["stop"]);
  assert.deepEqual([chunks.at(-1).choices, chunks.at(-1).usage], [[], stream.usage]);
  assert.equal(stream.usage.prompt_tokens, capital.prompt_ids.length);

  const half = capital.answer.split(" ")[2];
  const { choices } = await ask({ stop: [half] });
  assert.deepEqual([choices[0].message.content, choices[0].finish_reason], [capital.answer.slice(0, capital.answer.indexOf(half)), "stop"]);
  for (const limit of [{ max_tokens: 2 }, { max_tokens: undefined, max_completion_tokens: 2 }]) {
    const { choices, usage } = await ask(limit);
    assert.deepEqual([choices[0].finish_reason, usage.completion_tokens], ["length", 2]);
  }
  const likely = (await ask({ max_tokens: 2, logprobs: true, top_logprobs: 2 })).choices[0].logprobs.content;
  assert.deepEqual([likely.length, likely[0].top_logprobs.length, likely[0].token], [2, 2, likely[0].top_logprobs[0].token]);
});

test("answers by a schema, and of a choice", async () => {
  const schema = { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false };
  const bySchema = await ask({ response_format: { type: "json_schema", json_schema: { name: "city", strict: true, schema } } });
  assert.ok(["Paris", "Rome"].includes(JSON.parse(bySchema.choices[0].message.content).city));
  const odd = 'n"o\\né€😀 [x]';
  for (const choice of [["yes"], [odd]]) {
    const chosen = await ask({ response_format: { type: "choice", choice } });
    assert.equal(chosen.choices[0].message.content, choice[0]);
  }
  await assert.rejects(ask({ response_format: { type: "regex", regex: "a" } }), { code: "not-supported", message: /^response_format: llama\.cpp/ });
});

test("plain completions and engine.fetch", async () => {
  const { object, choices } = await engine.completions.create({ prompt: "The capital of", max_tokens: 3, temperature: 0 });
  assert.deepEqual([object, choices[0].finish_reason, typeof choices[0].text], ["text_completion", "length", "string"]);
  const { usage } = await engine.completions.create({ prompt: "The capital of", ignore_eos: true });
  assert.equal(usage.completion_tokens, 16);
  const response = await engine.fetch("/v1/chat/completions", { method: "POST", body: JSON.stringify({ messages: capital.messages, temperature: 0, stream: true }) });
  const events = (await response.text()).split("\n\n").filter(Boolean).map((event) => event.slice(6));
  assert.equal(events.at(-1), "[DONE]");
  assert.equal(events.slice(0, -1).map((event) => JSON.parse(event).choices[0]?.delta.content ?? "").join(""), capital.answer);
  assert.equal((await (await engine.fetch("/v1/models")).json()).object, "list");
});

test("errors are those that the engine's own would be", async () => {
  const long = [{ role: "user", content: "word ".repeat(4000) }];
  for (const stream of [false, true]) {
    await assert.rejects(ask({ messages: long, stream }), { name: "RequestError", code: "context-full", message: /context size/ });
    await assert.rejects(ask({ max_tokens: "many", stream }), { name: "RequestError", code: "argument", message: /max_tokens/ });
  }
  for (const lacking of [{ truncation: "auto" }, { return_token_ids: true }]) await assert.rejects(ask(lacking), { code: "not-supported", message: /llama\.cpp's server/ });
  const response = await engine.fetch("/v1/chat/completions", { method: "POST", body: JSON.stringify({ messages: long }) });
  assert.deepEqual([response.status, (await response.json()).error.code], [400, "context_length_exceeded"]);
});

/** It would take much longer than anything here. */
const endless = { messages: story.messages, max_tokens: 1900, ignore_eos: true, stream: true };

test("stopped in the middle: what was written is kept, and the server is free", async () => {
  const stop = new AbortController();
  let text = "";
  await assert.rejects(
    async () => {
      for await (const { choices } of await ask(endless, { signal: stop.signal })) {
        text += choices[0]?.delta.content ?? "";
        if (text.length > 10) stop.abort();
      }
    },
    { name: "AbortError" },
  );
  assert.ok(text.length > 10);
  assert.equal((await ask({})).choices[0].message.content, capital.answer);
});

test("a server that is killed in the middle of a stream: what came is kept, the error is typed, and later it is not there", async () => {
  const dying = await llama();
  // Between the two: of the answer only the beginning is read, so that it cannot be over before the
  // server is, however fast that writes.
  const sockets = [];
  const between = createServer((near) => {
    const far = connect(Number(new URL(dying.baseURL).port), new URL(dying.baseURL).hostname);
    sockets.push(near, far);
    for (const socket of [near, far]) socket.on("error", () => {});
    let isAsked = false;
    let passed = 0;
    near.on("data", (data) => {
      isAsked ||= data.includes("/chat/completions");
      far.write(data);
    });
    far.on("data", (data) => {
      near.write(data);
      if (isAsked && (passed += data.length) > 4096) far.pause();
    });
  });
  await new Promise((resolve) => between.listen(0, "127.0.0.1", resolve));
  const remote = new Remote({ base: new URL(`http://127.0.0.1:${between.address().port}/v1`), model: "tiny", log() {}, wait: async () => {} });
  const die = async () => {
    await dying.end();
    between.close();
    for (const socket of sockets) socket.destroy();
  };
  const chats = new ChatCompletions(new Requests(remote, "tiny", false));
  let text = "";
  await assert.rejects(
    async () => {
      for await (const { choices } of await chats.create({ temperature: 0, ...endless })) {
        text += choices[0]?.delta.content ?? "";
        if (text.length > 10) await die();
      }
    },
    { name: "ServerError", code: "server-failed", message: /the connection broke after \d+ pieces of the answer/ },
  );
  assert.ok(text.startsWith(story.answer.slice(0, 10)));
  await assert.rejects(chats.create({ messages: story.messages }), { name: "ServerError", code: "server-unreachable" });
});
