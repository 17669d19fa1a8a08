import assert from "node:assert/strict";
import test from "node:test";
import { makeError } from "../dist/errors.js";
import { ChatStream, collect } from "../dist/stream.js";

const shape = { model: "m", includeUsage: false, tokenIds: false };
const result = { text: "", ids: [1, 2], finish: "stop", promptTokens: 5, cachedTokens: 0, prefillSeconds: 1, decodeSeconds: 1 };

/** A stream whose pieces and end the test decides. */
function scripted(options = {}, signal) {
  const control = { aborts: 0 };
  const stream = new ChatStream(
    (onPiece) => {
      control.piece = (token, text) => onPiece({ token, text });
      return { result: new Promise((resolve, reject) => Object.assign(control, { resolve, reject })), abort: () => control.aborts++ };
    },
    { ...shape, ...options },
    signal,
  );
  return { stream, control };
}

test("chunks in OpenAI's shape", async () => {
  const { stream, control } = scripted({ includeUsage: true, tokenIds: true });
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
  const { stream, control } = scripted({ tokenIds: true });
  control.piece(1, "Hel");
  control.piece(2, "lo");
  control.resolve({ ...result, finish: "context" });
  const answer = await collect(stream);
  assert.equal(answer.object, "chat.completion");
  assert.deepEqual(answer.choices, [
    { index: 0, message: { role: "assistant", content: "Hello" }, finish_reason: "length", token_ids: [1, 2] },
  ]);
  assert.equal(answer.usage.completion_tokens, 2);
});

test("leaving the loop stops the work", async () => {
  const { stream, control } = scripted();
  control.piece(1, "x");
  for await (const _ of stream) break;
  assert.equal(control.aborts, 1);
});

test("a signal before the first piece ends the loop at once", async () => {
  const abort = new AbortController();
  const { stream, control } = scripted({}, abort.signal);
  abort.abort();
  await assert.rejects(collect(stream), { code: "cancelled" });
  assert.equal(control.aborts, 1);
});

test("work that was stopped by nobody who listens: the engine is gone", async () => {
  const { stream, control } = scripted();
  control.resolve({ ...result, finish: "cancelled" });
  await assert.rejects(collect(stream), { code: "disposed" });
});

test("a signal stops the work and the loop throws, after what the engine had written", async () => {
  const abort = new AbortController();
  const { stream, control } = scripted({}, abort.signal);
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
  const { stream, control } = scripted();
  control.reject(makeError("device-lost", "gone"));
  await assert.rejects(collect(stream), { code: "device-lost" });
});
