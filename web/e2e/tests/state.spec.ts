/**
 * Conversations as values: random edits, repetitions, saves and restores give, number for number,
 * what the first time gave.
 */

import type * as Peregrine from "peregrine";
import { expect, modelIs, SMALL, test } from "../support.js";

declare global {
  var peregrine: typeof Peregrine;
  var engine: Peregrine.Engine;
}

test("edits, repetitions and restored states give the same logits as the first time", async ({ page, site }) => {
  await page.goto(await site.bare());
  const seen = await page.evaluate(async () => {
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", cache: false });
    const user = (content: string): Peregrine.ChatMessage => ({ role: "user", content });
    /**
     * Tokens and the exact log-probabilities of the likeliest of each, and how much had been read
     * before.
     */
    const ask = async (messages: Peregrine.ChatMessage[]) => {
      const params = { messages, temperature: 0, max_tokens: 5, logprobs: true, top_logprobs: 4, return_token_ids: true };
      const reply = (await engine.chat.completions.create(params)) as Peregrine.ChatCompletion;
      const choice = reply.choices[0]!;
      const numbers = choice.logprobs!.content.flatMap((token) => token.top_logprobs.map(({ logprob }) => logprob));
      const cached = reply.usage!.prompt_tokens_details.cached_tokens;
      return { text: choice.message.content, told: JSON.stringify([choice.token_ids, numbers]), cached };
    };
    const questions = ["Why?", "What is 2 plus 3?", "Tell me a story."];
    // Two conversations with the states that their first turns leave.
    const places: { messages: Peregrine.ChatMessage[]; state: Blob; first: (Awaited<ReturnType<typeof ask>> | undefined)[] }[] = [];
    for (const opening of ["What is the capital of Italy?", "Hello! Who are you?"]) {
      const messages = [user(opening)];
      const { text } = await ask(messages);
      messages.push({ role: "assistant", content: text });
      places.push({ messages, state: await engine.saveState(), first: [] });
    }
    let seed = 5;
    const below = (n: number) => ((seed = (seed * 1664525 + 1013904223) >>> 0) >>> 8) % n;
    const differ: string[] = [];
    const counts = { restored: 0, edited: 0, compared: 0, cached: 0 };
    let at: (typeof places)[0] | undefined;
    for (let step = 0; step < 14; step++) {
      const place = places[below(places.length)]!;
      const q = below(questions.length);
      // From the file; or as an edit of the turn that was asked last, which the engine finds its
      // own way back from.
      const edits = at === place && below(3) > 0;
      if (edits) counts.edited++;
      else {
        await engine.restoreState(place.state);
        counts.restored++;
      }
      at = place;
      const found = await ask([...place.messages, user(questions[q]!)]);
      const first = (place.first[q] ??= found);
      if (first !== found) counts.compared++;
      if (found.told !== first.told || found.cached !== first.cached) differ.push(`${step} ${edits} ${JSON.stringify([found, first])}`);
      counts.cached = Math.max(counts.cached, found.cached);
    }
    const different = new Set(places.flatMap((place) => place.first.map((first) => first?.told))).size;
    await engine.dispose();
    return { differ, counts, different };
  });
  expect(seen.differ).toEqual([]);
  expect(seen.counts.edited).toBeGreaterThan(1);
  expect(seen.counts.restored).toBeGreaterThan(3);
  expect(seen.counts.compared).toBeGreaterThan(4);
  expect(seen.counts.cached).toBeGreaterThan(10);
  expect(seen.different, "other questions have other answers").toBeGreaterThan(4);
});

test("truncation leaves out the oldest turns only where it is asked for, and the answer is that of the shorter conversation", async ({ page, site }) => {
  await page.goto(await site.bare());
  const seen = await page.evaluate(async () => {
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", cache: false, contextLength: 128 });
    const turn = (role: "user" | "assistant", content: string): Peregrine.ChatMessage => ({ role, content });
    const messages: Peregrine.ChatMessage[] = [{ role: "system", content: "Be kind." }];
    for (const country of ["France", "Italy", "Spain", "Norway", "Greece", "Japan"]) {
      messages.push(turn("user", `What is the capital of ${country}, please tell me?`), turn("assistant", "I know it, but I do not tell."));
    }
    messages.push(turn("user", "And of Italy?"));
    const params = { temperature: 0, max_tokens: 6, return_token_ids: true };
    const refused = await engine.chat.completions.create({ ...params, messages }).then(
      () => "answered",
      (error: Error & { code?: string }) => error.code ?? error.name,
    );
    const long = await engine.chat.completions.create({ ...params, messages, truncation: "auto" });
    const dropped = long.usage!.prompt_tokens_details.dropped_messages;
    await engine.dispose();
    // An engine that has never heard of the rest.
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", cache: false, contextLength: 128 });
    const kept = [messages[0]!, ...messages.slice(1 + dropped)];
    const short = await engine.chat.completions.create({ ...params, messages: kept });
    const other = await engine.chat.completions.create({ ...params, messages: [messages[0]!, ...messages.slice(-1)] });
    await engine.dispose();
    const of = (reply: typeof long) => ({ ids: reply.choices[0]!.token_ids, prompt: reply.usage!.prompt_tokens });
    return { refused, dropped, long: of(long), short: of(short), other: of(other) };
  });
  expect(seen.refused).toBe("context-full");
  expect(seen.dropped).toBeGreaterThan(0);
  expect(seen.dropped % 2, "whole turns").toBe(0);
  expect(seen.long).toEqual(seen.short);
  expect(seen.other.prompt, "the comparison can fail").not.toBe(seen.long.prompt);
});

test("places that the GPU has no room for move beside it, and are gone back to", { tag: "@gpu" }, async ({ page, site }) => {
  await page.goto(await site.bare(modelIs(SMALL.bytes)));
  const [without, beside] = await page.evaluate(async (prompt) => {
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    const results = [];
    for (const snapshotHostBytes of [0, 64e6]) {
      // Less than the places of four turns take.
      globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", cache: false, device: "gpu", snapshotBytes: 6e4, snapshotHostBytes });
      const ask = async (prompt: number[]) => {
        const reply = await engine.completions.create({ prompt, temperature: 0, max_tokens: 4, ignore_eos: true, return_token_ids: true });
        return { ids: reply.choices[0]!.token_ids!, cached: reply.usage!.prompt_tokens_details.cached_tokens };
      };
      const first = await ask(prompt);
      const turn = [...prompt, ...first.ids];
      let conversation = turn;
      for (const next of [7, 8, 9]) {
        conversation = [...conversation, next, 3, 4];
        conversation = [...conversation, ...(await ask(conversation)).ids];
      }
      results.push({ ...(await ask([...turn, 50, 51, 52])), turn: turn.length });
      await engine.dispose();
    }
    return results;
  }, SMALL.ids.slice(0, 20));
  expect(without!.cached).toBe(0);
  // At most the last token of the answer is still to be read.
  expect(beside!.cached).toBeGreaterThanOrEqual(beside!.turn - 1);
  expect(beside!.ids).toEqual(without!.ids);
});

test("a beginning that is only read is shipped as a file", async ({ page, site }) => {
  await page.goto(await site.bare());
  const seen = await page.evaluate(async () => {
    const url = "/package/dist/index.js";
    globalThis.peregrine = await import(url);
    globalThis.engine = await peregrine.createEngine({ model: "/model.gguf", cache: false });
    const system: Peregrine.ChatMessage = { role: "system", content: "You are a friend who knows much about foxes and birds." };
    const ask = async () => {
      const messages: Peregrine.ChatMessage[] = [system, { role: "user", content: "What is the capital of Italy?" }];
      const reply = await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 8, return_token_ids: true });
      return { ids: reply.choices[0]!.token_ids, cached: reply.usage!.prompt_tokens_details.cached_tokens };
    };
    const plain = await ask();
    const read = await engine.prefill([system]);
    const file = await engine.saveState();
    const text = await engine.prefill("The fox and the bird");
    const wrong = await engine.prefill([]).then(() => "read", (error: Error) => error.message);
    await engine.restoreState(file);
    const shipped = await ask();
    await engine.dispose();
    return { plain, read, text, wrong, shipped };
  });
  expect(seen.read).toMatchObject({ completion_tokens: 0 });
  expect(seen.read.prompt_tokens).toBeGreaterThan(10);
  expect(seen.text.prompt_tokens).toBeGreaterThan(4);
  expect(seen.wrong).toContain("prompt");
  expect(seen.plain.cached).toBe(0);
  expect(seen.shipped).toEqual({ ids: seen.plain.ids, cached: seen.read.prompt_tokens });
});
