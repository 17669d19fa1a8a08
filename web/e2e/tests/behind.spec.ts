/** A page without a GPU, and `peregrine serve` behind it. */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type * as Peregrine from "peregrine";
import { expect, golden, idsOf, MODEL_FILE, test } from "../support.js";
import { withLavapipe } from "../vulkan.mjs";

const program = fileURLToPath(new URL("../../../target/release/peregrine", import.meta.url));
const KEY = "geheim-123";

/** Starts it for pages of that origin. */
async function serve(origin: string): Promise<{ address: string; end: () => Promise<unknown> }> {
  const env = { ...withLavapipe(), PEREGRINE_API_KEY: KEY };
  const process = spawn(program, ["serve", MODEL_FILE, "--port", "0", "--allowed-origins", origin], { env, stdio: ["ignore", "pipe", "pipe"] });
  let told = "";
  process.stderr.on("data", (text: Buffer) => (told += text));
  const ended = new Promise((resolve) => process.once("close", resolve));
  const first = new Promise<string>((resolve) => createInterface({ input: process.stdout }).once("line", resolve));
  const line = await Promise.race([first, ended]);
  if (typeof line !== "string") throw new Error(`peregrine serve did not start: ${told}`);
  return { address: line.replace("127.0.0.1", "localhost"), end: () => (process.kill(), ended) };
}

test("a page without a GPU is answered by the server that it has been told of; one of another origin is told why not", async ({ page, site }) => {
  const allowed = await site.bare();
  const server = await serve(allowed);
  try {
    await page.addInitScript(() => Reflect.deleteProperty(Navigator.prototype, "gpu"));
    const ask = (apiKey: string) =>
      page.evaluate(
        async ({ baseURL, apiKey, messages }) => {
          // Not a literal: the compiler would look for the file.
          const url = "/package/dist/index.js";
          const { createEngine } = (await import(url)) as typeof Peregrine;
          const wheres: unknown[] = [];
          const engine = await createEngine({
            model: "/model.gguf",
            worker: "here",
            server: { baseURL, apiKey, model: "any" },
            onWhere: (info) => void wheres.push([info.where, performance.getEntriesByType("resource").filter(({ name }) => name.startsWith(baseURL)).length]),
          });
          const { where } = engine.info;
          try {
            const stream = await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 40, stream: true, return_token_ids: true });
            const chunks = [];
            for await (const { choices } of stream) chunks.push(...choices);
            const text = chunks.map(({ delta }) => delta.content ?? "").join("");
            return { where, wheres, text, ids: chunks.flatMap((choice) => choice.token_ids ?? []), usage: stream.usage };
          } catch (error) {
            return { where, wheres, error: JSON.stringify(error) };
          }
        },
        { baseURL: `${server.address}/v1`, apiKey, messages: golden("capital").messages },
      );
    await page.goto(allowed);
    const answer = await ask(KEY);
    expect(answer).toMatchObject({ where: "server", wheres: [["server", 0]], text: golden("capital").answer, ids: idsOf(golden("capital")) });
    expect(answer.usage?.prompt_tokens).toBe(golden("capital").prompt_ids.length);
    const wrong = (await ask("other")).error;
    expect(wrong).toContain("server-failed");
    expect(wrong).toContain("answered 401: ");

    await page.goto(await site.bare());
    const refused = (await ask(KEY)).error;
    expect(refused).toContain("server-unreachable");
    expect(refused).toContain("does not allow this page's origin (CORS)");
    expect(refused).not.toContain(KEY);
  } finally {
    await server.end();
  }
});
