/** The package as it is published, in fresh apps: packed, installed from the tarball, built by each app's own bundler. */

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import { listen, serveFolder } from "../../chat/serve.mjs";
import { expect, golden, MODEL_FILE, sendBytes, test } from "../support.js";

const APPS = fileURLToPath(new URL("../apps", import.meta.url));
const PACKAGE = fileURLToPath(new URL("../../package", import.meta.url));

/** Outside the repository, so that no app finds its packages. */
let temporary: string;
let tarball: string;
let server: Server | undefined;

/** Runs a command quietly; its output is in the error, should it fail. */
function run(cwd: string, command: string, ...args: string[]): void {
  // npm hands its own settings to what it starts: without them the apps' npm is one that a person starts.
  const settings = Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name));
  const env = { ...Object.fromEntries(settings), NEXT_TELEMETRY_DISABLED: "1", CI: "1", NO_COLOR: "1", FORCE_COLOR: undefined };
  try {
    execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 200_000 });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command} ${args.join(" ")}\n${stdout}\n${stderr}`, { cause: error });
  }
}

test.beforeAll(() => {
  temporary = mkdtempSync(join(tmpdir(), "peregrine-apps-"));
  run(PACKAGE, "npm", "pack", "--pack-destination", temporary);
  tarball = join(temporary, readdirSync(temporary)[0]!);
});

test.afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
});

test.afterAll(() => {
  if (temporary) rmSync(temporary, { recursive: true, force: true });
});

/** A fresh copy of an app. */
function copy(name: string): string {
  const folder = join(temporary, name);
  // What a person who tries the app in place leaves there stays there.
  cpSync(join(APPS, name), folder, { recursive: true, filter: (path) => !/[\\/](node_modules|\.next)$/.test(path) });
  return folder;
}

/** Installs and builds an app. */
function build(name: string): string {
  const folder = copy(name);
  const quiet = ["--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
  run(folder, "npm", "ci", ...quiet);
  run(folder, "npm", "install", "--no-save", "--no-package-lock", ...quiet, tarball);
  run(folder, "npm", "run", "build");
  return folder;
}

async function serve(folder: string): Promise<string> {
  const files = serveFolder(folder);
  const model = readFileSync(MODEL_FILE);
  const listening = await listen((request: IncomingMessage, response: ServerResponse) => {
    if (request.url === "/model.gguf") return sendBytes(request, response, "application/octet-stream", model);
    return files(request, response);
  }, 0);
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
  const folder = copy("plain");
  mkdirSync(join(folder, "peregrine"));
  run(folder, "tar", "-xzf", tarball, "-C", "peregrine", "--strip-components=1");
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
