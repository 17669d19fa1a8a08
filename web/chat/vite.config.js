import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build, defineConfig } from "vite";

const DIST = fileURLToPath(new URL("./dist/", import.meta.url));

/** What only a document of its kind needs, or no chat: kept when it is first used. */
const LATER = /\.(?:bcmap|pfb|ttf)$|(?:pdf|mammoth|bcmap|grammar_bg)[^/]*$|[\\/](?:cmaps|standard_fonts|wasm|iccs)[\\/]/i;

/** Builds the service worker, and tells it which files there are, once they are written. */
const serviceWorker = {
  name: "service-worker",
  async closeBundle() {
    const files = readdirSync(DIST, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== "sw.js")
      .map((entry) => `${entry.parentPath}/${entry.name}`.slice(DIST.length).replace(/^\/+/, ""))
      .sort();
    const hash = createHash("sha256");
    for (const file of files) hash.update(file).update(readFileSync(DIST + file));
    const [{ output }] = await build({
      configFile: false,
      logLevel: "warn",
      define: { "process.env.NODE_ENV": '"production"' },
      build: { write: false, target: "es2022", minify: true, lib: { entry: fileURLToPath(new URL("./src/sw.js", import.meta.url)), formats: ["iife"], name: "worker" } },
    });
    const code = output[0].code;
    const now = files.filter((file) => file !== "index.html" && !LATER.test(file)).map((file) => `./${file}`);
    const version = hash.update(code).digest("hex").slice(0, 16);
    writeFileSync(`${DIST}sw.js`, `self.BUILD = ${JSON.stringify({ version, files: now })};\n${code}`);
  },
};

/**
 * Servers besides those of the person's own machine that the page may ask: whoever deploys it names
 * their origins, separated by spaces, in PEREGRINE_SERVERS. Without them the page's policy lets no
 * word leave the machine.
 */
const allowServers = {
  name: "allow-servers",
  transformIndexHtml(html) {
    const origins = (process.env.PEREGRINE_SERVERS ?? "").split(/[\s,]+/).filter(Boolean);
    for (const origin of origins) {
      // Nothing but an origin: anything else could widen the policy.
      if (/^https?:\/\//.test(origin) && URL.canParse(origin) && new URL(origin).origin === origin && /^[a-z0-9.-]+$/i.test(new URL(origin).hostname)) continue;
      throw new Error(`PEREGRINE_SERVERS: expected origins as https://llm.example, separated by spaces, found ${origin}`);
    }
    const allowed = html.replace(/connect-src [^;]*/, (sources) => [sources, ...origins].join(" "));
    if (origins.length > 0 && allowed === html) throw new Error("index.html has no connect-src");
    return allowed;
  },
};

export default defineConfig({
  base: "./",
  // The library's own build for browsers of today; what its package names first is ES5, 4 KB larger
  // on the wire.
  resolve: { alias: { dexie: "dexie/dist/modern/dexie.mjs" } },
  plugins: [allowServers, serviceWorker],
  build: {
    target: "es2022",
    // Everything is a file of its own origin: data: addresses would need a weaker
    // Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
  },
  worker: { format: "es" },
  assetsInclude: ["**/*.gguf"],
  server: { fs: { allow: [fileURLToPath(new URL("../..", import.meta.url))] } },
});
