import { defineConfig } from "vite";

export default defineConfig({
  // For the development server, which would move the package's files away from the worker and the wasm module beside them.
  optimizeDeps: { exclude: ["peregrine"] },
});
