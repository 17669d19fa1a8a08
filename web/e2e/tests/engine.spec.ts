/**
 * The engine's API beyond the plain answer: OpenAI's fields, workers of all kinds, a lost device,
 * many engines.
 */

import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type * as Peregrine from "peregrine";
import type { Page } from "@playwright/test";
import { splitGguf } from "../gguf.js";
import type * as Harness from "../goldens/harness.mjs";
import { verdict } from "../goldens/harness.mjs";
import { make, sampled } from "../goldens/models.mjs";
import { CARD, DESTROYER, expect, golden, idsOf, lose, MODEL_FILE, modelIs, sendBytes, SMALL, test } from "../support.js";

declare global {
  // What `open` and the tests put on the page.
  var peregrine: typeof Peregrine;
  var engine: Peregrine.Engine;
  var heard: string[];
}

async function open(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await page.evaluate(async () => {
    // Not a literal: the compiler would look for the file.
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
  });
}

const load = (page: Page, options: Pick<Peregrine.EngineOptions, "whenBusy" | "gpu" | "device"> = {}): Promise<Peregrine.EngineInfo> =>
  page.evaluate(async (given) => {
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", cache: false, ...given });
    return engine.info;
  }, options);

/** tests/golden/by-schema.json */
interface BySchema {
  prompt: string;
  schema: Record<string, unknown>;
  ids: number[];
  text: string;
}

const capital = golden("capital");
const ITALY = capital.messages.map(({ content }) => content).join();

test("a memory budget makes the context smaller, or says what would fit", async ({ page, site }) => {
  await open(page, await site.bare());
  const seen = await page.evaluate(async () => {
    // Without snapshots, which would get what a budget leaves.
    const create = (options: object) => peregrine.createEngine({ model: "/model.gguf", cache: false, snapshotBytes: 0, ...options });
    const info = async (options: object) => {
      const engine = await create(options);
      await engine.dispose();
      return engine.info;
    };
    const fit = async (options: object) => {
      const error = await create(options).then(() => undefined, (thrown: unknown) => thrown);
      return error instanceof peregrine.OutOfMemoryError ? { code: error.code, message: error.message, fit: error.fit } : String(error);
    };
    const whole = await info({});
    const needed = whole.memory.needed;
    return {
      whole,
      small: await info({ memoryBudget: needed - 1 }),
      asked: await fit({ memoryBudget: needed - 1, contextLength: whole.model.contextLength }),
      never: await fit({ memoryBudget: 1000 }),
      wrong: await create({ memoryBudget: -1 }).then(() => "", (error: Peregrine.PeregrineError) => error.message),
    };
  });
  const { contextLength } = seen.whole.model;
  const { needed, weights } = seen.whole.memory;
  expect(needed).toBeGreaterThan(weights);
  expect(seen.small.model.contextLength).toBeLessThan(contextLength);
  expect(seen.small.model.contextLength).toBeGreaterThan(0);
  expect(seen.small.memory.needed).toBeLessThan(needed);
  expect(seen.asked).toMatchObject({ code: "out-of-memory", fit: { needed, budget: needed - 1, contextLength, largestContext: seen.small.model.contextLength } });
  expect(seen.asked).toHaveProperty("message", expect.stringContaining("fits"));
  expect(seen.never).toMatchObject({ code: "out-of-memory", fit: { budget: 1000 } });
  expect(seen.never).not.toHaveProperty("fit.largestContext");
  expect(seen.wrong).toContain("memoryBudget");
});

test("a context that is full says what to do, and grows while the conversation goes on", async ({ page, site }) => {
  await open(page, await site.bare());
  const seen = await page.evaluate(async () => {
    const create = (contextLength?: number) => peregrine.createEngine({ model: "/model.gguf", cache: false, device: "cpu", ...(contextLength !== undefined && { contextLength }) });
    const prompt = Array.from({ length: 120 }, (_, i) => 300 + ((i * 37) % 2000));
    const answer = async (engine: Peregrine.Engine) => (await engine.completions.create({ prompt, max_tokens: 8, temperature: 0, ignore_eos: true })).choices[0]!.text;
    const failure = (work: Promise<unknown>) => work.then(() => "", (error: Peregrine.PeregrineError) => `${error.code}: ${error.message}`);
    const whole = await create();
    const expected = await answer(whole);
    const chosen = whole.info.model;
    await whole.dispose();

    const engine = await create(64);
    const first = engine.info;
    const full = await failure(answer(engine));
    const beyond = await failure(engine.growContext(first.model.longestContext + 1));
    const grown = await engine.growContext(200);
    const after = await answer(engine);
    // An answer that is being written goes on where it would have ended.
    let tokens = 0;
    let reason: string | null = null;
    for await (const chunk of await engine.completions.create({ prompt: prompt.slice(0, 100), max_tokens: 160, temperature: 0, ignore_eos: true, stream: true, return_token_ids: true })) {
      if (tokens === 0) await engine.growContext(300);
      tokens += chunk.choices[0]?.token_ids?.length ?? 0;
      reason = chunk.choices[0]?.finish_reason ?? reason;
    }
    const last = engine.info;
    await engine.dispose();
    return { chosen, first, full, beyond, grown, expected, after, tokens, reason, last };
  });
  // The model was made for no more than what any device is thought to have room for.
  expect(seen.chosen).toMatchObject({ contextLength: 4096, longestContext: 4096 });
  expect(seen.first.model).toMatchObject({ contextLength: 64, longestContext: 4096 });
  expect(seen.full).toMatch(/^context-full: .*; or make room: engine\.growContext\(tokens\), up to 4096 where memory allows$/);
  expect(seen.beyond).toMatch(/^argument: contextLength: expected at most 4096 tokens/);
  expect(seen.grown).toBe(200);
  expect(seen.after).toBe(seen.expected);
  expect([seen.tokens, seen.reason]).toEqual([160, "length"]);
  expect(seen.last.model.contextLength).toBe(300);
  expect(seen.last.memory.needed).toBeGreaterThan(seen.first.memory.needed);
});

test("stops, biases, penalties, log-probabilities, several answers, plain completions, a schema", async ({ page, site }) => {
  await open(page, await site.bare());
  await load(page);
  const bySchema = JSON.parse(readFileSync(new URL("../../../tests/golden/by-schema.json", import.meta.url), "utf8")) as BySchema;
  const seen = await page.evaluate(async ({ messages, bySchema }) => {
    const chat = async (params: object) => (await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 40, ...params })) as Peregrine.ChatCompletion;
    const text = (reply: Peregrine.ChatCompletion) => reply.choices[0]!.message.content!;
    const plain = text(await chat({}));
    const cut = plain.slice(6, 12);
    const stopped = await chat({ stop: [cut, "never to be seen"] });
    let streamed = "";
    for await (const chunk of await engine.chat.completions.create({ messages, temperature: 0, stop: cut, stream: true })) {
      streamed += chunk.choices[0]?.delta.content ?? "";
    }
    const after = text(await chat({}));
    const first = (await engine.tokenizer.encode(plain))[0]!;
    const banned = text(await chat({ logit_bias: { [first]: -100 } }));
    const likely = await chat({ logprobs: true, top_logprobs: 3, return_token_ids: true });
    const story = [{ role: "user" as const, content: "Tell me a short story about a fox." }];
    const several = await chat({ messages: story, n: 3, temperature: 2, seed: 5, max_tokens: 12 });
    const third = await chat({ messages: story, temperature: 2, seed: 7, max_tokens: 12 });
    // A token that comes again and again, until its penalties add up.
    const repeated = { messages: story, temperature: 0, max_tokens: 40, logit_bias: { [first]: 30 }, ignore_eos: true };
    const mostRepeated = async (params: object) => {
      const reply = await engine.chat.completions.create({ ...repeated, return_token_ids: true, ...params });
      const ids = reply.choices[0]!.token_ids!;
      return Math.max(...ids.map((id) => ids.filter((other) => other === id).length));
    };
    const [free, penalized] = [await mostRepeated({}), await mostRepeated({ frequency_penalty: 2, presence_penalty: 2 })];
    const prompt = "The capital of Italy is";
    const completion = await engine.completions.create({ prompt, temperature: 0, max_tokens: 8 });
    const longer = await engine.completions.create({ prompt: prompt + completion.choices[0]!.text, temperature: 0, max_tokens: 4 });
    const ids = await engine.tokenizer.encode(prompt);
    const byIds = await engine.completions.create({ prompt: ids, temperature: 0, max_tokens: 8 });
    let pieces = "";
    for await (const chunk of await engine.completions.create({ prompt: ids, temperature: 0, max_tokens: 8, stream: true })) pieces += chunk.choices[0]?.text ?? "";
    const response_format = { type: "json_schema" as const, json_schema: { name: "golden", strict: true, schema: bySchema.schema } };
    const followed = await engine.completions.create({ prompt: bySchema.prompt, response_format, temperature: 0, max_tokens: 60, return_token_ids: true });
    return { plain, cut, stopped, streamed, after, banned, likely, several, third, free, penalized, completion, longer, byIds, pieces, followed };
  }, { messages: capital.messages, bySchema });

  const { token_ids, text, finish_reason } = seen.followed.choices[0]!;
  expect({ ids: token_ids, text, finish_reason }, "as natively").toEqual({ ids: bySchema.ids, text: bySchema.text, finish_reason: "stop" });
  expect(seen.plain).toBe(capital.answer);
  expect(seen.stopped.choices[0]!.message.content).toBe(seen.plain.slice(0, seen.plain.indexOf(seen.cut)));
  expect(seen.stopped.choices[0]!.finish_reason).toBe("stop");
  expect(seen.streamed).toBe(seen.stopped.choices[0]!.message.content);
  expect(seen.after, "a stop text does not spoil the next answer").toBe(seen.plain);
  expect(seen.banned).not.toBe(seen.plain);

  const { content } = seen.likely.choices[0]!.logprobs!;
  expect(content.length).toBe(seen.likely.choices[0]!.token_ids!.length);
  const bytes = Buffer.from(content.flatMap((token) => token.bytes!));
  expect(bytes.toString().trim()).toBe(seen.plain.trim());
  for (const token of content) {
    expect(token.top_logprobs.length).toBe(3);
    // Greedy: what was sampled is the likeliest.
    expect(token.top_logprobs[0]!.token).toBe(token.token);
    expect(token.top_logprobs[0]!.logprob).toBe(token.logprob);
    expect(token.logprob).toBeLessThanOrEqual(0);
    expect(token.top_logprobs.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)).toBeLessThanOrEqual(1.000001);
  }
  expect(seen.several.choices.map(({ index }) => index)).toEqual([0, 1, 2]);
  expect(seen.several.choices[2]!.message.content, "the third answer has the third seed").toBe(seen.third.choices[0]!.message.content);
  expect(new Set(seen.several.choices.map(({ message }) => message.content)).size).toBeGreaterThan(1);
  expect(seen.penalized).toBeLessThan(seen.free);
  expect(seen.completion.object).toBe("text_completion");
  expect(seen.completion.choices[0]!.text.length).toBeGreaterThan(0);
  const read = seen.longer.usage!.prompt_tokens_details.cached_tokens;
  expect(read, "what was read is not read again").toBeGreaterThanOrEqual(seen.completion.usage!.prompt_tokens);
  expect(seen.pieces).toBe(seen.byIds.choices[0]!.text);
});

test("a busy engine refuses, if the app wants it so; the tokenizer does not wait", async ({ page, site }) => {
  await open(page, await site.bare());
  await load(page, { whenBusy: "refuse" });
  const seen = await page.evaluate(async (content) => {
    const messages = [{ role: "user" as const, content }];
    const ask = () => engine.chat.completions.create({ messages, temperature: 0, max_tokens: 12 });
    const order: string[] = [];
    // It takes a second or more, the rest a moment.
    const first = engine.chat.completions.create({ messages, max_tokens: 200, ignore_eos: true }).then(() => order.push("answer"));
    const refused = await ask().catch((error: Peregrine.PeregrineError) => [error.name, error.code]);
    await engine.tokenizer.countTokens(content).then(() => order.push("count"));
    await first;
    const again = (await ask()).choices[0]!.finish_reason;
    return { refused, order, again };
  }, ITALY);
  expect(seen.refused).toEqual(["RequestError", "busy"]);
  expect(seen.order).toEqual(["count", "answer"]);
  expect(["stop", "length"]).toContain(seen.again);
});

test("what is told about the device, and a profile where there is a clock", { tag: "@gpu" }, async ({ page, site }) => {
  await open(page, await site.bare());
  const own = await load(page);
  expect(own.device).toMatchObject({ kind: "cpu", software: true, why: { kind: expect.stringContaining("SwiftShader") } });
  await page.evaluate(() => engine.dispose());
  const info = await load(page, { device: "gpu" });
  expect(info.device).toMatchObject({ kind: "gpu", software: true, shapes: "software", why: { shapes: "the CPU computes" } });
  expect(info.memory.weights).toBeGreaterThan(17e6);
  expect(info.memory.wasm).toBeLessThan(100 << 20);
  expect(info.storage).toEqual({ kept: false, why: expect.stringContaining("no cache") });
  // What the page ships, on a GPU's adapter, against transformers.
  const ids = await page.evaluate(
    async (messages) => (await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 40, return_token_ids: true })).choices[0]!.token_ids,
    capital.messages,
  );
  expect(ids).toEqual(idsOf(capital));
  const stages = await page.evaluate(() => engine.profile());
  const step = stages.find(({ name }) => name === "step")!;
  const parts = stages.filter(({ name }) => name !== "step");
  expect(parts.length).toBeGreaterThan(4);
  expect(step.dispatches).toBe(parts.reduce((sum, { dispatches }) => sum + dispatches, 0));
  for (const { seconds } of stages) expect(seconds).toBeGreaterThanOrEqual(0);
  expect(step.seconds).toBeGreaterThan(0);
});

test("a worker of the app's own, one here; bytes and a folder", async ({ page, site }) => {
  await open(page, await site.bare());
  const texts = await page.evaluate(async (content) => {
    const bytes = await (await fetch("/model.gguf")).arrayBuffer();
    const answers: string[] = [];
    const ask = async (options: Omit<Peregrine.EngineOptions, "model"> & { model?: Peregrine.ModelSource }) => {
      const engine = await peregrine.createEngine({ model: "/model.gguf", cache: false, ...options });
      const reply = await engine.chat.completions.create({ messages: [{ role: "user", content }], temperature: 0, max_tokens: 30 });
      answers.push(reply.choices[0]!.message.content!);
      await engine.dispose();
    };
    await ask({ worker: new Worker("/package/dist/worker.js", { type: "module" }) });
    await ask({ worker: "here", model: bytes });
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("mine", { create: true });
    const writing = await (await folder.getFileHandle("a.gguf", { create: true })).createWritable();
    await writing.write(bytes);
    await writing.close();
    await ask({ model: folder });
    return answers;
  }, ITALY);
  expect(texts).toEqual([capital.answer, capital.answer, capital.answer]);
});

test("a model in two files: by the address of one of them, kept; as files", async ({ page, site }) => {
  const parts = splitGguf(readFileSync(MODEL_FILE));
  const address = await site.bare((request, response) => {
    const number = /^\/part-0000([12])-of-00002\.gguf$/.exec(request.url ?? "")?.[1];
    return number !== undefined && sendBytes(request, response, "application/octet-stream", parts[Number(number) - 1]!);
  });
  await open(page, address);
  const seen = await page.evaluate(async (content) => {
    const answers: string[] = [];
    const ask = async (model: Peregrine.ModelSource) => {
      const engine = await peregrine.createEngine({ model });
      const reply = await engine.chat.completions.create({ messages: [{ role: "user", content }], temperature: 0, max_tokens: 30 });
      answers.push(reply.choices[0]!.message.content!);
      await engine.dispose();
    };
    await ask("/part-00002-of-00002.gguf");
    const stored = await peregrine.listModels();
    const names = ["part-00001-of-00002.gguf", "part-00002-of-00002.gguf"];
    const files = await Promise.all(names.map(async (name) => new File([await (await fetch(name)).blob()], name)));
    await ask(files);
    const alone = await peregrine.createEngine({ model: files.slice(1) }).catch((error: Peregrine.PeregrineError) => error.message);
    return { answers, stored, alone };
  }, ITALY);
  expect(seen.answers).toEqual([capital.answer, capital.answer]);
  expect(seen.stored.map(({ size, complete }) => [size, complete])).toEqual([[parts[0].length + parts[1].length, true]]);
  expect(seen.alone).toContain("00001-of-00002");
});

test("a saved state goes on in another engine; damaged ones are refused", async ({ page, site }) => {
  await open(page, await site.bare());
  await load(page);
  const seen = await page.evaluate(async (content) => {
    const messages: Peregrine.ChatMessage[] = [{ role: "user", content }];
    const ask = async (asked: Peregrine.Engine) => {
      const reply = await asked.chat.completions.create({ messages, temperature: 0, max_tokens: 40 });
      return [reply.choices[0]!.message.content, reply.usage.prompt_tokens_details.cached_tokens] as const;
    };
    const [answer] = await ask(engine);
    const state = await engine.saveState();
    messages.push({ role: "assistant", content: answer }, { role: "user", content: "What is the capital of France?" });
    const expected = await ask(engine);
    await engine.dispose();
    const next = await peregrine.createEngine({ model: "/model.gguf", cache: false });
    const code = (blob: Blob) => next.restoreState(blob).then(() => "restored", (error: Peregrine.PeregrineError) => error.code);
    const bytes = new Uint8Array(await state.arrayBuffer());
    bytes[bytes.length - 100]! ^= 1;
    const refused = [await code(new Blob([bytes])), await code(state.slice(0, 1000)), await code(new Blob(["no state"]))];
    await next.restoreState(state);
    const found = await ask(next);
    await next.dispose();
    return { expected, found, refused, size: state.size };
  }, ITALY);
  expect(seen.found).toEqual(seen.expected);
  expect(seen.found[1], "nothing is read again").toBeGreaterThan(10);
  expect(seen.refused).toEqual(["malformed", "malformed", "truncated"]);
  expect(seen.size).toBeGreaterThan(1e6);
});

test("two tabs share one model; it goes when the last of them goes", async ({ page, site, context }) => {
  const address = await site.bare();
  const other = await context.newPage();
  const ask = (tab: Page, content: string) =>
    tab.evaluate(async (content) => {
      const reply = await engine.chat.completions.create({ messages: [{ role: "user", content }], temperature: 0, max_tokens: 30 });
      return [reply.choices[0]!.message.content, reply.usage.prompt_tokens_details.cached_tokens] as const;
    }, content);
  const shared = (tab: Page) =>
    tab.evaluate(async () => {
      globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", worker: "shared" });
    });
  await open(page, address);
  await open(other, address);
  await Promise.all([shared(page), shared(other)]);
  // Each has a conversation of its own: what the one has read, the other has not.
  const answers = await Promise.all([ask(page, ITALY), ask(other, ITALY)]);
  expect(answers).toEqual([[capital.answer, 0], [capital.answer, 0]]);
  await other.close();
  expect((await ask(page, golden("sum").messages[0]!.content))[0]).toBe(golden("sum").answer);
  await page.evaluate(() => engine.dispose());
  await shared(page);
  expect((await ask(page, ITALY))[0]).toBe(capital.answer);
  // One that comes while the last one goes, with nothing between that takes time.
  const anew = (goes: boolean) =>
    page.evaluate(async (goes) => {
      const going = goes ? engine.dispose() : undefined;
      globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", worker: "shared", cache: false });
      await going;
    }, goes);
  await page.evaluate(() => engine.dispose());
  await anew(false);
  await anew(true);
  await anew(true);
  expect((await ask(page, ITALY))[0]).toBe(capital.answer);
});

/** The package's worker, which begins with other code. */
const workerWith = (code: string) => (request: IncomingMessage, response: ServerResponse) => {
  if (request.url !== "/package/dist/worker.js") return false;
  const own = readFileSync(new URL("../../package/dist/worker.js", import.meta.url));
  return sendBytes(request, response, "text/javascript", Buffer.concat([Buffer.from(`${code}\n`), own]));
};

/** A model, and a worker whose device a test can destroy. */
const losing = (bytes: Buffer, before = "") => {
  const [model, worker] = [modelIs(bytes), workerWith(`${DESTROYER}${before}`)];
  return (request: IncomingMessage, response: ServerResponse) => model(request, response) || worker(request, response);
};

/** Loses the device while nothing is asked; resolves when the page has been told. */
const loseIdle = async (page: Page, how: "now" | "for good"): Promise<void> => {
  const told = page.evaluate(() => new Promise<void>((resolve) => void engine.on("device-lost", () => resolve())));
  await lose(page, how);
  await told;
};

test("a device that is lost is replaced, and the answer goes on; when it is lost again before that, it is told", { tag: "@gpu" }, async ({ page, site }) => {
  await open(page, await site.bare(losing(SMALL.bytes)));
  await page.evaluate(async () => {
    globalThis.heard = [];
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", device: "gpu", kvType: "f32", onBroken: (error) => heard.push(`broken: ${error.code}`) });
    engine.on("device-lost", ({ error }) => heard.push(error.name));
    engine.on("reloaded", ({ info }) => heard.push(`${info.where}, ${info === engine.info}`));
  });
  const ask = () =>
    page.evaluate(async (prompt) => {
      let text = "";
      for await (const chunk of await engine.completions.create({ prompt, temperature: 0, max_tokens: 120, ignore_eos: true, stream: true })) text += chunk.choices[0]?.text ?? "";
      heard.push("answered");
      return text;
    }, SMALL.ids);
  const whole = await ask();
  expect(whole).not.toBe("");
  await lose(page, "in an answer");
  expect(await ask()).toBe(whole);
  expect(await ask()).toBe(whole);
  await loseIdle(page, "now");
  expect(await ask()).toBe(whole);
  const replaced = ["DeviceLostError", "device, true", "answered"];
  const calm = ["answered", ...replaced, "answered", ...replaced];
  expect(await page.evaluate(() => heard), "two losses, none for good; the first before the answer ended").toEqual(calm);
  // Lost again before anything was answered.
  await loseIdle(page, "for good");
  const end = await page.evaluate((prompt) => engine.completions.create({ prompt, max_tokens: 1 }).catch((error: Peregrine.PeregrineError) => [error.name, error.code]), SMALL.ids);
  expect(end).toEqual(["DeviceLostError", "device-lost"]);
  const told = await page.evaluate(() => heard);
  expect(told.slice(calm.length)).toEqual(["DeviceLostError", "device, true", "DeviceLostError", "broken: device-lost"]);
});

// Software takes half a minute to compile the shapes of graphics cards: what they compute, and what
// is sampled on them, is looked at here, too.
test("a graphics card computes what the native program does; lost for good, the processor goes on with the answer, and the app is told", { tag: "@gpu" }, async ({ page, site }) => {
  const model = await make(sampled(3));
  const file = (name: string) => readFileSync(new URL(`../../../${name}`, import.meta.url));
  const loaded = losing(file(model.model), CARD);
  await open(page, await site.bare((request, response) => loaded(request, response) || (request.url === `/${model.logits}` && sendBytes(request, response, "application/octet-stream", file(model.logits)))));
  const first = await page.evaluate(async () => {
    globalThis.heard = [];
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", kvType: "f32", contextLength: 512, onBroken: (error) => heard.push(`broken: ${error.code}`) });
    engine.on("reloaded", ({ info }) => info.where === "device" && heard.push(info.device.kind));
    return engine.info.device;
  });
  expect(first).toMatchObject({ kind: "gpu", name: expect.stringContaining("card"), shapes: "hardware", reduction: "workgroup" });
  const rows = await page.evaluate(async (native) => {
    const url = "/e2e/goldens/harness.mjs";
    const { run } = (await import(url)) as typeof Harness;
    const { info, chat, completions } = engine;
    // The engine that is here, which goes on after it.
    const here = { info, chat, completions, logits: engine.logits.bind(engine), check: engine.check.bind(engine), dispose: () => Promise.resolve() };
    const read = async (path: string) => (await fetch(path.endsWith(".gguf") ? "/model.gguf" : `/${path}`)).arrayBuffer();
    return run({ createEngine: () => Promise.resolve(here), options: {}, read }, [{ native, mode: { shapes: "hardware", reduction: "workgroup", kv: "f32" } }]);
  }, model);
  console.log(verdict(rows));
  const ask = () =>
    page.evaluate(
      async (prompt) => (await engine.completions.create({ prompt, temperature: 0, max_tokens: 16, ignore_eos: true, return_token_ids: true })).choices[0]!.token_ids,
      model.ids,
    );
  const answer = await ask();
  await loseIdle(page, "for good");
  expect(await ask()).toEqual(answer);
  expect(await ask()).toEqual(answer);
  const { told, after } = await page.evaluate(async () => {
    const after = engine.info.device;
    await engine.dispose();
    return { told: heard, after };
  });
  expect(told, "loaded again on the GPU, then on the processor").toEqual(["gpu", "cpu"]);
  expect(after).toMatchObject({ kind: "cpu", why: { kind: expect.stringContaining("lost") } });
});

test("eight engines, made and disposed: every device and worker goes", { tag: "@gpu" }, async ({ page, site }) => {
  const count = `
    const tell = new BroadcastChannel("devices");
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...rest) {
      const device = await request.apply(this, rest);
      tell.postMessage(1);
      return device;
    };
    const destroy = GPUDevice.prototype.destroy;
    GPUDevice.prototype.destroy = function () {
      destroy.call(this);
      tell.postMessage(-1);
    };`;
  const served = modelIs(SMALL.bytes);
  const worker = workerWith(count);
  await open(page, await site.bare((request, response) => served(request, response) || worker(request, response)));
  type Window = typeof globalThis & { devices: { made: number; alive: number } };
  await page.evaluate(async () => {
    const devices = ((globalThis as Window).devices = { made: 0, alive: 0 });
    new BroadcastChannel("devices").onmessage = ({ data }) => {
      devices.alive += data;
      devices.made += Math.max(data, 0);
    };
    const model = await (await fetch("/model.gguf")).blob();
    for (let i = 0; i < 8; i++) {
      // On a GPU one has a device and a worker, on the processor a worker alone.
      const engine = await peregrine.createEngine({ model, device: i % 4 === 0 ? "gpu" : "cpu" });
      await engine.dispose();
    }
  });
  // The browser tells of both a moment later.
  await expect.poll(() => page.evaluate(() => (globalThis as Window).devices)).toEqual({ made: 2, alive: 0 });
  await expect.poll(() => page.workers()).toEqual([]);
});
