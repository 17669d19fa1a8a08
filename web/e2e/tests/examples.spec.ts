/** The examples, used as a person would. */

import type { Server } from "node:http";
import { join } from "node:path";
import { Packed, serveApp } from "../packed.js";
import { expect, golden, test, whenStoppable } from "../support.js";

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
    const [box, messages, stop] = [page.getByLabel("Question"), page.locator("#messages > *"), page.getByRole("button", { name: "Stop" })];
    const send = page.getByRole("button", { name: "Send" });
    await expect(send).toBeEnabled({ timeout: 120_000 });
    await expect(page.getByRole("status")).toContainText(" on ");
    const expectAnswered = async () => {
      await expect(messages.last()).toHaveClass("assistant");
      await expect(messages.last()).toHaveText(/[A-Za-z]/);
      await expect(stop).toBeDisabled();
    };
    await box.fill(question);
    await box.press("Enter");
    await expectAnswered();
    const first = await messages.nth(1).textContent();
    // It takes some seconds to tell one: it is stopped before its first word.
    await box.fill("Tell me a long story about the sea.");
    const stopped = whenStoppable(page);
    await box.press("Enter");
    await stopped;
    await expect(stop).toBeDisabled();
    if (name !== "ai-sdk") await expect(messages.last()).toHaveText("Stopped.");
    await box.fill("What is the capital of France?");
    await box.press("Enter");
    await expect(page.locator(".user")).toHaveCount(3);
    await expectAnswered();
    expect(await messages.nth(1).textContent()).toBe(first);
    await expect(page.getByRole("alert").filter({ hasText: /./ })).toHaveCount(0);
    await page.setViewportSize({ width: 320, height: 640 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth), "no wider than a phone").toBeLessThanOrEqual(320);
  });
}

test("tools: called as the grammar makes the model do it, answered, stopped; by keyboard", async ({ page }) => {
  const folder = packed!.buildExample(new URL("../../examples/tools", import.meta.url));
  const listening = await serveApp(join(folder, "dist"));
  server = listening.server;
  await page.goto(listening.address);
  await expect(page.getByRole("heading")).toHaveText("Tools on Peregrine");
  const [box, send, stop] = [page.getByLabel("Question"), page.getByRole("button", { name: "Send" }), page.getByRole("button", { name: "Stop" })];
  await expect(send).toBeEnabled({ timeout: 120_000 });
  // What the embedded model writes is nothing to go by; but it is a call of that tool, and the loop
  // comes to an end.
  await page.getByLabel("Tools:").selectOption("calculator");
  await box.fill("What is 17 times 3?");
  await box.press("Enter");
  await expect(stop).toBeEnabled();
  await expect(stop).toBeDisabled({ timeout: 200_000 });
  await expect(page.getByRole("alert").filter({ hasText: /./ })).toHaveCount(0);
  await expect(page.locator("#messages > *").nth(1)).toHaveText(/^calculator\(\{.*"expression".*\}\)\n./s);
  await expect(page.locator("#messages > *").nth(1)).toHaveClass("call");
  await expect(page.locator("#messages > *").last()).toHaveClass("assistant");
  await page.getByLabel("Tools:").selectOption("auto");
  await box.fill("Tell me a long story about the sea.");
  const stopped = whenStoppable(page);
  await box.press("Enter");
  await stopped;
  await expect(stop).toBeDisabled();
  await expect(page.locator("#messages > *").last()).toHaveText("Stopped.");
  await page.getByText("Notes", { exact: true }).click();
  await page.getByLabel("Notes").fill("One note.");
  await page.reload();
  await expect(page.getByLabel("Notes")).toHaveValue("One note.");
  await page.setViewportSize({ width: 320, height: 640 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth), "no wider than a phone").toBeLessThanOrEqual(320);
});
