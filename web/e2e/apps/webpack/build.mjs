import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import webpack from "webpack";

// Not through webpack-cli: its version 7 wants a newer Node than this repository does.
const stats = await promisify(webpack)({
  mode: "production",
  entry: "./src/main.js",
  output: { path: fileURLToPath(new URL("public", import.meta.url)) },
});
console.log(stats.toString());
if (stats.hasErrors()) process.exitCode = 1;
