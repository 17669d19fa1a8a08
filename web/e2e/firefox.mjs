// Firefox, headless, with WebGPU, driven by WebDriver BiDi: Playwright wants a Firefox of its own
// build. Four commands of the protocol are all that is needed, so there is no client library.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import WebSocket from "ws";
import { withLavapipe } from "./vulkan.mjs";

/** On Linux it has no WebGPU unless it is told to. */
const WEBGPU = { "dom.webgpu.enabled": true, "dom.webgpu.workers.enabled": true, "gfx.webgpu.ignore-blocklist": true };

const PREFERENCES = {
  // Nothing is asked of the network.
  "app.update.enabled": false,
  "app.normandy.enabled": false,
  "browser.safebrowsing.update.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "data:,",
};

/** Where Firefox is. FIREFOX=/path overrides. */
function firefox() {
  if (process.env.FIREFOX) return process.env.FIREFOX;
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/Applications/Firefox.app/Contents/MacOS"];
  const found = ["firefox-esr", "firefox"].flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path));
  if (!found) throw new Error("there is no Firefox: sh web/scripts/system.sh firefox installs it; FIREFOX=/path says where it is");
  return found;
}

/**
 * Opens the page and gives what the expression comes to there, a promise's value, as JSON. `log`
 * hears the page's console; `isPlain`: as people have it.
 */
export async function inFirefox(address, expression, log = () => {}, isPlain = false) {
  const profile = await mkdtemp(join(tmpdir(), "peregrine-firefox-"));
  const lines = Object.entries({ ...PREFERENCES, ...(isPlain ? {} : WEBGPU) }).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`);
  await writeFile(join(profile, "user.js"), lines.join(""));
  const browser = spawn(firefox(), ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"], {
    env: { ...withLavapipe(), MOZ_HEADLESS: "1" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const ended = new Promise((resolve) => browser.once("close", resolve));
  try {
    const bidi = await connect(browser);
    try {
      await bidi.send("session.new", { capabilities: {} });
      await bidi.send("session.subscribe", { events: ["log.entryAdded"] });
      bidi.onEvent = ({ method, params }) => method === "log.entryAdded" && log(params.text);
      const { contexts } = await bidi.send("browsingContext.getTree", {});
      const { context } = contexts[0];
      await bidi.send("browsingContext.navigate", { context, url: address, wait: "complete" });
      const evaluated = await bidi.send("script.evaluate", {
        expression: `Promise.resolve(${expression}).then((value) => JSON.stringify(value))`,
        target: { context },
        awaitPromise: true,
      });
      if (evaluated.type !== "success") throw new Error(`in Firefox: ${evaluated.exceptionDetails.text}`);
      return JSON.parse(evaluated.result.value);
    } finally {
      bidi.close();
    }
  } finally {
    browser.kill();
    await ended;
    await rm(profile, { recursive: true, force: true });
  }
}

/** A connection to the browser, as soon as it says where. */
async function connect(browser) {
  let said = "";
  const address = await new Promise((resolve, reject) => {
    browser.once("error", reject);
    browser.once("close", (code) => reject(new Error(`Firefox ended with ${code}: ${said}`)));
    browser.stderr.setEncoding("utf8").on("data", (text) => {
      said += text;
      const [, found] = /WebDriver BiDi listening on (ws:\S+)/.exec(said) ?? [];
      if (found) resolve(`${found}/session`);
    });
  });
  const socket = new WebSocket(address);
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  const waiting = new Map();
  const bidi = {
    onEvent: (_event) => {},
    send(method, params) {
      const id = waiting.size + 1;
      const answer = new Promise((resolve, reject) => waiting.set(id, { method, resolve, reject }));
      socket.send(JSON.stringify({ id, method, params }));
      return answer;
    },
    close: () => socket.close(),
  };
  socket.on("message", (data) => {
    const message = JSON.parse(data.toString());
    if (message.type === "event") return bidi.onEvent(message);
    const { method, resolve, reject } = waiting.get(message.id) ?? {};
    if (message.type === "success") resolve?.(message.result);
    else reject?.(new Error(`Firefox, ${method}: ${message.error}: ${message.message}`));
  });
  socket.once("close", () => waiting.forEach(({ reject }) => reject(new Error("Firefox is gone"))));
  return bidi;
}
