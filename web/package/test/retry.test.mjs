import assert from "node:assert/strict";
import test from "node:test";
import { delay, pause } from "../dist/download/retry.js";
import { eventsOf } from "../dist/page/sse.js";

const response = (retry) => new Response(null, { headers: retry === undefined ? {} : { "Retry-After": retry } });

test("waits grow, and differ by chance", () => {
  assert.deepEqual([1, 2, 3, 4].map((attempt) => delay(attempt, undefined, 0)), [200, 600, 1800, 5400]);
  assert.deepEqual([1, 2, 3, 4].map((attempt) => delay(attempt, undefined, 1)), [300, 900, 2700, 8100]);
});

test("a server may ask for a longer wait: in seconds or by a date, within bounds", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  for (const [retry, expected] of [
    [undefined, 200],
    ["0", 200],
    ["2", 2000],
    ["1.5", 1500],
    [" 3 ", 3000],
    ["86400", 30_000],
    ["Thu, 01 Jan 2026 00:00:04 GMT", 4000],
    ["Thu, 01 Jan 2026 01:00:00 GMT", 30_000],
    ["Wed, 31 Dec 2025 23:00:00 GMT", 200],
    ["soon", 200],
    ["-5", 200],
    ["", 200],
    ["1e999", 200],
  ]) {
    assert.equal(delay(1, response(retry), 0, now), expected, retry);
  }
});

test("a wait ends when it is stopped", async () => {
  const stop = new AbortController();
  const waiting = pause(1, response("30"), stop.signal);
  stop.abort();
  await assert.rejects(waiting, { code: "cancelled" });
  await assert.rejects(pause(1, undefined, AbortSignal.abort(new DOMException("late", "TimeoutError"))), { code: "timeout" });
});

/** The events of a body that comes in these pieces. */
async function events(...pieces) {
  const bytes = pieces.map((piece) => (typeof piece === "string" ? new TextEncoder().encode(piece) : piece));
  return Array.fromAsync ? Array.fromAsync(eventsOf(ReadableStream.from(bytes))) : collect(eventsOf(ReadableStream.from(bytes)));
}
async function collect(all) {
  const found = [];
  for await (const one of all) found.push(one);
  return found;
}

test("server-sent events, however they are written and cut", async () => {
  const text = "\uFEFFdata: eins\n\n: waiting\r\n\r\nevent: x\rid: 1\rdata:zwei\r\rdata: dr\r\ndata:  ei\r\n\r\ndata\n\nfoo: bar\n\ndata: äöü €\n\ndata: rest";
  const expected = ["eins", "zwei", "dr\n ei", "", "äöü €", "rest"];
  assert.deepEqual(await events(text), expected);
  const bytes = new TextEncoder().encode(text);
  assert.deepEqual(await events(...Array.from(bytes, (byte) => Uint8Array.of(byte))), expected);
  for (let at = 0; at < bytes.length; at += 7) assert.deepEqual(await events(bytes.subarray(0, at), bytes.subarray(at)), expected);
  assert.deepEqual(await events(), []);
});

test("leaving the events cuts the connection; a line without an end is no answer", async () => {
  let cancelled = 0;
  const endless = () => new ReadableStream({ pull: (controller) => controller.enqueue(new TextEncoder().encode("data: x\n\n")), cancel: () => void cancelled++ });
  for await (const event of eventsOf(endless())) {
    assert.equal(event, "x");
    break;
  }
  assert.equal(cancelled, 1);
  const line = new ReadableStream({ pull: (controller) => controller.enqueue(new TextEncoder().encode("x".repeat(1 << 20))), cancel: () => void cancelled++ });
  await assert.rejects(collect(eventsOf(line)), /a line of more than/);
  assert.equal(cancelled, 2);
});
