/**
 * The module of grammars: fetched before a request takes its place, done without where that may be,
 * begun anew when it has failed.
 */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import test from "node:test";
import { Grammars } from "../dist/worker/grammars.js";
import { WebConstraint, WebGrammar, WebGrammars } from "../wasm/grammar.js";
import { WebRequest } from "../wasm/peregrine.js";
import { done, FakeEngine, faking } from "./faked.mjs";

const messages = [{ role: "user", content: "x" }];
const tool = (more) => ({ type: "function", function: { name: "f", ...more } });
const tools = [tool({})];
const json = { type: "json_object" };
const ask = (engine, params, options) => engine.chat.completions.create({ messages, ...params }, options);

/** What a grammar is made of, as it crosses. */
const object = JSON.stringify({ json_schema: { schema: { type: "object", properties: { a: { enum: ["x", "y"] } }, required: ["a"], additionalProperties: false }, strict: true } });
/**
 * Each rule is a call inside of the one before: more of them than the stack has room for, and as
 * many as there may be.
 */
const deep = JSON.stringify({ lark: `start: a0\n${Array.from({ length: 4090 }, (_, i) => `a${i}: a${i + 1}`).join("\n")}\na4090: "x"` });

/** Writes what must come, and the last of what may, as far as `most` tokens. */
function written(constraint, most = 100) {
  const ids = [];
  while (ids.length < most && !constraint.isFinished()) {
    const forced = [...constraint.forced()];
    const mask = constraint.mask();
    const next = forced.length > 0 ? forced : [Array.from({ length: 256 }, (_, id) => id).findLast((id) => (mask[id >> 5] >>> (id & 31)) & 1)];
    for (const id of next) constraint.accept(id);
    ids.push(...next);
  }
  return Buffer.from(ids).toString();
}
const answered = (grammars) => written(grammars.compile(object).begin());

/**
 * Serves the module as the test says: each request is answered when `answer` is called, with a
 * status or the file.
 */
async function serving(t) {
  const file = await readFile(new URL("../wasm/grammar_bg.wasm", import.meta.url));
  const waiting = [];
  const arrivals = [];
  const server = createServer((_, response) => (arrivals.shift() ?? ((r) => waiting.push(r)))(response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), server.close()));
  /** The next request, once it is there. */
  const next = () => (waiting.length > 0 ? Promise.resolve(waiting.shift()) : new Promise((resolve) => arrivals.push(resolve)));
  const refuse = async () => void (await next()).writeHead(404).end();
  const give = (response) => response.writeHead(200, { "Content-Type": "application/wasm" }).end(file);
  return { grammarUrl: `http://127.0.0.1:${server.address().port}/g.wasm`, next, refuse, give };
}

// The first tests are those in which the module is not there yet.
test("without the module: auto is answered freely and says so; what must be held is an error that names the address", async (t) => {
  const { grammarUrl, next, refuse, give } = await serving(t);
  const [seen, warned, lines] = [[], [], []];
  const engine = new FakeEngine(({ grammars }) => (seen.push(grammars), done()));
  const { warn } = WebRequest.prototype;
  WebRequest.prototype.warn = function (line) {
    warned.push(line);
    return warn.call(this, line);
  };
  t.after(() => (WebRequest.prototype.warn = warn));
  const logger = { error() {}, warn: (line) => lines.push(line), info() {}, debug() {} };
  await faking(engine, { grammarUrl, logger }, async (made) => {
    const named = { type: "function", function: { name: "f" } };
    for (const params of [{ tools, tool_choice: "required" }, { tools, tool_choice: named }, { tools: [tool({ strict: true })] }, { response_format: json }]) {
      void refuse();
      await assert.rejects(ask(made, params), (error) => error.code === "http" && error.message.includes(grammarUrl), JSON.stringify(params));
    }
    assert.deepEqual([seen, warned], [[], []]);
    void refuse();
    assert.equal((await ask(made, { tools })).choices[0].message.content, "Yes.");
    assert.deepEqual(seen, [undefined]);
    assert.match(warned.join("\n"), new RegExp(`^tools: calls are not enforced, since the module of grammars is not there: grammarUrl: ${grammarUrl}: [^\\n]*404[^\\n]*$`));
    assert.equal(lines.length, 1);
    // Nobody else waits for the file: these answers are there before it is.
    const coming = next();
    const held = ask(made, { tools, tool_choice: "required" });
    const response = await coming;
    await ask(made, {});
    await ask(made, { tools });
    assert.equal(warned.length, 2);
    give(response);
    await held;
    await ask(made, { tools });
    assert.deepEqual([seen.map(Boolean), warned.length], [[false, false, false, true, true], 2]);
  });
});

test("frees what a request has made, however it ends", async () => {
  const kept = [];
  const stop = new AbortController();
  const make = (grammars) => {
    const [{ begin }, compile] = [WebGrammar.prototype, WebGrammars.prototype.compile];
    const keep = (object) => (kept.push(object), object);
    WebGrammars.prototype.compile = function (spec) {
      return keep(compile.call(this, spec));
    };
    WebGrammar.prototype.begin = function () {
      return keep(begin.call(this));
    };
    try {
      const grammar = grammars.compile(object);
      return [grammar.begin(), grammar.begin()];
    } finally {
      WebGrammars.prototype.compile = compile;
      WebGrammar.prototype.begin = begin;
    }
  };
  const ends = [
    () => done(),
    () => Promise.reject(Object.assign(new Error("too deep (Maximum call stack size exceeded)"), { code: "argument" })),
    async ({ isCancelled }) => {
      stop.abort();
      while (!isCancelled()) await new Promise(setImmediate);
      return { ...done(), whole: undefined, cancelled: true };
    },
  ];
  const engine = new FakeEngine(async (asked) => {
    assert.equal(written(make(asked.grammars)[0]), '{"a":"y"}');
    assert.ok(kept.length === 3 && kept.every((object) => object.__wbg_ptr !== 0));
    return ends.shift()(asked);
  });
  await faking(engine, {}, async (made) => {
    for (const code of [undefined, "argument", "cancelled"]) {
      const answer = ask(made, { response_format: json }, { signal: code === "cancelled" ? stop.signal : undefined });
      if (code) await assert.rejects(answer, { code });
      else await answer;
      // An aborted call has ended here before it has there.
      await made.tokenizer.decode([]).catch(() => {});
      while (kept.some((object) => object.__wbg_ptr !== 0)) await new Promise(setImmediate);
      assert.equal(kept.splice(0).length, 3);
    }
    assert.equal(engine.vocabularies, 1);
  });
});

test("a grammar that exhausts the stack is an error of its request, and the next one works", () => {
  const engine = new FakeEngine();
  for (let i = 0; i < 3; i++) {
    const grammars = new Grammars(engine);
    assert.throws(() => grammars.compile(deep), { place: /^/, message: /^this is too deep or too complicated \(.+\): make it simpler$/ });
    // The same request may still have others compiled, to find out which it is.
    assert.equal(answered(grammars), '{"a":"y"}');
    assert.throws(() => grammars.compile(deep), { message: /too deep/ });
    assert.throws(() => grammars.compile(object), { message: /too deep/ }, "but not for ever");
    grammars.free();
    const next = new Grammars(engine);
    assert.equal(answered(next), '{"a":"y"}');
    next.free();
  }
});

test("whatever fails, the module is begun anew; what was made before is gone, and says so", (t) => {
  const engine = new FakeEngine();
  const overflow = () => overflow();
  const trap = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  const methods = ["mask", "accept", "forced", "mayEnd", "isFinished"].map((method) => [WebConstraint.prototype, method]);
  for (const [prototype, method] of [[WebGrammars.prototype, "compile"], [WebGrammar.prototype, "begin"], ...methods]) {
    for (const fault of [overflow, trap]) {
      const [grammars, other] = [new Grammars(engine), new Grammars(engine)];
      const before = other.compile(object).begin();
      const mocked = t.mock.method(prototype, method, fault);
      const use = () => {
        const constraint = grammars.compile(object).begin();
        constraint.mayEnd();
        written(constraint);
      };
      assert.throws(use, { place: "the module of grammars", message: /too deep or too complicated/ }, method);
      mocked.mock.restore();
      assert.throws(() => before.mask(), { place: "the module of grammars", message: /begun anew for another request's grammar: ask again/ });
      const { vocabularies } = engine;
      assert.equal(answered(other), '{"a":"y"}');
      assert.equal(engine.vocabularies, vocabularies + 1);
      grammars.free();
      other.free();
    }
  }
});

test("an error of a grammar is no fault of the module", () => {
  const engine = new FakeEngine();
  const grammars = new Grammars(engine);
  for (const spec of [{ regex: "(" }, { regex: "(a{1000}){1000}" }, { json_schema: { schema: { type: "strin" }, strict: true } }, { choice: [] }]) {
    assert.throws(() => grammars.compile(JSON.stringify(spec)), (error) => typeof error.place === "string" && error.place !== "the module of grammars", JSON.stringify(spec));
  }
  assert.equal(answered(grammars), '{"a":"y"}');
  assert.equal(engine.vocabularies, 1);
  grammars.free();
});
