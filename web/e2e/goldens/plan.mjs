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
 * Where a model takes seconds to load, as on Dawn with SwiftShader: every golden with the shapes of
 * software, sums one way and the other by turns, and of the shapes of GPUs, which take five times
 * as long, those whose kernels are together nearly all that the goldens have: with what a page
 * compiles (the test "goldens in Chromium") all but two sources of kernels in all modes. Natively
 * and in Deno every golden is read with these shapes.
 */
export function chosen() {
  const step = (golden, shapes, reduction, kv = "f32") => ({ golden, mode: { shapes, reduction, kv } });
  return [
    step("row80", "hardware", "subgroup"),
    step("quant", "hardware", "workgroup"),
    step("quant", "hardware", "subgroup", "f16"),
    step("row80", "hardware", "workgroup", "q8"),
    step("norm2", "hardware", "subgroup"),
    step("gate2", "hardware", "workgroup", "f16"),
    step("norm1", "hardware", "subgroup", "q8"),
    ...GOLDENS.map((golden, i) => step(golden, "software", i % 2 ? "subgroup" : "workgroup")),
    step("norm1", "software", "subgroup", "f16"),
    step("gate2", "software", "subgroup", "q8"),
  ];
}
