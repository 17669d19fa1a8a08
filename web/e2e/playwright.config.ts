import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { defineConfig } from "@playwright/test";

const browser = execFileSync("sh", [fileURLToPath(new URL("../scripts/browser.sh", import.meta.url))], { encoding: "utf8" }).trim();
if (!browser) throw new Error("there is no Chromium: sh web/scripts/system.sh browser installs it; CHROMIUM=/path says where it is");

/**
 * Features of Chromium that are off: those that Playwright turns off itself, since a second flag
 * takes the place of its own (browser.spec.ts sees that none is forgotten); and the address bar's
 * boxes of suggestions, which have a process of their own for every page: a fifth of what opening a
 * page and loading the model costs.
 */
const WITHOUT = [
  "AvoidUnnecessaryBeforeUnloadCheckSync",
  "DestroyProfileOnBrowserClose",
  "HttpsUpgrades",
  "HttpsFirstBalancedModeAutoEnable",
  "LensOverlay",
  "MediaRouter",
  "PaintHolding",
  "ThirdPartyStoragePartitioning",
  "AvoidCorsURLLoaderRestartOnRedirect",
  "TcpPortRandomizationWin",
  "OptimizationHints",
  "NetworkTimeServiceQuerying",
  "AimEnabled",
  "PreconnectToSearch",
  "WebUIOmniboxPopup",
  "WebUIOmniboxAimPopup",
];

/** What headless Chromium needs for WebGPU without a GPU, and to leave the network alone. */
export const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  `--disable-features=${WITHOUT.join(",")}`,
];
export const SOFTWARE_WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

export default defineConfig({
  testDir: "tests",
  // Beside each other; each test has servers, a profile and folders of its own. One more than the
  // cores that this needs: a test waits for nearly half of its time.
  workers: 3,
  projects: [
    // Software WebGPU takes all the cores there are, and is slow; slower still on a busy machine.
    // No test shows how fast something is by it. What computes on it has the tag, whatever file it
    // is in: its files are in both projects.
    { name: "gpu", grep: /@gpu/, workers: 1 },
    { name: "processor", grepInvert: /@gpu/ },
  ],
  timeout: 600_000,
  expect: { timeout: 60_000 },
  forbidOnly: true,
  reporter: "list",
  use: {
    browserName: "chromium",
    viewport: { width: 1100, height: 800 },
    // The page's own copies all of the page, and the model, for visits without a network: a fifth
    // of what a test costs. Specs about such visits, and chat.spec.ts, have it.
    serviceWorkers: "block",
    actionTimeout: 120_000,
    launchOptions: { executablePath: browser, args: [...FLAGS, ...SOFTWARE_WEBGPU] },
  },
});
