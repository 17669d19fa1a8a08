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

/** Every golden on the processor. */
export const onProcessor = () => GOLDENS.flatMap((golden) => PROCESSOR.map((mode) => ({ golden, mode })));

/**
 * Where a model takes seconds to load, as on Dawn with SwiftShader: every golden in f32 with the
 * shapes of GPUs and with those of software, sums one way and the other by turns; and some with
 * rounded keys and values, so that every mode has a golden here or in Deno. Where a dispatch is
 * slow, `check`, which makes hundreds, looks at one golden for each way of summing.
 */
export function chosen() {
  return GOLDENS.flatMap((golden, i) => {
    const [one, other] = i % 2 ? ["workgroup", "subgroup"] : ["subgroup", "workgroup"];
    const [first, second] = i % 4 < 2 ? ["f16", "q8"] : ["q8", "f16"];
    const modes = [
      { shapes: "hardware", reduction: one, kv: "f32" },
      { shapes: "software", reduction: other, kv: "f32" },
      ...(i < 4 ? [{ shapes: "software", reduction: one, kv: first }] : []),
      ...(i === 1 || i === 3 ? [{ shapes: "hardware", reduction: "subgroup", kv: second }] : []),
    ];
    return modes.map((mode) => ({ golden, mode, check: mode.shapes === "software" || i < 2 }));
  });
}
