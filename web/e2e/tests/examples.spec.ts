/** The examples, used as a person would. */

import type { Server } from "node:http";
import { join } from "node:path";
import { Packed, serveApp } from "../packed.js";
import { expect, golden, test } from "../support.js";

const question = golden("capital").messages.at(-1)!.content;

let packed: Packed | undefined;
let server: Server | undefined;

test.beforeAll(() => {
  packed = new Packed();
});

test.afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
});

test.afterAll(() => packed?.remove());

for (const [name, title] of [["openai", "OpenAI's client"], ["langchain", "LangChain.js"], ["ai-sdk", "AI SDK"]] as const) {
  test(`${title}: asked, stopped, asked again; by keyboard`, async ({ page }) => {
    const folder = packed!.buildExample(new URL(`../../examples/${name}`, import.meta.url));
    const listening = await serveApp(join(folder, "dist"));
    server = listening.server;
    await page.goto(listening.address);
    await expect(page.getByRole("heading")).toHaveText(`${title} on Peregrine`);
    const [box, answers, stop] = [page.getByLabel("Question"), page.locator(".assistant"), page.getByRole("button", { name: "Stop" })];
    const send = page.getByRole("button", { name: "Send" });
    await expect(send).toBeEnabled({ timeout: 120_000 });
    await expect(page.getByRole("status")).toContainText(" on ");
    await box.fill(question);
    await box.press("Enter");
    await expect(answers.last()).toHaveText(/[A-Za-z]/);
    await expect(stop).toBeDisabled();
    await expect(page.getByRole("alert").first()).toHaveText("");
    const first = await answers.last().textContent();
    // The embedded model writes for a while when it is asked for a story.
    await box.fill("Tell me a long story about the sea.");
    await box.press("Enter");
    await expect(answers).toHaveCount(2);
    await stop.click();
    await expect(stop).toBeDisabled();
    await box.fill("What is the capital of France?");
    await box.press("Enter");
    await expect(answers).toHaveCount(3);
    await expect(answers.last()).toHaveText(/[A-Za-z]/);
    await expect(stop).toBeDisabled();
    await expect(answers.first()).toHaveText(first!);
    await expect(page.getByRole("alert").filter({ hasText: /./ })).toHaveCount(0);
  });
}
