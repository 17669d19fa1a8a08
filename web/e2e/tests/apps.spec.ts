/** The package as it is published, in fresh apps. */

import { mkdirSync } from "node:fs";
import type { Server } from "node:http";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { Packed, run, serveApp } from "../packed.js";
import { expect, golden, test } from "../support.js";

const app = (name: string) => new URL(`../apps/${name}`, import.meta.url);

let packed: Packed | undefined;
let server: Server | undefined;

const build = (name: string) => packed!.build(app(name));

test.beforeAll(() => {
  packed = new Packed();
});

test.afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
});

test.afterAll(() => packed?.remove());

async function serve(folder: string): Promise<string> {
  const listening = await serveApp(folder);
  server = listening.server;
  return listening.address;
}

async function expectAnswer(page: Page, address: string): Promise<void> {
  await page.goto(address);
  await expect(page.locator("#answer:not(:empty), #error:not(:empty)")).toBeVisible({ timeout: 120_000 });
  expect(await page.locator("#error").textContent()).toBe("");
  expect(await page.locator("#answer").textContent()).toBe(golden("capital").answer);
}

test("no bundler", async ({ page }) => {
  const folder = packed!.copy(app("plain"));
  mkdirSync(join(folder, "peregrine"));
  run(folder, "tar", "-xzf", packed!.tarball, "-C", "peregrine", "--strip-components=1");
  await expectAnswer(page, await serve(folder));
});

test("Vite", async ({ page }) => {
  await expectAnswer(page, await serve(join(build("vite"), "dist")));
});

test("webpack", async ({ page }) => {
  await expectAnswer(page, await serve(join(build("webpack"), "public")));
});

test("esbuild, with the files where the package looks for them, and with their addresses named", async ({ page }) => {
  const address = await serve(join(build("esbuild"), "public"));
  await expectAnswer(page, address);
  await expectAnswer(page, `${address}named.html`);
});

test("Next, with the embedded model too", async ({ page }) => {
  const address = await serve(join(build("next"), "out"));
  await expectAnswer(page, address);
  // Its bundler has a way of its own with the addresses of files.
  await expectAnswer(page, `${address}?model=embedded`);
});
