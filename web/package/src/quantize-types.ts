/** What a model can be quantized to. Made from the crate peregrine-workbench by `make types`. */

/** The types of `peregrine quantize`, which are llama.cpp's. */
export const QUANTIZE_TYPES = [
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q6_K",
  "Q5_K_M",
  "Q4_K_M",
  "Q5_1",
  "Q5_0",
  "Q4_1",
  "Q4_0",
  "IQ4_NL",
  "IQ4_XS",
  "Q3_K_M",
  "Q2_K",
] as const;

/** One of them. */
export type QuantizeType = (typeof QUANTIZE_TYPES)[number];
