// Reads models in every way and compares with what is expected, in whatever has WebGPU: Node, Deno,
// a page. `world` says where that is:
//   createEngine   the package's
//   options        for createEngine, beside the model and the mode
//   read(path)     bytes of a file of the repository, as an ArrayBuffer
//   log(line)      hears how far it is
//   lanes          models that are read at a time; 1 unless said otherwise

import { EXACT, MODES, nameOf, PROCESSOR, ROUNDED } from "./plan.mjs";
import { npy, safetensors, savedState } from "./tensors.mjs";

/** The largest difference; infinite where a value is none or one is missing. */
export function farthest(found, expected) {
  if (found.length !== expected.length || expected.length === 0) return Infinity;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(found[i] - expected[i]);
    if (!(difference <= worst)) worst = Number.isFinite(difference) ? difference : Infinity;
  }
  return worst;
}

const argmax = (row) => row.reduce((best, value, i) => (value > row[best] ? i : best), 0);

/** What a golden says: tests/golden/README.md. */
async function golden(world, name) {
  const { metadata, tensors } = safetensors(await world.read(`tests/golden/${name}.safetensors`));
  const rounding = JSON.parse(new TextDecoder().decode(await world.read("tests/golden/rounding.json")));
  const { ids, logits, greedy, ...states } = tensors;
  return {
    name,
    model: await world.read(`tests/golden/${name}.gguf`),
    ids: [...ids],
    logits,
    greedy: [...greedy],
    config: JSON.parse(metadata.config),
    states: Object.fromEntries(Object.entries(states).filter(([tensor]) => /^(k|v|conv_state|ssm_state|ssm_rows)\.\d+$/.test(tensor))),
    tolerance: (kv) => (kv === "f32" ? EXACT : ROUNDED * rounding[name][kv]),
  };
}

/**
 * A model of which the native program has computed the logits of the last tokens, with keys and
 * values in f32.
 */
async function native(world, { name, model, ids, logits, steps, isSampled }) {
  return { name, model: await world.read(model), ids, steps, isSampled, logits: npy(await world.read(logits)), tolerance: () => EXACT };
}

/** Ways to choose tokens at random. */
const SAMPLED = [
  { temperature: 1, top_p: 1, seed: 1 },
  { temperature: 1.2, top_p: 0.9, seed: 2 },
  { temperature: 1.5, top_k: 30, top_p: 0.95, min_p: 0.02, seed: 3 },
];

/**
 * 0 where the tokens that the device samples are those that the host does, which gets all logits
 * where log-probabilities are asked for; infinite where one is another, or where it is the same one
 * in every way.
 */
async function sampled(engine) {
  const messages = [{ role: "user", content: "Tell me a short story about a fox." }];
  const answers = [];
  for (const params of SAMPLED) {
    const request = { messages, max_tokens: 5, ignore_eos: true, return_token_ids: true, ...params };
    const [device, host] = [await engine.chat.completions.create(request), await engine.chat.completions.create({ ...request, logprobs: true })];
    const [found, expected] = [device, host].map(({ choices }) => choices[0].token_ids.join());
    if (found !== expected) return Infinity;
    answers.push(found);
  }
  return new Set(answers).size > 1 ? 0 : Infinity;
}

/** How far the states are from those expected, after the prompt was read. */
async function states(engine, expected) {
  await engine.prefill(expected.ids);
  const { ids, position, tensors } = savedState(await (await engine.saveState()).arrayBuffer(), expected.config);
  if (position !== expected.ids.length || ids.some((id, i) => id !== expected.ids[i])) return Infinity;
  const differences = Object.entries(expected.states).map(([name, values]) => {
    if (!name.startsWith("ssm_rows")) return farthest(tensors[name], values);
    // Every 16th row only.
    const n = expected.config.mamba_d_state;
    return farthest(tensors[name.replace("ssm_rows", "ssm_state")].filter((_, i) => Math.floor(i / n) % 16 === 0), values);
  });
  return Math.max(...differences);
}

/** Tokens of a piece that is no power of two. */
const CHUNK = 7;

/** One model in one mode, read in every way: how far each is from what is expected. */
async function compare(world, expected, mode, check) {
  const { device: kind, shapes, reduction, kv } = mode;
  const device = kind === "cpu" ? { device: kind } : { gpu: { shapes, reduction } };
  const engine = await world.createEngine({
    ...world.options, model: expected.model, cache: false, kvType: kv, ...device, ...(expected.config ? {} : { contextLength: 512 }),
  });
  try {
    const { device, model } = engine.info;
    const [asked, driven] = [nameOf(mode), nameOf({ device: device.kind, shapes: device.shapes, reduction: device.reduction, kv })];
    if (driven !== asked) throw new Error(`asked for ${asked}; the engine uses ${driven}`);
    const { ids, logits } = expected;
    const vocab = model.vocabSize;
    const last = logits.length / vocab;
    const end = logits.subarray(-Math.min(last, 8) * vocab);
    const differences = {};
    const logitsOf = async (name, options, values) => {
      const found = await engine.logits(ids, options);
      differences[name] = farthest(found, values);
      for (let at = 0; kv === "f32" && at < values.length; at += vocab) {
        if (argmax(found.subarray(at, at + vocab)) !== argmax(values.subarray(at, at + vocab))) differences.argmax = Infinity;
      }
    };
    // As many rows of logits as one step makes: with more of them the prompt would be read in
    // smaller pieces.
    await logitsOf("whole", { last: end.length / vocab }, end);
    if (ids.length > CHUNK) await logitsOf("chunks", { last, chunk: CHUNK }, logits);
    const steps = expected.steps ?? last;
    await logitsOf("steps", { last: steps, oneByOne: steps }, logits.subarray(-steps * vocab));
    /** Between the layers: every dispatch and every state beside the CPU twin. */
    const checked = async (options) => {
      const report = await engine.check(options);
      if (report.first) throw new Error(`check: ${report.first}`);
      differences.check = report.ok && report.comparisons > 0 ? 0 : Infinity;
    };
    if (expected.isSampled) {
      differences.sampled = await sampled(engine);
      await checked({ tokens: 10 });
    }
    if (expected.states && kv === "f32") {
      differences.states = await states(engine, expected);
      const { choices } = await engine.completions.create({ prompt: ids, max_tokens: 16, temperature: 0, ignore_eos: true, return_token_ids: true });
      if (check) await checked();
      differences.greedy = JSON.stringify(choices[0].token_ids) === JSON.stringify(expected.greedy) ? 0 : Infinity;
    }
    return { differences, device };
  } finally {
    await engine.dispose();
  }
}

/**
 * All of the plan: [{ golden or native, mode, check }]; so many at a time as the world has `lanes`,
 * the rows in the plan's order.
 */
export async function run(world, plan) {
  const { lanes = 1 } = world;
  const rows = [];
  /** What is expected of the models that were read last. */
  const opened = new Map();
  const expectedOf = (key, open) => {
    const expected = opened.get(key) ?? open();
    opened.delete(key);
    opened.set(key, expected);
    if (opened.size > lanes) opened.delete(opened.keys().next().value);
    return expected;
  };
  const steps = plan.entries();
  const lane = async () => {
    for (const [i, { golden: name, native: made, mode, check = true }] of steps) {
      const key = name ?? made.name;
      const expected = await expectedOf(key, () => (name ? golden(world, name) : native(world, made)));
      const tolerance = expected.tolerance(mode.kv);
      const row = { name: key, mode: nameOf(mode), tolerance, differences: {}, worst: Infinity };
      const begin = performance.now();
      try {
        const { differences, device } = await compare(world, expected, mode, check);
        Object.assign(row, { differences, device: device.name, worst: Math.max(...Object.values(differences)) });
      } catch (error) {
        row.error = `${error.code ?? error.name}: ${error.message}`;
      }
      row.seconds = (performance.now() - begin) / 1e3;
      row.right = row.worst <= tolerance;
      rows[i] = row;
      world.log?.(told(row));
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return rows;
}

const number = (value) => (Number.isFinite(value) ? (value === 0 ? "0" : value.toExponential(1)) : "wrong");

/** One result in words. */
export function told(row) {
  const each = Object.entries(row.differences).map(([name, value]) => `${name} ${number(value)}`);
  const what = row.error ?? each.join(", ");
  return `${row.right ? "right" : "WRONG"} ${row.name} (${row.mode}): ${what}; tolerance ${number(row.tolerance)}; ${row.seconds.toFixed(1)} s`;
}

/**
 * Models by modes: the largest difference of each, as a table in Markdown. A wrong one has a mark;
 * "-" was not read.
 */
export function table(rows) {
  const names = [...new Set(rows.map((row) => row.name))];
  const modes = [...PROCESSOR, ...MODES].map(nameOf).filter((mode) => rows.some((row) => row.mode === mode));
  const cell = (mode, name) => {
    const row = rows.find((row) => row.name === name && row.mode === mode);
    if (!row) return "-";
    return (row.error ? "error" : number(row.worst)) + (row.right ? "" : " **wrong**");
  };
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(["", ...names]), line(["---", ...names.map(() => "---")]), ...modes.map((mode) => line([mode, ...names.map((name) => cell(mode, name))]))].join("\n");
}

/**
 * What is said at the end: the table, then one line. Throws where a value is not right, or nothing
 * was compared.
 */
export function verdict(rows) {
  const wrong = rows.filter((row) => !row.right);
  const text = `${table(rows)}\n${rows.length - wrong.length} of ${rows.length} right on ${rows[0]?.device ?? "no device"}`;
  if (rows.length === 0 || wrong.length > 0) throw new Error(`${text}\n${wrong.map(told).join("\n")}`);
  return text;
}
