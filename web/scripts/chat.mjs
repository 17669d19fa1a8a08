// Serves the built chat page and says how to use it on this machine. Usage: node chat.mjs
// [--port N]

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { listen, serveFolder } from "../chat/serve.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
process.chdir(root);
const MODEL = "models/tiny/peregrine-tiny-chat-Q4_0.gguf";

/**
 * Whether a real GPU is here, as the runtime sees it; the device files decide where the runtime
 * cannot say.
 */
function hasGpu() {
  try {
    const text = execFileSync("target/release/peregrine", ["info", "--json"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return JSON.parse(text).adapters.some((adapter) => !adapter.software);
  } catch {
    return existsSync("/dev/nvidia0") || (existsSync("/dev/dri") && readdirSync("/dev/dri").some((name) => name.startsWith("renderD")));
  }
}

const browser = () => execFileSync("sh", ["web/scripts/browser.sh"], { encoding: "utf8" }).trim();
/** A word of a shell command. */
const quoted = (text) => (/^[\w./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

const option = process.argv.indexOf("--port");
const gpu = hasGpu();
if (!gpu && browser() === "") {
  try {
    execFileSync("sh", ["web/scripts/system.sh", "browser"], { stdio: "inherit" });
  } catch {
    // The message has said what to install; the page is served all the same.
  }
}
const { server, address } = await listen(serveFolder("web/chat/dist"), option < 0 ? 8317 : Number(process.argv[option + 1]));

const lines = ["", `  Peregrine is at ${address}`, ""];
if (gpu) {
  lines.push("  Open it in a current Chrome, Edge, Firefox or Safari.");
} else {
  // Root has no sandbox.
  const sandbox = process.getuid?.() === 0 ? " --no-sandbox" : "";
  lines.push(
    "  This machine has no GPU that can be used: its processor answers, in any current browser,",
    `     ${quoted(browser() || "chromium")}${sandbox} ${address}`,
    "",
    "  and in the terminal:",
    `     target/release/peregrine chat ${MODEL}`,
  );
}
lines.push("", "  Ctrl-C ends the server.", "");
process.stdout.write(`${lines.join("\n")}\n`);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
    process.exit(0);
  });
}
