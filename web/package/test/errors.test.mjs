import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { abortError, AbortError, DeviceLostError, EnvironmentError, makeError, ModelFileError, NoGpuError, OutOfMemoryError, PeregrineError, TimeoutError, toWire } from "../dist/errors.js";

test("a code chooses the class, and brings what to do", () => {
  assert.ok(makeError("not-gguf", "m") instanceof ModelFileError);
  assert.ok(makeError("no-webgpu", "m") instanceof NoGpuError);
  const lost = makeError("device-lost", "gone", { cause: "driver" });
  assert.ok(lost instanceof DeviceLostError && lost instanceof PeregrineError && lost instanceof Error);
  assert.equal(lost.name, "DeviceLostError");
  assert.equal(lost.cause, "driver");
  assert.notEqual(lost.advice, "");
});

test("a code that nobody knows is internal", () => {
  for (const code of ["future-code", "constructor", "toString"]) assert.equal(makeError(code, "m").code, "internal");
});

test("every code of the runtime is known here", () => {
  const source = readFileSync(new URL("../../../crates/peregrine/src/error.rs", import.meta.url), "utf8");
  const codes = [...source.matchAll(/=> "([a-z-]+)"/g)].map(([, code]) => code);
  assert.ok(codes.length > 15);
  for (const code of codes) assert.equal(makeError(code, "m").code, code);
});

test("what would fit crosses the border, too", () => {
  const fit = { needed: 3e9, budget: 2e9, contextLength: 4096, largestContext: 1024 };
  const wire = toWire(Object.assign(new Error("does not fit"), { code: "out-of-memory", fit }));
  assert.deepEqual(wire, { code: "out-of-memory", message: "does not fit", fit });
  const error = makeError(wire.code, wire.message, wire);
  assert.ok(error instanceof OutOfMemoryError);
  assert.deepEqual(error.fit, fit);
  assert.equal(makeError("out-of-memory", "no room").fit, undefined);
});

test("as JSON an error says what it is", () => {
  const { name, code, message, advice } = JSON.parse(JSON.stringify(makeError("no-worker", "no workers here")));
  assert.deepEqual([name, code, message], ["EnvironmentError", "no-worker", "no workers here"]);
  assert.match(advice, /worker/);
  const fit = { needed: 3, budget: 2, contextLength: 4 };
  assert.deepEqual(JSON.parse(JSON.stringify(makeError("out-of-memory", "m", { fit }))).fit, fit);
});

test("a signal's timeout is told from a stop", () => {
  const stop = new AbortController();
  stop.abort("because");
  const stopped = abortError(stop.signal);
  assert.ok(stopped instanceof AbortError && stopped.code === "cancelled" && stopped.cause === "because");
  const late = AbortSignal.abort(new DOMException("late", "TimeoutError"));
  for (const signal of [late, AbortSignal.any([late])]) {
    const error = abortError(signal);
    assert.ok(error instanceof TimeoutError && !(error instanceof AbortError));
    assert.deepEqual([error.name, error.code, error.cause.name], ["TimeoutError", "timeout", "TimeoutError"]);
  }
  assert.ok(makeError("no-wasm", "m") instanceof EnvironmentError);
});

test("anything thrown crosses the border", () => {
  assert.deepEqual(toWire(makeError("http", "404")), { code: "http", message: "404" });
  assert.deepEqual(toWire(new TypeError("bug")), { code: "internal", message: "TypeError: bug" });
  // A DOMException has a code, too, but it is a number.
  assert.equal(toWire(new DOMException("x", "AbortError")).code, "internal");
  assert.deepEqual(toWire("text"), { code: "internal", message: "text" });
  assert.deepEqual(toWire(undefined), { code: "internal", message: "undefined" });
});
