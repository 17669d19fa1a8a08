/**
 * A worker that plays the engine: for tests of the page itself, which need answers of a known pace
 * and no GPU. It speaks the same messages as the real one; what the question says tells how it
 * answers.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Page } from "@playwright/test";
import { sendBytes } from "./support.js";

/**
 * Questions may say: [slow] a word every 40 ms, 4000 of them: it is stopped; [never] nothing until
 * it is stopped; [once] the same, from the second time on; [fail] an error after some words; [full]
 * the context is too short until it grows; [told] what the instructions are; [say TEXT] exactly
 * that; [stream TEXT] the same, some words at a time. Whatever else is asked is answered with its
 * own words and a number.
 */
const WORKER = `
  let [serial, contextLength] = [0, 4096];
  const open = new Map();
  const answered = new Set();
  const info = (name) => ({
    where: "device",
    model: { name, parameters: 31e6, bytes: 18.6e6, formats: "Q4_0", vocabSize: 4096, layers: 4, contextLength, longestContext: 6000 },
    device: { name: "Fake GPU", vendor: "", architecture: "", software: false, subgroups: false, reduction: "workgroup", shapes: "hardware", why: {} },
    memory: { weights: 1, needed: 2e8, wasm: 1 }, storage: { kept: true, why: "" }, adapters: [],
  });
  const count = (text) => text.split(/\\s+/).filter(Boolean).length;
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  async function answer(id, request) {
    const tell = (message) => self.postMessage({ ...message, id });
    const body = JSON.parse(request.body);
    const { messages } = body;
    tell({ type: "event", event: "" });
    const asked = messages?.at(-1).content ?? "[more]";
    const before = messages ? messages.reduce((sum, { content }) => sum + count(content), 0) : body.prompt.length;
    const most = body.max_completion_tokens ?? body.max_tokens ?? Infinity;
    const drops = body.truncation === "auto";
    const head = { id: request.id, object: messages ? "chat.completion.chunk" : "text_completion", created: request.created, model: request.model };
    const event = (rest) => body.stream && tell({ type: "event", event: JSON.stringify({ ...head, ...rest }) });
    const chunk = (text, finish = null) => event({ choices: [{ index: 0, ...(messages ? { delta: text ? { content: text } : {} } : { text }), finish_reason: finish }] });
    const written = [];
    const result = (finish) => {
      const usage = {
        prompt_tokens: before, completion_tokens: written.length, total_tokens: before + written.length,
        prompt_tokens_details: { cached_tokens: 0, dropped_messages: drops ? 2 : 0 },
        timings: { prefill_ms: 10, decode_ms: 100, tokens_per_second: Math.max(0, written.length - 1) / 0.1 },
      };
      if (finish && !request.onlyRead) chunk("", finish);
      if (finish && body.stream_options?.include_usage) event({ choices: [], usage });
      const content = written.join("");
      const choice = { index: 0, ...(messages ? { message: { role: "assistant", content, refusal: null } } : { text: content }), finish_reason: finish };
      const whole = finish && !body.stream && !request.onlyRead && JSON.stringify({ ...head, object: messages ? "chat.completion" : head.object, choices: [choice], usage });
      tell({ type: "result", result: { usage, cancelled: !finish, ...(whole && { whole }) } });
    };
    if (request.onlyRead) return result("length");
    if (asked.includes("[full]") && !drops && contextLength < 5000) return tell({ type: "error", error: { code: "context-full", message: "5000 tokens; 4096 fit" } });
    const streamed = /\\[stream ([^]*)\\]$/.exec(asked)?.[1];
    const told = /\\[say ([^]*)\\]$/.exec(asked)?.[1];
    const system = messages?.find(({ role }) => role === "system")?.content ?? "nothing";
    const slow = asked.includes("[slow]");
    const words = streamed ? streamed.match(/(?:\\S+\\s*){1,4}/g) : asked.includes("[told]") ? ["I was told: " + system] : told ? [told] : slow ? Array.from({ length: 4000 }, (_, i) => "word" + i + " ") : ("Answer " + ++serial + " to: " + asked.replace(/[^\\w ]/g, "")).match(/\\S+\\s*/g);
    const never = asked.includes("[never]") || (asked.includes("[once]") && answered.has(asked));
    answered.add(asked);
    while (never && !open.get(id)?.stopped) await wait(10);
    for (const word of words) {
      if (open.get(id)?.stopped) return result();
      if (written.length >= most) return result("length");
      if (asked.includes("[fail]") && written.length > 2) return tell({ type: "error", error: { code: "gpu", message: "it broke" } });
      if (written.length === 0 && messages) event({ choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }] });
      written.push(word);
      chunk(word);
      await wait(slow ? 40 : 2);
    }
    result(open.get(id)?.stopped ? undefined : "stop");
  }
  const released = () => new Promise((go) => {
    const channel = new BroadcastChannel("go");
    channel.onmessage = ({ data }) => data === "go" && (channel.postMessage("gone"), go());
  });
  self.addEventListener("message", async ({ data }) => {
    const { type, id, call, request } = data;
    if (type === "abort") { const one = open.get(id); if (one) one.stopped = true; return; }
    if (type !== "call") return;
    open.set(id, {});
    const result = (value) => self.postMessage({ type: "result", id, result: value });
    if (call === "load") {
      self.postMessage({ type: "hello" });
      const { source } = request;
      const name = source.kind === "urls" ? "Fake Model" : source.kind === "hub" ? source.model : source.files[0].name;
      if (/broken/.test(source.model ?? name)) return self.postMessage({ type: "error", id, error: { code: "http", message: "404: " + (source.model ?? name) } });
      // Until the test says so.
      if (self.hold || /held/.test(name)) await released();
      self.postMessage({ type: "event", id, event: { phase: "compile", done: 1, total: 2 } });
      result(info(name));
    } else if (call === "respond") await answer(id, request);
    else if (call === "growContext") {
      contextLength = request.contextLength;
      const { model, memory } = info("Fake Model");
      self.postMessage({ type: "grown", model, memory });
      result(contextLength);
    } else if (call === "save") result(new Blob(["state"]));
    else if (call === "encode") result([...request.text].map((letter) => letter.codePointAt(0)));
    else result(null);
    open.delete(id);
  });
`;

/**
 * A fault: the worker is the playing one; `first` runs in it before. With `self.hold = true`
 * nothing loads before {@link release}.
 */
export function fakeEngine(first = "") {
  return (request: IncomingMessage, response: ServerResponse): boolean =>
    /^\/assets\/worker-[\w-]+\.js$/.test(request.url ?? "") && sendBytes(request, response, "text/javascript", Buffer.from(`${first}\n${WORKER}`));
}

/** Lets a held model load: asks until it says that it does, since it may not listen yet. */
export const release = (page: Page) =>
  page.evaluate(async () => {
    const channel = new BroadcastChannel("go");
    const gone = new Promise((resolve) => (channel.onmessage = ({ data }) => data === "gone" && resolve(undefined)));
    const timer = setInterval(() => channel.postMessage("go"), 20);
    await gone;
    clearInterval(timer);
    channel.close();
  });

/**
 * The engine of {@link fakeEngine}, which reads: a token is a character, and each step of reading
 * waits for {@link step}. It tells the rest of the page's questions as the other does.
 */
export const READS = `
  let before = "";
  const written = (messages) => messages.map(({ role, content }) => "<|im_start|>" + role + "\\n" + content + "<|im_end|>\\n").join("");
  const stopped = new Set();
  const steps = new BroadcastChannel("steps");
  const post = self.postMessage.bind(self);
  /** Tokens and what had been read, where the playing engine says none of it. */
  let costs;
  self.postMessage = (message) => {
    const { result } = message;
    if (result?.memory) result.model.contextLength = 100000;
    if (costs && result && "promptTokens" in result) Object.assign(result, { promptTokens: costs[0], cachedTokens: costs[1] });
    if (costs && result?.usage) Object.assign(result.usage, { prompt_tokens: costs[0] }, { prompt_tokens_details: { ...result.usage.prompt_tokens_details, cached_tokens: costs[1] } });
    post(message);
  };
  self.addEventListener("message", async (event) => {
    const { type, id, call, request } = event.data;
    if (type === "abort") stopped.add(id);
    if (type !== "call" || (call !== "answer" && call !== "respond")) return;
    const body = request.body ? JSON.parse(request.body) : request;
    const text = body.messages ? written(body.messages) : typeof body.prompt === "string" ? body.prompt : String.fromCodePoint(...body.prompt);
    let same = 0;
    while (same < before.length && before[same] === text[same]) same++;
    const reads = request.onlyRead || request.maxTokens === 0;
    costs = [text.length + (reads ? 0 : 22), same];
    before = text;
    if (!reads || body.messages) return;
    event.stopImmediatePropagation();
    await new Promise((go) => {
      steps.onmessage = go;
      const timer = setInterval(() => stopped.has(id) && go(), 5);
      steps.addEventListener("message", () => clearInterval(timer));
    });
    const [prompt_tokens, cached_tokens] = costs;
    const old = { text: "", ids: [], finish: stopped.has(id) ? "cancelled" : "length", promptTokens: prompt_tokens, cachedTokens: cached_tokens, droppedMessages: 0, prefillSeconds: 1, decodeSeconds: 0, stateBytes: 1 };
    const usage = { prompt_tokens, completion_tokens: 0, total_tokens: prompt_tokens, prompt_tokens_details: { cached_tokens, dropped_messages: 0 }, timings: { prefill_ms: 10, decode_ms: 0, tokens_per_second: 0 } };
    post({ type: "result", id, result: { ...old, usage, cancelled: stopped.has(id) } });
  });
`;
/** Lets one step of reading go on. */
export const step = (page: Page) => page.evaluate(() => new BroadcastChannel("steps").postMessage("go"));
