/**
 * The processor as a device: in Node without WebGPU, in Chromium and Firefox as they are where
 * there is none.
 */

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type * as Peregrine from "peregrine";
import { inFirefox } from "../firefox.mjs";
import { onProcessor } from "../goldens/plan.mjs";
import { node } from "../goldens/programs.mjs";
import { answerText, beGreedy, expect, golden, GOLDEN, idsOf, MODEL_FILE, openReady, say, sendBytes, test, workerBegins } from "../support.js";
import { withSwiftShader } from "../vulkan.mjs";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));

// Chromium cannot be told to be without WebGPU: it is taken away from pages and from workers.
const taken = (scope: string) => `delete ${scope}.prototype.gpu;\n`;
test.beforeEach(({ page }) => page.addInitScript(taken("Navigator")));
/** The package's worker, which has none. */
const worker = (request: IncomingMessage, response: ServerResponse) =>
  request.url === "/package/dist/worker.js" && sendBytes(request, response, "text/javascript", Buffer.from(taken("WorkerNavigator") + readFileSync(path("../../package/dist/worker.js"), "utf8")));

const browserOf = (info: { project: { use: { launchOptions?: unknown } } }) => (info.project.use.launchOptions as { executablePath: string }).executablePath;
const capital = golden("capital");

test("the goldens in Node without WebGPU", async ({}, info) => {
  console.log(await node(browserOf(info), { plan: onProcessor(), isBare: true }));
});

test("ten conversations token for token, and states that go from device to device", { tag: "@gpu" }, async ({}, info) => {
  const args = [path("../node/processor.mjs"), MODEL_FILE, path("../../../tests/golden/greedy.json"), path("../../../tests/golden/norm2.gguf")];
  const { stdout } = await promisify(execFile)("node", args, { env: withSwiftShader(browserOf(info)), timeout: 500_000 });
  const found = JSON.parse(stdout) as {
    device: Peregrine.EngineInfo["device"];
    answers: Record<string, number[]>;
    named: string;
    moved: Record<string, { kinds: string[]; cached: number; same: boolean; tokens: number }>;
  };
  expect(found.device).toMatchObject({ kind: "cpu", software: true, why: { kind: expect.stringMatching(/^WebGPU is not available/) } });
  expect(found.device.tokensPerSecond).toBeGreaterThan(0);
  for (const conversation of GOLDEN) expect(found.answers[conversation.name], conversation.name).toEqual(idsOf(conversation));
  expect(found.named).toBe("no-webgpu");
  expect(found.moved).toEqual({
    cpu: { kinds: ["cpu", "gpu"], cached: 41, same: true, tokens: 12 },
    gpu: { kinds: ["gpu", "cpu"], cached: 41, same: true, tokens: 12 },
  });
});

test("Chromium without WebGPU: an answer in a worker, and a long prompt that is stopped", async ({ page, site }) => {
  await page.goto(await site.bare(worker));
  const found = await page.evaluate(async (messages) => {
    const url = "/package/dist/index.js"; // Not a literal: the compiler would look for the file.
    const { createEngine } = (await import(url)) as typeof Peregrine;
    const engine = await createEngine({ model: "/model.gguf", snapshotBytes: 0 });
    const reply = await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 60 });
    // Many chunks of it: it takes longer than the abort.
    const prompt = Array.from({ length: 700 }, (_, i) => 300 + i);
    const stop = new AbortController();
    const reading = engine.completions.create({ prompt, max_tokens: 1 }, { signal: stop.signal }).catch((error: Error) => error);
    // The worker has begun with it: what is asked next waits behind it.
    await engine.tokenizer.encode("x");
    stop.abort();
    const stopped = (await reading) as Peregrine.PeregrineError;
    // What was read of it stays read; it was not all.
    const { usage } = await engine.completions.create({ prompt, max_tokens: 1 });
    const { kind, why } = engine.info.device;
    await engine.dispose();
    return { gpu: "gpu" in navigator, kind, why: why.kind, answer: reply.choices[0]!.message.content, stopped: stopped.code, all: prompt.length, cached: usage!.prompt_tokens_details.cached_tokens };
  }, capital.messages);
  expect(found).toMatchObject({ gpu: false, kind: "cpu", why: expect.stringMatching(/^WebGPU is not available/), answer: capital.answer, stopped: "cancelled" });
  expect(found.cached).toBeLessThan(found.all - 64);
});

test("Chromium without WebGPU: the chat page", async ({ page, site }) => {
  await openReady(page, await site.start(workerBegins(taken("WorkerNavigator"))));
  await beGreedy(page);
  await say(page, capital.messages[0]!.content);
  expect(await answerText(page, 0)).toBe(capital.answer);
});

test("Firefox as it is", async ({ site }) => {
  const address = await site.bare();
  const here = `import("/package/dist/index.js").then(async ({ createEngine }) => {
    const engine = await createEngine({ model: "/model.gguf" });
    const reply = await engine.chat.completions.create({ messages: ${JSON.stringify(capital.messages)}, temperature: 0, max_tokens: 60 });
    return { gpu: "gpu" in navigator, device: engine.info.device, answer: reply.choices[0].message.content };
  })`;
  const found = (await inFirefox(address, here, console.log, true)) as { gpu: boolean; device: Peregrine.EngineInfo["device"]; answer: string };
  expect(found).toMatchObject({ gpu: false, device: { kind: "cpu", why: { kind: expect.stringMatching(/^WebGPU is not available/) } }, answer: capital.answer });
});
