/**
 * A page without a GPU, and `peregrine serve` behind it: an app of one's own, and the chat page.
 */

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import axe from "axe-core";
import type * as Peregrine from "peregrine";
import { fakeEngine } from "../fake.js";
import { answers, answerText, beGreedy, expect, failure, golden, idsOf, MODEL_FILE, say, test, waitReady } from "../support.js";
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
            device: "gpu",
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

/** The engine of {@link fakeEngine}, where no GPU is. */
const NO_GPU = `
  self.addEventListener("message", (event) => {
    const { type, id, call } = event.data;
    if (type !== "call" || call !== "load") return;
    event.stopImmediatePropagation();
    self.postMessage({ type: "hello" });
    self.postMessage({ type: "error", id, error: { code: "no-gpu", message: "no adapter" } });
  });
`;

async function accessible(page: Page, state: string): Promise<void> {
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => (await (window as unknown as { axe: typeof axe }).axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 120)}`));
  expect(found, state).toEqual([]);
}

test("the chat page: a server answers where nothing fits, when the person agrees, and every place says so", async ({ page, site }) => {
  const address = await site.start(fakeEngine(NO_GPU));
  const server = await serve(new URL(address).origin);
  const host = new URL(server.address).host;
  const asked: string[] = [];
  page.on("request", (request) => new URL(request.url()).host === host && request.method() !== "OPTIONS" && asked.push(new URL(request.url()).pathname));
  const consent = page.getByRole("heading", { name: `May ${host} answer?` });
  const marked = async () => {
    await expect(page.locator("#chip-device")).toHaveText(`On the server ${host}`);
    await expect(page.locator("#hint-model")).toHaveText(`What you send goes to ${host}.`);
  };
  try {
    await page.goto(address);
    expect((await failure(page)).title).toBe("This browser has WebGPU, but no graphics card for it.");
    await page.getByRole("button", { name: "Use a server…" }).click();
    const box = page.getByRole("textbox", { name: "Address", exact: true });
    await expect(box).toBeFocused();
    const note = page.locator("#server-note");
    await box.fill("https://llm.example/v1");
    await page.keyboard.press("Enter");
    await expect(note, "the promise of the page stands").toContainText("This page may not reach https://llm.example");
    await box.fill("not an address");
    await page.keyboard.press("Enter");
    await expect(note).toContainText("Write the address of its API");
    await box.fill(`${host}/v1`);
    await page.keyboard.press("Enter");
    await expect(note).toContainText("The server did not answer as it should.");
    await expect(note, "without its key").toContainText("401");
    await page.getByLabel("Key, if it wants one").fill(KEY);
    await accessible(page, "the dialog");
    await page.getByRole("button", { name: "Only where this device cannot" }).click();

    await expect(consent).toBeVisible();
    expect(asked.every((path) => path === "/v1/models"), "nothing was sent").toBe(true);
    await accessible(page, "the question");
    await page.getByRole("button", { name: "Send nothing" }).click();
    expect((await failure(page)).title).toContain("no graphics card");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByRole("button", { name: "Let it answer" }).click();
    await waitReady(page);
    await marked();
    await expect(page.locator(".lead"), "nothing that is not so").toHaveText(`What you send goes to ${host}.`);
    await expect(page.locator("#toy-note")).toBeHidden();
    await beGreedy(page);
    const capital = golden("capital");
    await say(page, capital.messages[0]!.content);
    expect(await answerText(page, 0)).toBe(capital.answer);
    await expect(answers(page).first()).toContainText(`Answered by ${host}, not by this device`);
    expect(asked.filter((path) => path.endsWith("/chat/completions"))).toHaveLength(1);
    await accessible(page, "a conversation");

    await page.reload();
    await expect(answers(page).first(), "it is kept").toContainText(`Answered by ${host}`);
    await expect(consent, "each visit asks").toBeVisible();
    await page.locator("#model-chip").click();
    await page.getByRole("button", { name: "Answer from it now" }).click();
    await waitReady(page);
    await marked();
    await page.reload();
    await waitReady(page);
    await expect(consent, "who has chosen it is not asked").toHaveCount(0);
    await marked();
    await page.setViewportSize({ width: 360, height: 640 });
    await expect(page.locator("#chip-device"), "on a phone too").toBeInViewport();
    await page.locator("#model-chip").click();
    await page.getByRole("button", { name: "Forget it" }).click();
    await expect(page.locator("#server-note")).toHaveText("It is forgotten.");
    await page.keyboard.press("Escape");
    expect((await failure(page)).title).toContain("no graphics card");
    expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain(KEY);
  } finally {
    await server.end();
  }
});
