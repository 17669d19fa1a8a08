// Models with random weights, made and read by the native program: layers of the official shapes,
// and shapes that nobody would publish.

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PROGRAM = `${ROOT}target/release/peregrine`;
/** Relative to the repository, as everything that the harness reads. */
const FOLDER = "target/e2e-models";
/** Rows of logits that are compared, where there are as many tokens: one step makes so many. */
const LAST = 8;

/**
 * One layer of each official shape. Their vocabularies are cut: the head's rows are as long as they
 * are, but fewer. The largest read a few tokens only: software takes seconds for a step.
 */
export const OFFICIAL = [
  { size: "tiny-90m", type: "Q8_0" },
  { size: "0.5b", type: "Q4_K_M" },
  { size: "1.5b", type: "Q4_0" },
  { size: "1.5b-deep", type: "Q4_K_M" },
  { size: "3b", type: "Q4_0" },
  { size: "7b", type: "Q4_0", tokens: 4, steps: 3 },
  { size: "34b", type: "Q4_0", tokens: 4, steps: 3 },
].map(({ size, type, tokens = 10, steps = 2 }) => ({ name: size, size, type, layers: 1, set: { vocab_size: 1031 }, tokens, steps }));

/** Numbers that follow from the seed: Mulberry32. */
function noise(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A small odd shape: parts that end anywhere in a tile, every kind of head, one group or two. */
export function odd(seed) {
  const next = noise(seed);
  const from = (values) => values[Math.floor(next() * values.length)];
  const groups = from([1, 1, 2]);
  const kv = from([1, 2, 3]);
  const set = {
    vocab_size: 281 + Math.floor(next() * 400),
    hidden_size: 4 * (8 + Math.floor(next() * 60)),
    num_key_value_heads: kv,
    num_attention_heads: kv * from([1, 2, 3, 5]),
    head_dim: from([16, 20, 32, 36, 48, 64, 80, 96, 112, 128, 160]),
    intermediate_size: 4 * (8 + Math.floor(next() * 80)),
    mamba_n_groups: groups,
    mamba_n_heads: groups * from([1, 2, 3, 5]),
    mamba_d_head: from([4, 16, 24, 32, 36, 48, 64, 96, 128]),
    mamba_d_state: from([16, 20, 24, 32, 48, 64, 80, 128, 192, 256]),
    mamba_rms_norm: from([0, 1]),
    tie_word_embeddings: from([0, 0, 1]),
  };
  // Rows that do not end with a block of the type are stored in another one.
  return { name: `odd ${seed}`, size: "toy", type: from(["F16", "BF16", "F32", "Q8_0", "Q4_0", "Q4_K_M"]), layers: 2, set, tokens: 70, steps: LAST, seed };
}

/**
 * An odd shape from which answers are sampled, too: of as many tokens as the embedded model has,
 * which several workgroups look through.
 */
export function sampled(seed) {
  const model = odd(seed);
  return { ...model, name: `sampled ${seed}`, set: { ...model.set, vocab_size: 6144 }, tokens: 20, steps: 3, isSampled: true };
}

/**
 * @typedef {{
 *   name: string, size: string, type: string, layers: number, set: Record<string, number>,
 *   tokens: number, steps: number, seed?: number, isSampled?: boolean,
 * }} Shape
 */

const native = (...args) => promisify(execFile)(PROGRAM, args, { cwd: ROOT });

/**
 * Makes the model, and returns its path without the ending.
 * @param {Shape} shape
 */
export async function synth({ name, size, type, layers, set, seed = 0 }) {
  if (!existsSync(PROGRAM)) throw new Error("target/release/peregrine is missing: cargo build --release -p peregrine-cli");
  await mkdir(ROOT + FOLDER, { recursive: true });
  const stem = `${FOLDER}/${name.replaceAll(/[^\w.]/g, "-")}`;
  const sizes = Object.entries(set).flatMap(([field, value]) => ["--set", `${field}=${value}`]);
  await native("synth", "--size", size, "--type", type, "--layers", `${layers}`, "--seed", `${seed}`, ...sizes, "-o", `${stem}.gguf`);
  return stem;
}

/**
 * Makes the model and what the native program computes of it: what `native` in a plan is.
 * @param {Shape} shape
 */
export async function make(shape) {
  const stem = await synth(shape);
  const { name, set, tokens, steps, isSampled = false } = shape;
  const [model, logits, list] = [`${stem}.gguf`, `${stem}.npy`, `${ROOT}${stem}.txt`];
  const ids = Array.from({ length: tokens }, (_, i) => (i * 37 + 11) % set.vocab_size);
  await writeFile(list, ids.join(" "));
  await native("logits", "--kv", "f32", "--ids", list, "--last", `${Math.min(LAST, tokens)}`, "--out", logits, model);
  return { name, model, ids, logits, steps, isSampled };
}
