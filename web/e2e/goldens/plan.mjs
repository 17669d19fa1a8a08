// What is read in which way, and how far it may be from what is expected.

export const GOLDENS = ["norm1", "norm2", "gate2", "tied", "wide", "odd", "row80", "quant"];

/**
 * With f32, as in tests/model.rs: logits have a standard deviation of 2 to 3, states go to about
 * 10.
 */
export const EXACT = 2e-4;
/**
 * Rounded keys and values may lose so many times what the CPU twin loses that rounds the same
 * (tests/golden/rounding.json).
 */
export const ROUNDED = 1.5;

/** Every way that a device may be driven, times every kind of keys and values. */
export const MODES = ["hardware", "software"].flatMap((shapes) =>
  ["subgroup", "workgroup"].flatMap((reduction) => ["f32", "f16", "q8"].map((kv) => ({ shapes, reduction, kv }))),
);

/** The processor, which is driven in one way, with every kind of keys and values. */
export const PROCESSOR = ["f32", "f16", "q8"].map((kv) => ({ device: "cpu", kv }));

export const nameOf = ({ device, shapes, reduction, kv }) => (device === "cpu" ? `processor, ${kv}` : `${shapes}, ${reduction}, ${kv}`);

/** Every golden in every mode with these ways of summing. */
export function everything(reductions) {
  return GOLDENS.flatMap((golden) => MODES.filter(({ reduction }) => reductions.includes(reduction)).map((mode) => ({ golden, mode })));
}

/**
 * Every golden with the shapes of GPUs and with those of software, keys and values kept in each way
 * by turns: every mode that sums in this way.
 */
export function once(reduction) {
  const kinds = ["f32", "f16", "q8"];
  return GOLDENS.flatMap((golden, i) => ["hardware", "software"].map((shapes, j) => ({ golden, mode: { shapes, reduction, kv: kinds[(i + j) % 3] } })));
}

/** Every golden on the processor. */
export const onProcessor = () => GOLDENS.flatMap((golden) => PROCESSOR.map((mode) => ({ golden, mode })));

/**
 * Where a driver takes half a minute for a model's shaders, as SwiftShader for those of GPUs:
 * goldens that have every kernel among them. With the shapes of GPUs it is one, which sums over
 * subgroups; "a graphics card" in engine.spec.ts reads another model in them, whose sums go through
 * workgroup memory. Keys and values in 8 bits are computed with these shapes in Deno and natively.
 * What the compiler takes at all is shown by the test "what Dawn takes".
 */
export function chosen() {
  const step = (golden, shapes, reduction, kv) => ({ golden, mode: { shapes, reduction, kv } });
  return [
    step("quant", "hardware", "subgroup", "f16"),
    step("wide", "software", "workgroup", "f32"),
    step("row80", "software", "subgroup", "f16"),
    step("quant", "software", "workgroup", "q8"),
  ];
}
