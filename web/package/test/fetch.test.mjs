import assert from "node:assert/strict";
import test from "node:test";
import { makeError } from "../dist/errors.js";
import { answer } from "../dist/page/fetch.js";
import { scripted } from "./scripted.mjs";

const usage = { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 };
const CHAT = "https://example.test/some/where/v1/chat/completions";
const post = (body, more) => ({ method: "POST", body: JSON.stringify(body), ...more });
/** Until what was sent has arrived. */
async function sent(control, count = 1) {
  while (control.requests.length < count) await new Promise((resolve) => setTimeout(resolve));
}

test("a whole answer", async () => {
  const { requests, control } = scripted();
  const answering = answer(requests, CHAT, post({ messages: [] }, { headers: { Authorization: "Bearer x" } }));
  await sent(control);
  assert.deepEqual([control.requests[0].kind, control.requests[0].body], ["chat", '{"messages":[]}']);
  control.event("");
  control.resolve({ usage, cancelled: false, whole: '{"object":"chat.completion"}' });
  const response = await answering;
  assert.deepEqual([response.status, response.headers.get("Content-Type")], [200, "application/json"]);
  assert.deepEqual(await response.json(), { object: "chat.completion" });
});

test("every way to name the address, and to give the body", async () => {
  for (const [input, init] of [
    ["/v1/completions", post({ prompt: "x" })],
    [new URL("http://localhost:1/v1/completions"), post({ prompt: "x" })],
    [new Request("http://localhost:1/v1/completions/", post({ prompt: "x" })), undefined],
    ["/v1/completions", { method: "POST", body: new Blob(['{"prompt":"x"}']) }],
  ]) {
    const { requests, control } = scripted();
    const answering = answer(requests, input, init);
    await sent(control);
    assert.deepEqual([control.requests[0].kind, control.requests[0].body], ["completion", '{"prompt":"x"}']);
    control.resolve({ usage, cancelled: false, whole: "{}" });
    assert.equal((await answering).status, 200);
  }
});

test("a stream of events", async () => {
  const { requests, control } = scripted();
  const answering = answer(requests, CHAT, post({ messages: [], stream: true }));
  await sent(control);
  control.event("");
  control.event('{"a":1}');
  const response = await answering;
  assert.deepEqual([response.status, response.headers.get("Content-Type")], [200, "text/event-stream"]);
  control.event('{"b":2}');
  control.resolve({ usage, cancelled: false });
  assert.equal(await response.text(), 'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n');
});

test("an error has the status and the object that a server would send", async () => {
  const api = { status: 400, type: "invalid_request_error", param: "stop[1]", code: "invalid_type" };
  for (const [error, status, fields] of [
    [makeError("argument", "stop[1]: expected a text", { api }), 400, { type: api.type, param: "stop[1]", code: "invalid_type" }],
    [makeError("busy", "another answer"), 429, { type: "rate_limit_error", param: null, code: "queue_full" }],
    [makeError("internal", "a bug"), 500, { type: "server_error", param: null, code: "internal" }],
  ]) {
    const { requests, control } = scripted();
    const answering = answer(requests, CHAT, post({ stream: true }));
    await sent(control);
    control.reject(error);
    const response = await answering;
    assert.equal(response.status, status);
    assert.deepEqual(await response.json(), { error: { message: error.message, ...fields } });
    assert.equal(response.headers.has("Retry-After"), status === 429);
  }
});

test("an error within a stream is an event, and there is no end after it", async () => {
  const { requests, control } = scripted();
  const answering = answer(requests, CHAT, post({ stream: true }));
  await sent(control);
  control.event("{}");
  const response = await answering;
  control.reject(makeError("device-lost", "gone"));
  const events = (await response.text()).split("\n\n");
  assert.deepEqual(events.map((event) => event && JSON.parse(event.slice(6))), [
    {},
    { error: { message: "gone", type: "server_error", param: null, code: "device_lost" } },
    "",
  ]);
});

test("cancelling the body stops the work", async () => {
  const { requests, control } = scripted();
  const answering = answer(requests, CHAT, post({ stream: true }));
  await sent(control);
  control.event("{}");
  const response = await answering;
  await response.body.cancel();
  assert.equal(control.aborts, 1);
});

test("the signal stops the work: before the first word the call rejects, later the body", async () => {
  for (const words of [0, 1]) {
    const abort = new AbortController();
    const { requests, control } = scripted();
    const answering = answer(requests, CHAT, post({ stream: true }, { signal: abort.signal }));
    await sent(control);
    if (words > 0) control.event("{}");
    const response = words > 0 ? await answering : undefined;
    abort.abort();
    if (words > 0) control.resolve({ usage, cancelled: true });
    await assert.rejects(response ? response.text() : answering, { name: "AbortError" });
    assert.equal(control.aborts, 1);
  }
});

test("models", async () => {
  const list = { object: "list", data: [{ id: "org/m 1", object: "model" }] };
  for (const [path, status, expected] of [
    ["/v1/models", 200, list],
    ["/v1/models/org/m%201", 200, list.data[0]],
    ["/v1/models/other", 404, undefined],
  ]) {
    const { requests, control } = scripted();
    const answering = answer(requests, path);
    while (control.name !== "models") await new Promise((resolve) => setTimeout(resolve));
    control.resolve(JSON.stringify(list));
    const response = await answering;
    const body = await response.json();
    assert.equal(response.status, status);
    if (expected) assert.deepEqual(body, expected);
    else assert.deepEqual([body.error.code, body.error.param], ["model_not_found", "model"]);
  }
});

test("other paths and methods", async () => {
  const { requests } = scripted();
  for (const [path, method, status, code] of [
    ["/v1/embeddings", "POST", 404, "unknown_url"],
    ["/v1/chat/completions/x", "POST", 404, "unknown_url"],
    ["/v1/chat/completions", "GET", 405, "method_not_allowed"],
    ["/v1/models", "POST", 405, "method_not_allowed"],
  ]) {
    const response = await answer(requests, path, { method });
    assert.equal(response.status, status, path);
    assert.equal((await response.json()).error.code, code);
  }
});
