/**
 * How fast the embedded model runs in this browser, on the package's own clock: printed, never
 * asserted.
 */

import type * as Peregrine from "peregrine";
import { test } from "../support.js";

test("speed", async ({ page, site }) => {
  await page.goto(await site.bare());
  const result = await page.evaluate(async () => {
    const url = "/package/dist/index.js"; // Not a literal: the compiler would look for the file.
    const { createEngine } = (await import(url)) as typeof Peregrine;
    const begin = performance.now();
    const engine = await createEngine({ model: "/model.gguf" });
    const load = performance.now() - begin;
    const ask = (content: string) =>
      engine.chat.completions.create({ messages: [{ role: "user", content }], max_tokens: 32, temperature: 0 });
    await ask("Hello!"); // Warms up.
    const content = "Please write a long story about a small bird that wants to fly over the sea, a storm, and a kind old sailor. ".repeat(2);
    const { usage } = await ask(content);
    const gpu = engine.info.device.name;
    await engine.dispose();
    return { gpu, load, usage };
  });
  const { prefill_ms, tokens_per_second } = result.usage.timings;
  const prompt = result.usage.prompt_tokens;
  console.log(`browser          Chromium, ${result.gpu}`);
  console.log(`loading          ${(result.load / 1000).toFixed(2)} s`);
  console.log(`first token      ${(prefill_ms / 1000).toFixed(3)} s (prompt of ${prompt} tokens, ${((1000 * prompt) / prefill_ms).toFixed(1)} tokens/s)`);
  console.log(`decode           ${tokens_per_second.toFixed(1)} tokens/s`);
});
