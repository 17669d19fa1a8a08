/** Conversations as values: random edits, repetitions, saves and restores give, number for number, what the first time gave. */

import type * as Peregrine from "peregrine";
import { expect, test } from "../support.js";

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
    /** Tokens and the exact log-probabilities of the likeliest of each, and how much had been read before. */
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
      // From the file; or as an edit of the turn that was asked last, which the engine finds its own way back from.
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
