// Compares the speed of the working tree with that of another commit: native, the embedded model
// (or --model FILE), both programs in turns on the same machine. Ratios only: machines differ, and
// so does one machine from minute to minute.
// Usage: node compare.mjs COMMIT [--model FILE] [--rounds N] [--device gpu|cpu] Fails where the
// tree is slower by more than a tenth.

import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("../..", import.meta.url)));
const option = (name, fallback) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : fallback);
const [, , base] = process.argv;
if (!base) {
  console.error("which commit? make bench-compare BASE=COMMIT");
  process.exit(2);
}
const model = option("--model", "models/tiny/peregrine-tiny-chat-Q4_0.gguf");
const device = option("--device", "gpu");
const rounds = Number(option("--rounds", "5"));
const run = (command, args, options = {}) => execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], ...options });

const commit = run("git", ["rev-parse", "--verify", `${base}^{commit}`]).trim();
const folder = `target/compare/${commit}`;
const other = `${folder}/peregrine`;
if (!existsSync(other)) {
  const tree = `${folder}/tree`;
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  // A checkout of its own, but a common folder for what is built, so that only the first comparison
  // builds everything.
  run("git", ["worktree", "add", "--force", "--detach", tree, commit]);
  const built = fileURLToPath(new URL("../../target/compare/build", import.meta.url));
  run("cargo", ["build", "--release", "-p", "peregrine-cli"], { cwd: tree, env: { ...process.env, CARGO_TARGET_DIR: built } });
  copyFileSync(`${built}/release/peregrine`, other);
  run("git", ["worktree", "remove", "--force", tree]);
}
const programs = { base: other, tree: "target/release/peregrine" };
// The same device for both, whatever each takes by itself.
const chosen = Object.fromEntries(
  Object.entries(programs).map(([which, program]) => [which, run(program, ["bench", "--help"]).includes("--device") ? ["--device", device] : []]),
);
const measures = ["prefill_tokens_per_second", "decode_tokens_per_second"];
const found = { base: [], tree: [] };
for (let round = 0; round < rounds; round++) {
  // In turns, and each of them first as often as the other.
  for (const which of round % 2 ? ["tree", "base"] : ["base", "tree"]) {
    const report = run(programs[which], ["bench", model, "--prompt-tokens", "64", "--gen-tokens", "32", "--repeat", "1", "--json", ...chosen[which]]);
    found[which].push(JSON.parse(report));
  }
}
const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
let slower = false;
console.log(`${found.tree[0].adapter}; this tree against ${commit.slice(0, 10)}, medians of ${rounds} rounds`);
for (const measure of measures) {
  const [before, now] = ["base", "tree"].map((which) => median(found[which].map((report) => report[measure])));
  // The rounds are pairs: their ratios say how far to trust the number.
  const ratios = found.tree.map((report, i) => report[measure] / found.base[i][measure]).sort((a, b) => a - b);
  const ratio = median(ratios);
  slower ||= ratio < 0.9;
  const range = `${ratios[0].toFixed(2)} to ${ratios.at(-1).toFixed(2)}`;
  console.log(`${measure.replaceAll("_", " ").padEnd(26)} ${before.toFixed(1)} -> ${now.toFixed(1)}   ratio ${ratio.toFixed(2)} (${range})${ratio < 0.9 ? "   SLOWER" : ""}`);
}
process.exit(slower ? 1 : 0);
