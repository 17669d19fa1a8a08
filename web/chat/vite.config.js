import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    // Everything is a file of its own origin: data: addresses would need a weaker Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1000,
  },
  worker: { format: "es" },
  assetsInclude: ["**/*.gguf"],
  server: { fs: { allow: [fileURLToPath(new URL("../..", import.meta.url))] } },
});
