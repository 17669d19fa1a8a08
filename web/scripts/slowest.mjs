// Prints the ten slowest tests of logs of cargo, node and Playwright: slowest.mjs LOG...
import { readFileSync } from "node:fs";

const patterns = [
  /^test (?<name>.+) \.\.\. ok <(?<time>[\d.]+)(?<unit>s)>$/,
  /^\s*[✓✔]\s+(?:\d+ )?(?<name>.+?) \((?<time>[\d.]+)(?<unit>ms|s|m)\)$/,
];
const seconds = { ms: 0.001, s: 1, m: 60 };

const tests = [];
for (const log of process.argv.slice(2)) {
  for (const line of readFileSync(log, "utf8").replace(/\x1b\[[0-9;]*m/g, "").split("\n")) {
    const found = patterns.map((pattern) => pattern.exec(line)?.groups).find(Boolean);
    if (found) tests.push({ name: found.name.trim(), seconds: Number(found.time) * seconds[found.unit] });
  }
}
tests.sort((a, b) => b.seconds - a.seconds);
for (const test of tests.slice(0, 10)) console.log(`${test.seconds.toFixed(1).padStart(7)} s  ${test.name}`);
