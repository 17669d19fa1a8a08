/** The package in Node, on Dawn's WebGPU: the browser's without a browser; and in Deno, on its own. */

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, golden, MODEL_FILE, test } from "../support.js";
import { withSwiftShader } from "../vulkan.mjs";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const capital = golden("capital");
const question = capital.messages[0]!.content;

/** What a script prints. Dawn takes any Vulkan driver; where there is no GPU, Chromium brings one that computes on the CPU. */
async function run(browser: string, script: string, ...args: string[]): Promise<string> {
  const [program, ...before] = script.includes("deno") ? [path("../../node_modules/.bin/deno"), "run", "--allow-all"] : ["node"];
  return (await promisify(execFile)(program!, [...before, script, ...args], { env: withSwiftShader(browser), timeout: 200_000 })).stdout;
}

const browserOf = (info: { project: { use: { launchOptions?: unknown } } }) => (info.project.use.launchOptions as { executablePath: string }).executablePath;

test("an answer in Node", async ({}, info) => {
  const { answer, device } = JSON.parse(await run(browserOf(info), path("../node/answer.mjs"), MODEL_FILE, question)) as { answer: string; device: { name: string } };
  expect(answer).toBe(capital.answer);
  expect(device.name).not.toBe("");
});

test("answers in Deno: in a worker and without one, of bytes and of a file by its address", async ({}, info) => {
  const { answers, device } = JSON.parse(await run(browserOf(info), path("../deno/answer.mjs"), MODEL_FILE, question)) as { answers: string[]; device: { name: string } };
  expect(answers).toEqual([capital.answer, capital.answer]);
  expect(device.name).not.toBe("");
});

test("the bench in Node", async ({}, info) => {
  const args = ["--prompt-tokens", "4", "--gen-tokens", "4", "--context", "3", "--repeat", "1"];
  const report = JSON.parse(await run(browserOf(info), path("../node/bench.mjs"), MODEL_FILE, ...args)) as Record<string, number>;
  for (const key of ["load_seconds", "prefill_tokens_per_second", "time_to_first_token_seconds", "decode_milliseconds_per_token"]) {
    expect(report[key], key).toBeGreaterThan(0);
  }
  expect(report).toMatchObject({ context: 3, prompt_tokens: 4, gen_tokens: 4, runs: 1, tokens_decoded: [3] });
  await expect(run(browserOf(info), path("../node/bench.mjs"), MODEL_FILE, "--repeat", "0")).rejects.toMatchObject({ code: 2 });
});

test("the README's snippet for Node", async ({}, info) => {
  const readme = readFileSync(path("../../package/README.md"), "utf8");
  const [, snippet] = /^```js\n(.*?)^```$/ms.exec(readme) ?? [];
  const ask = `
const messages = [{ role: "user", content: ${JSON.stringify(question)} }];
console.log((await engine.chat.completions.create({ messages, temperature: 0 })).choices[0].message.content);
process.exit(0);
`;
  // Beside the other script, so that it finds the packages.
  const script = path("../node/readme.mjs");
  await writeFile(script, snippet!.replace('"model.gguf"', JSON.stringify(MODEL_FILE)) + ask);
  try {
    expect((await run(browserOf(info), script)).trim()).toBe(capital.answer);
  } finally {
    await rm(script);
  }
});
