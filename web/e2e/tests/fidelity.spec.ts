/**
 * Logits in Chromium against the CPU in f64: the table of docs/fidelity.md, for GGUF.
 * `FIDELITY=all` takes every format.
 */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type * as Peregrine from "peregrine";
import { expect, sendBytes, test } from "../support.js";

const program = fileURLToPath(new URL("../../../target/release/peregrine", import.meta.url));
const ALL = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K", "Q2_K"];
const isAll = process.env["FIDELITY"] === "all";
const formats = isAll ? ALL : ["Q6_K"];
const PROMPT = 64, LAST = 16, DECODE = 16;

/**
 * The largest difference as a share of the standard deviation that is rounding, by how keys and
 * values are kept: as in the crate.
 */
const TOLERANCE = { f32: 1e-3, f16: 1e-2, q8: 1e-1 };
type KvType = keyof typeof TOLERANCE;
type Shapes = "software" | "hardware";
/**
 * What rounding keys and values loses does not depend on the weights' format: once is enough. All
 * ways of keeping them, other formats and the shapes of GPUs have goldens in Node, on the same
 * compiler: here with every format only.
 */
const variants = (format: string): [KvType, Shapes][] => {
  if (!isAll) return [["f16", "software"]];
  if (format !== formats[0]) return [["f32", "software"]];
  const kinds: KvType[] = ["f32", "f16", "q8"];
  return [...kinds.map((kv): [KvType, Shapes] => [kv, "software"]), ["q8", "hardware"]];
};

interface Difference {
  largest: number;
  mean: number;
  kl: number;
  sameArgmax: number;
  rows: number;
  deviation: number;
}

function compare(found: number[], exact: Float64Array, width: number): Difference {
  const sum: Difference = { largest: 0, mean: 0, kl: 0, sameArgmax: 0, rows: exact.length / width, deviation: 0 };
  expect(found.length).toBe(exact.length);
  for (let row = 0; row < exact.length; row += width) {
    const [f, e] = [found.slice(row, row + width), Array.from(exact.subarray(row, row + width))];
    const logSoftmax = (values: number[]) => {
      const most = Math.max(...values);
      const total = Math.log(values.reduce((total, v) => total + Math.exp(v - most), 0));
      return values.map((v) => v - most - total);
    };
    const differences = f.map((v, i) => (Number.isFinite(v) ? Math.abs(v - e[i]!) : Infinity));
    const [lf, le] = [logSoftmax(f), logSoftmax(e)];
    const center = e.reduce((a, b) => a + b) / width;
    sum.largest = Math.max(sum.largest, ...differences);
    sum.mean += differences.reduce((a, b) => a + b) / width / sum.rows;
    sum.kl += Math.max(0, le.reduce((kl, v, i) => kl + Math.exp(v) * (v - lf[i]!), 0)) / sum.rows;
    sum.sameArgmax += Number(f.indexOf(Math.max(...f)) === e.indexOf(Math.max(...e)));
    sum.deviation += Math.sqrt(e.reduce((s, v) => s + (v - center) ** 2, 0) / width) / sum.rows;
  }
  return sum;
}

const isExact = ({ largest, deviation }: Difference, kv: KvType = "f32") => deviation > 0 && largest <= TOLERANCE[kv] * deviation;

test("the comparison can fail", () => {
  const exact = Float64Array.from([0, 1, 2, 4]);
  expect(isExact(compare([0, 1, 2, 4], exact, 4))).toBe(true);
  expect(isExact(compare([0, 1.01, 2, 4], exact, 4))).toBe(false);
  expect(isExact(compare([0, 1.01, 2, 4], exact, 4), "f16")).toBe(true);
  expect(isExact(compare([0, NaN, 2, 4], exact, 4), "q8")).toBe(false);
  expect(compare([4, 1, 2, 0], exact, 4)).toMatchObject({ largest: 4, mean: 2, sameArgmax: 0 });
});

for (const format of formats) {
  test(`logits with all matrices in ${format}`, { tag: "@gpu" }, async ({ page, site }) => {
    const folder = mkdtempSync(join(tmpdir(), "fidelity-"));
    try {
      const [model, out] = [join(folder, "model.gguf"), join(folder, "exact.f64")];
      execFileSync(program, ["synth", "--size", "toy", "--pure", "--type", format, "--seed", "1", "-o", model]);
      const tokens = ["--prompt-tokens", `${PROMPT}`, "--last", `${LAST}`, "--decode-tokens", `${DECODE}`];
      execFileSync(program, ["fidelity", model, "--exact", out, ...tokens]);
      const file = readFileSync(model);
      const exact = new Float64Array(new Uint8Array(readFileSync(out)).buffer);
      const vocab = exact.length / (LAST + DECODE);
      const ids = Array.from({ length: PROMPT + DECODE }, (_, i) => Number((BigInt(i + 1) * 2_654_435_761n) % BigInt(vocab)));
      await page.goto(await site.bare((request, response) => request.url === "/toy.gguf" && sendBytes(request, response, "model/gguf", file)));
      const found = await page.evaluate(
        async ({ ids, prompt, last, variants }) => {
          const url = "/package/dist/index.js";
          const peregrine: typeof Peregrine = await import(url);
          const found = [];
          for (const [kvType, shapes] of variants) {
            const engine = await peregrine.createEngine({ model: "/toy.gguf", cache: false, kvType, gpu: { shapes } });
            const prefill = await engine.logits(ids.slice(0, prompt), { last });
            const decode = await engine.logits(ids, { last: ids.length - prompt, oneByOne: ids.length - prompt });
            await engine.dispose();
            found.push({ kvType, shapes, prefill: Array.from(prefill), decode: Array.from(decode) });
          }
          return found;
        },
        { ids, prompt: PROMPT, last: LAST, variants: variants(format) },
      );
      for (const { kvType, shapes, prefill, decode } of found) {
        for (const [step, logits, part] of [
          ["prefill", prefill, exact.subarray(0, LAST * vocab)],
          ["decode", decode, exact.subarray(LAST * vocab)],
        ] as const) {
          const d = compare(logits, part, vocab);
          const [largest, mean, kl] = [d.largest, d.mean, d.kl].map((n) => n.toExponential(1));
          console.log(`| GGUF, all ${format} | ${kvType} | ${step}${shapes === "hardware" ? ", shapes of GPUs" : ""} | ${largest} | ${mean} | ${kl} | ${d.sameArgmax} of ${d.rows} | ${d.deviation.toFixed(2)} |`);
          expect(isExact(d, kvType), `${kvType}, ${shapes} shapes, ${step}: ${JSON.stringify(d)}`).toBe(true);
          expect(d.deviation).toBeGreaterThan(1.7);
        }
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}
