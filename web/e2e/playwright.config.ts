import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { defineConfig } from "@playwright/test";

const browser = execFileSync("sh", [fileURLToPath(new URL("../scripts/browser.sh", import.meta.url))], { encoding: "utf8" }).trim();
if (!browser) throw new Error("there is no Chromium: sh web/scripts/system.sh browser installs it; CHROMIUM=/path says where it is");

/** What headless Chromium needs for WebGPU without a GPU, and to leave the network alone. */
export const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
export const SOFTWARE_WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** Specs that compute on a GPU, most of their time. */
const GPU = /(behind|engine|failures|fidelity|folders|goldens|lora|node|package|pipelines|places|selfcheck|state)\.spec\.ts$/;

export default defineConfig({
  testDir: "tests",
  // Files beside each other; each test has servers, a profile and folders of its own.
  workers: 2,
  projects: [
    // Software WebGPU takes all the cores there are, and is slow; slower still on a busy machine.
    // No test shows how fast something is by it.
    { name: "gpu", testMatch: GPU, workers: 1 },
    { name: "processor", testIgnore: GPU },
  ],
  timeout: 600_000,
  expect: { timeout: 60_000 },
  forbidOnly: true,
  reporter: "list",
  use: {
    browserName: "chromium",
    viewport: { width: 1100, height: 800 },
    actionTimeout: 120_000,
    launchOptions: { executablePath: browser, args: [...FLAGS, ...SOFTWARE_WEBGPU] },
  },
});
