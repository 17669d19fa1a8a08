/**
 * Headers of the official checkpoints, as files without weights: metadata and the list of tensors,
 * after which nothing but a hole follows. What a model needs is known from its header alone.
 */

import { openSync, writeSync, ftruncateSync, closeSync } from "node:fs";

const F32 = { code: 0, block: 1, bytes: 4 };
const Q8_0 = { code: 8, block: 32, bytes: 34 };
const Q4_K = { code: 12, block: 256, bytes: 144 };
const Q6_K = { code: 14, block: 256, bytes: 210 };

/**
 * V, D, L, heads, KV heads, head width, F, SSM heads, their width, groups, state, context; whether
 * it has gated norms, and one matrix for embedding and head.
 */
export const SHAPES = {
  "Tiny-90M": { shape: [32768, 512, 24, 8, 2, 64, 768, 24, 32, 1, 64, 262144], gated: false, tied: true, mix: "Q8_0" },
  "0.5B": { shape: [32784, 1024, 36, 8, 2, 64, 2048, 24, 64, 1, 128, 16384], gated: false, tied: false, mix: "Q4_K_M" },
  "1.5B": { shape: [65537, 2048, 24, 8, 2, 128, 4608, 48, 64, 1, 256, 131072], gated: true, tied: false, mix: "Q4_K_M" },
  "1.5B-Deep": { shape: [65537, 1280, 66, 6, 2, 128, 3072, 24, 64, 1, 256, 131072], gated: true, tied: false, mix: "Q4_K_M" },
  "3B": { shape: [65537, 2560, 32, 10, 2, 128, 6144, 32, 128, 1, 256, 131072], gated: true, tied: false, mix: "Q4_K_M" },
  "7B": { shape: [130049, 3072, 44, 12, 2, 128, 12288, 24, 128, 1, 256, 262144], gated: true, tied: false, mix: "Q4_K_M" },
};

/** Tensors with their formats in the field's usual mixes. */
function tensorsOf({ shape, gated, tied, mix }) {
  const [V, D, L, heads, kvHeads, width, F, n, p, G, N] = shape;
  const base = mix === "Q8_0" ? Q8_0 : Q4_K;
  const better = mix === "Q8_0" ? Q8_0 : Q6_K;
  const [d, conv] = [n * p, n * p + 2 * G * N];
  const eighth = Math.floor(L / 8);
  const more = (i) => i < eighth || i >= Math.floor((7 * L) / 8) || (i - eighth) % 3 === 2;
  const found = [["token_embd.weight", [D, V], tied ? better : base], ["output_norm.weight", [D], F32]];
  if (!tied) found.push(["output.weight", [D, V], better]);
  for (let i = 0; i < L; i++) {
    const add = (name, dimensions, format) => found.push([`blk.${i}.${name}`, dimensions, format]);
    add("attn_norm.weight", [D], F32);
    add("ffn_norm", [D], F32);
    add("attn_q.weight", [D, heads * width], base);
    add("attn_k.weight", [D, kvHeads * width], base);
    add("attn_v.weight", [D, kvHeads * width], more(i) ? better : base);
    add("attn_output.weight", [heads * width, D], base);
    add("ffn_gate.weight", [D, F], base);
    add("ffn_up.weight", [D, F], base);
    add("ffn_down.weight", [F, D], more(i) ? better : base);
    add("ssm_in.weight", [D, d + conv + n], base);
    add("ssm_conv1d.weight", [4, conv], F32);
    add("ssm_conv1d.bias", [conv], F32);
    add("ssm_dt.bias", [n], F32);
    add("ssm_a", [1, n], F32);
    add("ssm_d", [1, n], F32);
    if (gated) add("ssm_norm.weight", [d / G, G], F32);
    add("ssm_out.weight", [d, D], base);
  }
  return found;
}

const u32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const f32 = (value) => Buffer.from(Float32Array.of(value).buffer);
const string = (value) => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);
const aligned = (n) => Math.ceil(n / 32) * 32;

/**
 * Writes the header of an official checkpoint, and as many zeros behind it as it has bytes of
 * tensors, which take no room. Returns the bytes of the tensors.
 */
export function writeOfficial(path, name) {
  const official = SHAPES[name];
  const [V, D, L, heads, kvHeads, width, F, n, p, G, N, context] = official.shape;
  const key = (field) => `falcon-h1.${field}`;
  const numbers = {
    context_length: context, embedding_length: D, feed_forward_length: F, block_count: L, vocab_size: V,
    "attention.head_count": heads, "attention.head_count_kv": kvHeads, "attention.key_length": width, "attention.value_length": width,
    "ssm.conv_kernel": 4, "ssm.inner_size": n * p, "ssm.state_size": N, "ssm.time_step_rank": n, "ssm.group_count": G,
  };
  const floats = { "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 1e11 };
  const fields = [
    [string("general.architecture"), u32(8), string("falcon-h1")],
    [string("general.name"), u32(8), string(`Falcon-H1-${name}`)],
    ...Object.entries(numbers).map(([field, value]) => [string(key(field)), u32(4), u32(value)]),
    ...Object.entries(floats).map(([field, value]) => [string(key(field)), u32(6), f32(value)]),
    [string("tokenizer.ggml.model"), u32(8), string("gpt2")],
    [string("tokenizer.ggml.pre"), u32(8), string("falcon-h1")],
    [string("tokenizer.ggml.tokens"), u32(9), u32(8), u64(V), ...Array.from({ length: V }, (_, i) => string(`t${i}`))],
    [string("tokenizer.ggml.merges"), u32(9), u32(8), u64(0)],
  ];
  let offset = 0;
  const table = tensorsOf(official).map(([tensor, dimensions, { code, block, bytes }]) => {
    const head = Buffer.concat([string(tensor), u32(dimensions.length), ...dimensions.map(u64), u32(code), u64(offset)]);
    offset += aligned((dimensions.reduce((a, b) => a * b) / block) * bytes);
    return head;
  });
  const head = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(table.length), u64(fields.length), ...fields.flat(), ...table]);
  const file = openSync(path, "w");
  writeSync(file, head);
  ftruncateSync(file, aligned(head.length) + offset);
  closeSync(file);
  return offset;
}
