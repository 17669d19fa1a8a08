/**
 * Draws anew what is drawn of the page: its icons, or with `--page` the screenshots of the README,
 * of the built page with the embedded model. Needs the browser that tests need.
 */

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chromium } from "@playwright/test";
import { listen, serveFolder } from "../chat/serve.mjs";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const executablePath = execFileSync("sh", [path("browser.sh")], { encoding: "utf8" }).trim();
const browser = await chromium.launch({ executablePath, args: ["--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] });

/**
 * The icon as it is, and for systems that cut their own shape out of it: then its ground fills all,
 * and what matters is in the middle.
 */
async function icons() {
  const svg = readFileSync(path("../chat/public/icon.svg"), "utf8");
  const whole = svg.replace(/ rx="8"/, "").replace(/(<path[^>]*\/>)/, '<g transform="translate(16 16) scale(.72) translate(-16 -16)">$1</g>');
  for (const [name, size, drawing] of [["icon-192", 192, svg], ["icon-512", 512, svg], ["icon-maskable", 512, whole]]) {
    const page = await browser.newPage({ viewport: { width: size, height: size } });
    await page.setContent(`<style>body{margin:0}svg{display:block;width:${size}px;height:${size}px}</style>${drawing}`);
    await page.screenshot({ path: path(`../chat/public/${name}.png`), omitBackground: true });
    await page.close();
  }
}

/** A conversation that shows what the page does. */
const MESSAGES = [
  { role: "user", content: "How does a falcon dive so fast? Show me with a formula." },
  {
    role: "assistant",
    content:
      "A peregrine folds its wings and falls. It is at its **terminal speed** when drag is as large as its weight:\n\n$$v = \\sqrt{\\frac{2 m g}{\\rho\\, C\\, A}}$$\n\n| | gliding | diving |\n|---|---|---|\n| frontal area *A* | 0.08 m² | 0.01 m² |\n| drag *C* | 0.6 | 0.18 |\n| speed | 60 km/h | 320 km/h |\n\n```python\nfrom math import sqrt\n\ndef terminal(m, area, drag, rho=1.2):\n    return sqrt(2 * m * 9.81 / (rho * drag * area))\n```",
  },
];
const CHATS = [
  ["falcon", "How does a falcon dive so fast?", 0, MESSAGES],
  ["trip", "Three days in Lisbon, with children", 1, [{ role: "user", content: "Three days in Lisbon, with children" }]],
  ["letter", "A letter to the landlord", 3, [{ role: "user", content: "A letter to the landlord" }]],
  ["sql", "Why is this query slow?", 12, [{ role: "user", content: "Why is this query slow?" }]],
];

/** A page with these chats, the first of them open. */
async function open(address, { scheme = "light", language = null }) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, colorScheme: scheme, reducedMotion: "reduce", locale: "en-GB" });
  await page.addInitScript((language) => localStorage.setItem("peregrine.settings", JSON.stringify({ language })), language);
  await page.goto(address);
  await page.locator("body.ready").waitFor({ timeout: 240_000 });
  const now = Date.now();
  const chats = CHATS.map(([id, title, days, messages]) => ({ id, title, created: now - days * 864e5, updated: now - days * 864e5, messages }));
  const buffer = Buffer.from(JSON.stringify({ format: "peregrine-chats", version: 1, chats }));
  await page.locator("#chats-file").setInputFiles({ name: "chats.json", mimeType: "application/json", buffer });
  await page.locator("#toast button").last().click();
  await page.evaluate(() => (location.hash = "#/chat/falcon"));
  await page.locator("article math").first().waitFor();
  await page.evaluate(() => document.fonts.ready);
  return page;
}

async function webp(page, file, quality) {
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send("Page.captureScreenshot", { format: "webp", quality });
  writeFileSync(file, Buffer.from(data, "base64"));
}

/** How it looks, and on which widths. */
const LOOKS = { light: {}, dark: { scheme: "dark" }, arabic: { language: "ar" } };
const SIZES = [[1440, 900], [768, 1024], [360, 740]];

if (process.argv.includes("--page")) {
  const { server, address } = await listen(serveFolder(path("../chat/dist")), 0);
  for (const [name, look] of Object.entries(LOOKS)) {
    const page = await open(address, look);
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
      await webp(page, path(`../../docs/page-${name}-${width}.webp`), 70);
    }
    await page.close();
  }
  server.closeAllConnections();
  server.close();
} else await icons();
await browser.close();
