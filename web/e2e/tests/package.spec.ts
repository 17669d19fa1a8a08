/** The npm package on a bare page, as plain modules without a bundler. */

import { statSync } from "node:fs";
import type * as Peregrine from "peregrine";
import type { Page } from "@playwright/test";
import { expect, GOLDEN, golden, idsOf, isWhole, MODEL_FILE, modelIs, SMALL, test } from "../support.js";

const MODEL_BYTES = statSync(MODEL_FILE).size;

declare global {
  // What `prepare` puts on the page.
  var peregrine: typeof Peregrine;
  var engine: Peregrine.Engine;
}

/** Imports the package on the bare page, and loads the model with these options. */
async function prepare(page: Page, address: string, options: Omit<Peregrine.EngineOptions, "model" | "server"> = {}): Promise<Peregrine.EngineInfo> {
  await page.goto(address);
  return page.evaluate(async (given) => {
    // Not a literal: the compiler would look for the file.
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", ...given });
    return engine.info;
  }, options);
}

/** The greedy answer to a golden conversation. */
const answer = (page: Page, name: string) =>
  page.evaluate(
    async ({ messages, max_tokens }) => {
      const reply = await engine.chat.completions.create({ messages, max_tokens, temperature: 0, return_token_ids: true });
      return { ...reply.choices[0], usage: reply.usage };
    },
    { messages: golden(name).messages, max_tokens: isWhole(golden(name)) ? 100 : golden(name).answer_ids.length },
  );

test("ten conversations: the same tokens as Hugging Face transformers", async ({ page, site }) => {
  await prepare(page, await site.bare());
  expect(GOLDEN.length).toBe(10);
  for (const conversation of GOLDEN) {
    const got = await answer(page, conversation.name);
    expect.soft(got.token_ids, conversation.name).toEqual(idsOf(conversation));
    expect.soft(got.message.content, conversation.name).toBe(conversation.answer);
    expect.soft(got.finish_reason, conversation.name).toBe(isWhole(conversation) ? "stop" : "length");
    expect.soft(got.usage.prompt_tokens, conversation.name).toBe(conversation.prompt_ids.length);
  }
});

// The shapes of GPUs are those of "a graphics card" in engine.spec.ts, and of goldens.
for (const gpu of [{ baseline: true }, { reduction: "subgroup" }] as const) {
  test(`the same tokens with ${JSON.stringify(gpu)}`, { tag: "@gpu" }, async ({ page, site }) => {
    const { device } = await prepare(page, await site.bare(modelIs(SMALL.bytes)), { gpu, kvType: "f32" });
    expect(device.software).toBe(true);
    expect(device.subgroups).toBe(!("baseline" in gpu));
    expect(device.reduction).toBe("reduction" in gpu ? "subgroup" : "workgroup");
    const ids = await page.evaluate(
      async (prompt) => (await engine.completions.create({ prompt, max_tokens: 16, temperature: 0, ignore_eos: true, return_token_ids: true })).choices[0]!.token_ids,
      SMALL.ids,
    );
    expect(ids).toEqual(SMALL.greedy);
  });
}

test("what is loaded is described; progress: bytes, programs, ready; its tokenizer", async ({ page, site }) => {
  await page.goto(await site.bare());
  const greeting = golden("greeting");
  const prompt = `<|im_start|>user\n${greeting.messages[0]!.content}<|im_end|>\n<|im_start|>assistant\n`;
  const { seen, model, ids, text, count } = await page.evaluate(async (prompt) => {
    const url = "/package/dist/index.js";
    const { createEngine } = (await import(url)) as typeof Peregrine;
    const seen: Peregrine.Progress[] = [];
    const { info, tokenizer } = await createEngine({ model: "/model.gguf", onProgress: (progress) => seen.push(progress) });
    const ids = await tokenizer.encode(prompt, { addBos: true });
    const [text, count] = [await tokenizer.decode([...ids].slice(1)), await tokenizer.countTokens(prompt)];
    return { seen, model: info.model, ids, text, count };
  }, prompt);
  expect(model.name).toBe("Peregrine Tiny Chat");
  expect(model.parameters).toBeGreaterThan(30e6);
  expect(model.parameters).toBeLessThan(32e6);
  expect(model).toMatchObject({ bytes: MODEL_BYTES, vocabSize: 6144, layers: 8 });
  expect(model.formats).toMatch(/^Q4_0 ×\d+, Q6_K ×1$/);

  const last = (phase: string) => seen.filter((progress) => progress.phase === phase).at(-1);
  expect(last("download")).toMatchObject({ loaded: MODEL_BYTES, total: MODEL_BYTES, resumedFrom: 0 });
  const upload = last("upload") as { loaded: number; total: number };
  expect(upload.loaded / upload.total).toBeGreaterThan(0.999);
  const { total } = last("compile") as { total: number };
  expect(total).toBeGreaterThan(3);
  const programs = seen.flatMap((progress) => (progress.phase === "compile" ? [progress.done] : []));
  expect(programs).toEqual(Array.from({ length: total + 1 }, (_, done) => done));
  expect(seen.at(-1)).toEqual({ phase: "ready" });

  expect(ids).toEqual(greeting.prompt_ids);
  expect(text).toBe(prompt);
  expect(count).toBe(greeting.prompt_ids.length - 1);
});

test("the next message costs only its own tokens; streaming, stopping and going on", async ({ page, site }) => {
  await prepare(page, await site.bare());
  const seen = await page.evaluate(async () => {
    const messages: Peregrine.ChatMessage[] = [{ role: "user", content: "What is the capital of Italy?" }];
    const create = (extra: object = {}) =>
      engine.chat.completions.create({ messages, temperature: 0, max_tokens: 60, stream: true, stream_options: { include_usage: true }, ...extra });
    const turn = async () => {
      let text = "";
      let usage: Peregrine.Usage | null | undefined;
      for await (const chunk of await create()) {
        text += chunk.choices[0]?.delta.content ?? "";
        usage = chunk.usage ?? usage;
      }
      messages.push({ role: "assistant", content: text });
      return { text, usage };
    };
    const first = await turn();
    messages.push({ role: "user", content: "What is the capital of France?" });
    const second = await turn();

    // A signal stops the third answer; the loop tells what the engine has written, and throws.
    messages.push({ role: "user", content: "Tell me a short story about a fox." });
    const abort = new AbortController();
    let partial = "";
    let thrown: unknown;
    try {
      const stream = await engine.chat.completions.create({ messages, temperature: 0, stream: true, ignore_eos: true }, { signal: abort.signal });
      for await (const chunk of stream) {
        partial += chunk.choices[0]?.delta.content ?? "";
        if (partial.length > 20) abort.abort();
      }
    } catch (error) {
      thrown = error instanceof peregrine.AbortError && error.code;
    }
    messages.push({ role: "assistant", content: partial }, { role: "user", content: "What is 7 plus 5?" });
    const third = await turn();

    // Leaving the loop stops the work too: the next request does not wait for a long answer.
    messages.push({ role: "user", content: "Tell me a short story about a fox." });
    for await (const chunk of await create({ max_tokens: 1000 })) if (chunk.choices[0]?.delta.content) break;
    messages.splice(0, messages.length, { role: "user", content: "What is the capital of Italy?" });
    const again = await turn();
    return { first, second, partial, third, thrown, again };
  });
  expect(seen.first.text).toBe(golden("capital").answer);
  const one = seen.first.usage!;
  const two = seen.second.usage!;
  expect(one.prompt_tokens_details.cached_tokens).toBe(0);
  // The prompt, the answer, and maybe its end token: at most the last token of the answer is still
  // to be read.
  expect(two.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(one.total_tokens - 1);
  expect(seen.second.text).toContain("Paris");
  expect(seen.partial.length).toBeGreaterThan(0);
  expect(seen.third.usage!.prompt_tokens_details.cached_tokens, "after a stop nothing is read twice").toBeGreaterThanOrEqual(two.total_tokens);
  expect(seen.third.text).toContain("12");
  expect(seen.thrown).toBe("cancelled");
  expect(seen.again.text).toBe(seen.first.text);
});

test("requests are answered in order, refused by name, and fail after dispose", async ({ page, site }) => {
  await prepare(page, await site.bare());
  const seen = await page.evaluate(async () => {
    const code = (promise: Promise<unknown>) => promise.then(() => "no error", (error: Peregrine.PeregrineError) => [error.name, error.code, error.message]);
    const ask = (content: string) =>
      engine.chat.completions.create({ messages: [{ role: "user", content }], temperature: 0, max_tokens: 12 }).then((reply) => reply.choices[0].message.content);
    const [italy, sum] = await Promise.all([ask("What is the capital of Italy?"), ask("What is 7 plus 5?")]);
    const tools = await code(engine.chat.completions.create({ messages: [{ role: "user", content: "x" }], functions: [{}] } as unknown as Peregrine.ChatCompletionParams));
    const range = await code(engine.tokenizer.decode([999_999]));
    const scheme = await code(peregrine.createEngine({ model: "ftp://org/name" }));
    const missing = await code(peregrine.createEngine({ model: "/nothing.gguf" }));
    const bytes = await code(peregrine.createEngine({ model: new TextEncoder().encode("not a model").buffer as ArrayBuffer }));
    const abort = new AbortController();
    const loading = code(peregrine.createEngine({ model: "/model.gguf", signal: abort.signal }));
    abort.abort();
    const aborted = await loading;
    const open = code(ask("Tell me a short story about a fox."));
    await engine.dispose();
    await engine.dispose();
    return { italy, sum, tools, range, scheme, missing, bytes, aborted, open: await open, after: await code(engine.tokenizer.encode("x")) };
  });
  expect(seen.italy).toBe(golden("capital").answer);
  expect(seen.sum).toBe(golden("sum").answer);
  expect(seen.tools).toEqual(["RequestError", "not-supported", expect.stringContaining("functions")]);
  expect(seen.range).toEqual(["RequestError", "token-out-of-range", expect.stringContaining("999999")]);
  expect(seen.scheme).toEqual(["RequestError", "not-supported", expect.stringContaining("model")]);
  expect(seen.missing).toEqual(["DownloadError", "http", expect.stringContaining("404")]);
  expect(seen.bytes).toEqual(["ModelFileError", "not-gguf", expect.stringContaining("GGUF")]);
  expect(seen.aborted).toEqual(["AbortError", "cancelled", expect.anything()]);
  expect(["disposed", "cancelled"]).toContain(seen.open[1]);
  expect(seen.after).toEqual(["PeregrineError", "disposed", expect.anything()]);
});

test("engines side by side; the same seed gives the same text, another seed another", async ({ page, site }) => {
  await prepare(page, await site.bare());
  const { answers, texts } = await page.evaluate(async () => {
    const ask = async (one: Peregrine.Engine) =>
      (await one.chat.completions.create({ messages: [{ role: "user", content: "What is 7 plus 5?" }], temperature: 0, max_tokens: 20 })).choices[0].message.content;
    const blob = await (await fetch("/model.gguf")).blob();
    const other = await peregrine.createEngine({ model: blob });
    const answers = await Promise.all([ask(engine), ask(other)]);
    const messages: Peregrine.ChatMessage[] = [{ role: "user", content: "Tell me a short story about a fox." }];
    const draw = async (one: Peregrine.Engine, seed: number) =>
      (await one.chat.completions.create({ messages, temperature: 1, seed, max_tokens: 24 })).choices[0].message.content;
    const texts = [await draw(engine, 1), await draw(engine, 1), await draw(engine, 2), await draw(other, 1)];
    await other.dispose();
    answers.push(await ask(engine));
    return { answers, texts };
  });
  expect(new Set(answers)).toEqual(new Set([golden("sum").answer]));
  expect(texts[1]).toBe(texts[0]);
  expect(texts[3], "in another engine").toBe(texts[0]);
  expect(texts[2]).not.toBe(texts[0]);
});
