import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";
import { inspect } from "node:util";
import { ChatCompletions, Completions } from "../dist/page/completions.js";
import { PeregrineError, ServerError } from "../dist/errors.js";
import { answer } from "../dist/page/fetch.js";
import { Remote } from "../dist/page/remote.js";
import { Requests } from "../dist/page/requests.js";
import { cut, faulty, KEY, piece, says, streams, usage, whole } from "./faulty.mjs";

const messages = [{ role: "user", content: "Is it?" }];
const ask = ({ requests }, params, options) => new ChatCompletions(requests).create({ messages, ...params }, options);
const failure = (promise) => promise.then(() => assert.fail("no error"), (error) => error);
/** The texts of a stream, and the error that ended it. */
async function read(stream) {
  const texts = [];
  try {
    for await (const { choices } of stream) texts.push(choices[0]?.delta.content ?? "");
    return { texts };
  } catch (error) {
    return { texts, error };
  }
}

test("a whole answer: the key in the head, the server's model in the body, counts as the engine has them", async (t) => {
  const there = await faulty(t, [says(200, whole)]);
  const reply = await ask(there, { model: "mine" });
  assert.deepEqual([reply.choices[0].message.content, reply.usage.total_tokens, reply.usage.prompt_tokens_details.cached_tokens], ["Yes.", 5, 0]);
  assert.deepEqual(there.posts, [{ messages, model: "big" }]);
  assert.deepEqual(there.heads.map(({ method, url, authorization }) => `${method} ${url} ${authorization}`), [`GET /v1/models Bearer ${KEY}`, `POST /v1/chat/completions Bearer ${KEY}`]);
  await ask(there, {});
  assert.equal(there.heads.length, 3, "which program it is is asked once");
});

test("a stream; counts only where they are wanted, but known in any case", async (t) => {
  const pieces = [piece({ role: "assistant", content: "" }), piece({ content: "Ye" }), piece({ content: "s." }), piece({}, "stop"), { ...piece({}), choices: [], usage }];
  for (const end of [undefined, (response) => response.end()]) {
    const there = await faulty(t, [streams(pieces, end)]);
    const stream = await ask(there, { stream: true });
    assert.deepEqual((await read(stream)).texts, ["", "Ye", "s.", ""]);
    assert.equal(stream.usage.completion_tokens, 2);
    const counted = await ask(there, { stream: true, stream_options: { include_usage: true } });
    const chunks = [];
    for await (const chunk of counted) chunks.push(chunk);
    assert.deepEqual([chunks.length, chunks.at(-1).choices, chunks.at(-1).usage.total_tokens], [5, [], 5]);
    assert.deepEqual(there.posts.map((body) => body.stream_options), [{ include_usage: true }, { include_usage: true }]);
  }
});

test("plain completions, and a query in the address", async (t) => {
  const there = await faulty(t, [says(200, { ...whole, choices: [{ index: 0, text: " is.", finish_reason: "length" }] })], { query: "/?version=1", apiKey: null });
  const reply = await new Completions(there.requests).create({ prompt: "It" });
  assert.deepEqual([reply.object, reply.choices[0].text], ["text_completion", " is."]);
  assert.deepEqual([there.heads[1].url, there.heads[1].authorization], ["/v1/completions?version=1", undefined]);
  assert.equal(there.remote.address, there.baseURL);
});

test("every status: what may pass is asked again, the rest is told at once, with the server's own fields", async (t) => {
  const error = (more) => ({ error: { message: "because", type: "t", param: "p", code: "c", ...more } });
  for (const [status, body, code, attempts, api = {}] of [
    [400, error(), "argument", 1],
    [400, error({ code: "context_length_exceeded" }), "context-full", 1],
    [400, error({ code: 400, type: "exceed_context_size_error" }), "context-full", 1, { code: "context_length_exceeded", type: "exceed_context_size_error" }],
    [400, { object: "error", message: "This model's maximum context length is 5 tokens", type: "BadRequestError", code: 400 }, "context-full", 1, { param: null, code: "context_length_exceeded", type: "BadRequestError" }],
    [400, error({ code: "unsupported_parameter" }), "not-supported", 1],
    [401, { error: "Unauthorized" }, "server-failed", 1, { type: "authentication_error", param: null, code: "server_failed" }],
    [403, error(), "server-failed", 1],
    [404, { detail: "Not Found" }, "server-failed", 1, { type: "invalid_request_error", param: null, code: "server_failed" }],
    [405, error(), "server-failed", 1],
    [408, error(), "server-failed", 5],
    [409, error(), "server-failed", 5],
    [413, error(), "argument", 1],
    [418, error(), "server-failed", 1],
    [422, { detail: [{ loc: ["body"] }] }, "argument", 1, { type: "invalid_request_error", param: null, code: "invalid_value" }],
    [429, error(), "busy", 5],
    [500, error(), "server-failed", 5],
    [502, error(), "server-failed", 5],
    [503, error(), "server-failed", 5],
    [504, error(), "server-failed", 5],
  ]) {
    for (const stream of [false, true]) {
      const there = await faulty(t, [says(status, body)]);
      const thrown = await failure(ask(there, { stream }));
      assert.deepEqual([thrown.code, there.posts.length], [code, attempts], `${status}: ${thrown.message}`);
      assert.ok(thrown instanceof PeregrineError && thrown instanceof ServerError === (code === "server-failed"));
      assert.deepEqual(thrown.api, { status, ...(JSON.stringify(body) === JSON.stringify(error()) ? { type: "t", param: "p", code: "c" } : { type: "t", param: "p", ...(typeof body.error?.code === "string" && { code: body.error.code }) }), ...api });
      assert.equal(thrown.message.endsWith(" (tried 5 times)"), attempts === 5);
    }
  }
});

test("a server that was asked often enough is not asked again by the client", async (t) => {
  for (const status of [408, 409, 429, 503]) {
    const there = await faulty(t, [says(status, { error: { message: "later" } }, { "Retry-After": "1" })]);
    const response = await answer(there.requests, "/v1/chat/completions", { method: "POST", body: JSON.stringify({ messages }) });
    assert.deepEqual([response.status, response.headers.get("x-should-retry"), there.posts.length], [status, "false", 5]);
  }
});

test("what was wrong passes: the same request again, later each time, as late as the server asks", async (t) => {
  const there = await faulty(t, [says(503, {}, { "Retry-After": "7" }), says(429, {}), (_, response) => response.destroy(), says(200, whole)]);
  assert.equal((await ask(there, {})).choices[0].message.content, "Yes.");
  assert.deepEqual(there.waits, [[1, "7"], [2, null], [3, null]]);
  assert.equal(new Set(there.posts.map((body) => JSON.stringify(body))).size, 1);
  assert.equal(there.lines.filter((line) => /^info: .*asking again$/.test(line)).length, 3);
});

test("a stream that dies before its first token is asked for again; later what has come is kept, and the error says so", async (t) => {
  const role = piece({ role: "assistant", content: "" });
  const good = streams([role, piece({ content: "Yes." }, "stop")]);
  const before = await faulty(t, [streams([role], cut), streams([{ error: { message: "busy", code: 503 } }]), streams([]), streams([role], (response) => response.end()), good]);
  assert.deepEqual(await read(await ask(before, { stream: true })), { texts: ["", "Yes."] });
  assert.equal(before.posts.length, 5);

  const begun = [role, piece({ content: "Y" }), piece({ content: "e" })];
  for (const [end, message] of [
    [cut, /the connection broke after 2 pieces of the answer: /],
    [(response) => response.end("data: [DONE]\n\n"), /ended the answer after 2 pieces without a finish_reason/],
    [(response) => response.end(), /without a finish_reason/],
    [(response) => response.end('data: {"choi'), /a piece of the answer is not JSON, or not whole/],
    [(response) => response.end("data: 5\n\n"), /a piece of the answer has no choices/],
    [(response) => response.end('data: {"error":{"message":"out of memory","code":500}}\n\n'), /answered 500: out of memory/],
  ]) {
    const there = await faulty(t, [streams(begun, end), good]);
    const { texts, error } = await read(await ask(there, { stream: true }));
    assert.deepEqual([texts, error?.code, there.posts.length], [["", "Y", "e"], "server-failed", 1]);
    assert.match(error.message, message);
  }
});

test("an error that is no fault of the server's ends a stream as it is", async (t) => {
  const there = await faulty(t, [streams([{ error: { message: "too long", code: "context_length_exceeded", type: "invalid_request_error" } }])]);
  const { error } = await read(await ask(there, { stream: true }));
  assert.deepEqual([error.code, error.api.status, there.posts.length], ["context-full", 400, 1]);
});

test("answers that are none", async (t) => {
  const html = { "Content-Type": "text/html" };
  for (const [answers, stream, message] of [
    [[says(200, "<html>", html)], false, /answered with text\/html where application\/json was expected; is server\.baseURL/],
    [[says(200, "<html>", html)], true, /answered with text\/html where text\/event-stream was expected/],
    [[says(200, whole)], true, /answered with application\/json where text\/event-stream was expected/],
    [[says(404, "<html>", html)], false, /answered 404 Not Found with text\/html, not JSON; is server\.baseURL/],
    [[says(403, "", html)], false, /answered 403 Forbidden with nothing/],
    [[says(200, "[]")], false, /the answer has no choices/],
    [[says(200, { ...whole, choices: [{ ...whole.choices[0], finish_reason: null }] })], false, /no finish_reason: it is not whole/],
    [[says(200, { error: { message: "no room", code: 500 } })], false, /answered 500: no room/],
    [[says(307, "", { Location: "http://127.0.0.1:1/" })], false, /sends requests on to another address/],
  ]) {
    const there = await faulty(t, answers);
    const error = await failure(ask(there, { stream }));
    assert.deepEqual([error.code, there.posts.length], ["server-failed", 1], error.message);
    assert.match(error.message, message);
  }
});

test("the body of a whole answer breaks, and comes the next time", async (t) => {
  const half = (_, response) => (response.writeHead(200, { "Content-Type": "application/json", "Content-Length": "500" }), response.write('{"choices":', () => setImmediate(() => response.destroy())));
  const there = await faulty(t, [half, says(200, whole)]);
  assert.equal((await ask(there, {})).choices[0].message.content, "Yes.");
});

test("nobody there: typed, with the address and the reason", async () => {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  const remote = new Remote({ base: new URL(`http://127.0.0.1:${port}/v1`), model: "m", log() {}, wait: async () => {} });
  const error = await failure(ask({ requests: new Requests(remote, "m", false) }, {}));
  assert.ok(error instanceof ServerError);
  assert.equal(error.code, "server-unreachable");
  assert.match(error.message, new RegExp(`^http://127\\.0\\.0\\.1:${port}/v1: the server cannot be reached: .*ECONNREFUSED.* \\(tried 5 times\\)$`));
});

/** As on a page of that address, and with a fetch of its own. */
async function onPage(href, fetch, use) {
  const [own, real] = [Object.getOwnPropertyDescriptor(globalThis, "location"), globalThis.fetch];
  Object.defineProperty(globalThis, "location", { value: new URL(href), configurable: true });
  globalThis.fetch = fetch;
  try {
    return await use();
  } finally {
    globalThis.fetch = real;
    if (own) Object.defineProperty(globalThis, "location", own);
    else delete globalThis.location;
  }
}

test("a page that may not ask: CORS and mixed content are told apart from a server that is not there, and not tried again", async () => {
  const reach = async (base, page, isThere) => {
    const asked = [];
    const fetch = async (url, init) => {
      asked.push(`${init.method ?? "GET"} ${init.mode ?? "cors"}`);
      if (init.mode === "no-cors") {
        assert.deepEqual([init.headers, init.body], [undefined, undefined]);
        if (isThere) return new Response();
      }
      throw new TypeError("Failed to fetch");
    };
    const remote = new Remote({ base: new URL(base), apiKey: KEY, model: "m", log() {}, wait: async () => {} });
    const error = await onPage(page, fetch, () => failure(ask({ requests: new Requests(remote, "m", false) }, {})));
    assert.equal(error.code, "server-unreachable");
    return { message: error.message, posts: asked.filter((line) => line.startsWith("POST")).length };
  };
  const cors = await reach("https://llm.example/v1", "https://app.example/", true);
  assert.match(cors.message, /does not allow this page's origin \(CORS\).*--allowed-origins '\["https:\/\/app\.example"\]'/);
  assert.equal(cors.posts, 1);
  const mixed = await reach("http://llm.example/v1", "https://app.example/", true);
  assert.match(mixed.message, /served over https, from where browsers reach no http address/);
  assert.equal(mixed.posts, 1);
  const gone = await reach("https://llm.example/v1", "https://app.example/", false);
  assert.match(gone.message, /cannot be reached: Failed to fetch \(tried 5 times\)$/);
  assert.match((await reach("http://localhost:8000/v1", "https://app.example/", false)).message, /Safari lets no https page/);
  assert.match((await reach("https://app.example/v1", "https://app.example/", true)).message, /cannot be reached: Failed to fetch \(tried 5 times\)$/);
});

test("stopped at any moment: before an answer, in a wait, in a slow body, between two pieces", async (t) => {
  const silent = () => {};
  const slow = (_, response) => (response.writeHead(200, { "Content-Type": "application/json" }), response.write('{"choices": ['));
  for (const answers of [[silent], [slow]]) {
    const there = await faulty(t, answers);
    const stop = new AbortController();
    const asking = ask(there, {}, { signal: stop.signal });
    while (there.posts.length === 0) await new Promise(setImmediate);
    stop.abort();
    await assert.rejects(asking, { name: "AbortError", code: "cancelled" });
  }

  const there = await faulty(t, [says(503, {})]);
  let waiting;
  const inWait = new Promise((resolve) => (waiting = resolve));
  const remote = new Remote({ base: new URL(there.baseURL), model: "m", log() {}, wait: (_, __, signal) => (waiting(), new Promise((_, reject) => signal.addEventListener("abort", reject))) });
  const timeout = new AbortController();
  const asking = ask({ requests: new Requests(remote, "m", false) }, {}, { signal: timeout.signal });
  await inWait;
  timeout.abort(new DOMException("late", "TimeoutError"));
  await assert.rejects(asking, { name: "TimeoutError", code: "timeout" });
  assert.equal(there.posts.length, 1, "nothing is asked any more");

  let gone;
  const left = new Promise((resolve) => (gone = resolve));
  const endless = await faulty(t, [(request, response) => (response.on("close", gone), streams([piece({ content: "a" })], silent)(request, response))]);
  const stop = new AbortController();
  const texts = [];
  await assert.rejects(
    async () => {
      for await (const { choices } of await ask(endless, { stream: true }, { signal: stop.signal })) {
        texts.push(choices[0].delta.content);
        stop.abort();
      }
    },
    { code: "cancelled" },
  );
  assert.deepEqual(texts, ["a"]);
  await left;
});

test("leaving the loop, cancelling a body and disposing cut the connection", async (t) => {
  for (const leave of [
    async ({ requests }) => {
      for await (const _ of await ask({ requests }, { stream: true })) break;
    },
    async ({ requests }) => (await answer(requests, "/v1/chat/completions", { method: "POST", body: JSON.stringify({ messages, stream: true }) })).body.cancel(),
    async ({ requests, remote }) => {
      const stream = (await ask({ requests }, { stream: true }))[Symbol.asyncIterator]();
      await stream.next();
      await remote.close();
      await assert.rejects(stream.next(), { code: "disposed" });
      await assert.rejects(ask({ requests }, {}), { code: "disposed" });
    },
  ]) {
    let gone;
    const left = new Promise((resolve) => (gone = resolve));
    const there = await faulty(t, [(request, response) => (response.on("close", gone), streams([piece({ content: "a" })], () => {})(request, response))]);
    await leave(there);
    await left;
  }
});

test("engine.fetch: statuses and fields are the server's; clients are told not to try again what has been tried", async (t) => {
  const there = await faulty(t, [says(422, { error: { message: "bad", type: "t", param: "p", code: "c" } })]);
  const post = (requests) => answer(requests, "/v1/chat/completions", { method: "POST", body: JSON.stringify({ messages }) });
  const bad = await post(there.requests);
  assert.equal(bad.status, 422);
  assert.deepEqual({ ...(await bad.json()).error, message: "" }, { message: "", type: "t", param: "p", code: "c" });
  const down = await faulty(t, [says(503, { error: { message: "down" } })]);
  const response = await post(down.requests);
  assert.deepEqual([response.status, response.headers.get("x-should-retry")], [503, "false"]);
  const list = await answer(there.requests, "/v1/models");
  assert.equal((await list.json()).data[0].id, "big");
  assert.equal((await answer(there.requests, "/v1/models/other")).status, 404);
  assert.equal((await answer(there.requests, "/v1/chat/completions", { method: "POST", body: "{" })).status, 400);
});

test("what a server lacks is refused by name, and says what to do", async (t) => {
  const { remote, requests, posts } = await faulty(t, [says(200, whole)]);
  for (const call of ["encode", "decode", "save", "restore", "logits", "check", "profile"]) {
    const error = await failure(remote.call(call, {}).result);
    assert.equal(error.code, "not-supported");
    assert.match(error.message, /answers come from a server \(http:.*\), which has no such thing; \w+/);
  }
  await assert.rejects(new Completions(requests).prefill("x", {}), { code: "not-supported", message: /^prefill: / });
  await assert.rejects(ask({ requests }, { return_token_ids: true }), { code: "not-supported", message: /gives no ids$/ });
  assert.equal(posts.length, 1);
  const other = await faulty(t, [says(200, whole)], { owner: "somebody" });
  assert.deepEqual((await ask(other, { top_k: 5 })).warnings, ["top_k: sent, but whether the server obeys it is not known"]);
});

test("which program it is is asked with patience where the request's fields depend on it", async (t) => {
  const ids = { return_token_ids: true };
  const reply = { ...whole, choices: [{ ...whole.choices[0], token_ids: [1] }] };
  for (const [models, params, code, asked] of [
    [[says(401, {})], ids, "server-failed", 1],
    [[says(401, {})], {}, undefined, 1],
    [[says(503, {}), undefined], ids, undefined, 2],
    [[says(503, {})], ids, "server-failed", 5],
    [[says(503, {})], {}, undefined, 1],
    [[says(404, {})], ids, "not-supported", 1],
    [[says(200, "[]")], ids, "not-supported", 1],
  ]) {
    const there = await faulty(t, [says(200, reply)], { models });
    const { code: found } = await ask(there, params).catch((error) => error);
    assert.deepEqual([found, there.heads.filter(({ method }) => method === "GET").length, there.posts.length], [code, asked, code ? 0 : 1]);
  }
});

test("a server that never says which program it is is not waited for", async (t) => {
  for (const [params, code] of [[{}, undefined], [{ return_token_ids: true }, "server-failed"]]) {
    const there = await faulty(t, [says(200, whole)], { models: [() => {}], introduction: 1 });
    const { code: found } = await ask(there, params).catch((error) => error);
    assert.deepEqual([found, there.posts.length], [code, code ? 0 : 1]);
  }
});

test("the key is in no error, no message and no object", async (t) => {
  const leaky = `Incorrect API key: ${KEY}`;
  const all = [];
  for (const answers of [
    [says(401, { error: { message: leaky, type: KEY, param: KEY, code: KEY } })],
    [says(400, { detail: { leaky } })],
    [says(500, leaky)],
    [says(500, leaky, { "Content-Type": `text/${KEY}` })],
    [says(503, { error: { message: leaky } })],
    [streams([{ error: { message: leaky } }])],
    [streams([piece({ content: "a" }), { error: { message: leaky } }])],
    [(_, response) => response.destroy()],
  ]) {
    for (const stream of [false, true]) {
      const there = await faulty(t, answers);
      const error = await failure(ask(there, { stream }).then(read).then(({ error }) => Promise.reject(error)));
      const response = await answer(there.requests, "/v1/chat/completions", { method: "POST", body: JSON.stringify({ messages, stream }) });
      all.push(inspect(error, { depth: 9, showHidden: true }), JSON.stringify(error), await response.text(), ...there.lines, inspect(there.remote, { depth: 9, showHidden: true }));
    }
  }
  assert.ok(all.length > 60);
  assert.deepEqual(all.filter((text) => text.includes(KEY)), []);
});
