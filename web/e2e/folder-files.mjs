// Folders of safetensors, made of others.

import { readFileSync } from "node:fs";

/** The tensors of a file: name, dtype, shape, bytes. */
export function tensorsOf(path) {
  const bytes = readFileSync(path);
  const begin = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(bytes.subarray(8, begin).toString());
  return new Map(Object.entries(header).map(([name, { dtype, shape, data_offsets: [from, to] }]) => [name, { dtype, shape, bytes: bytes.subarray(begin + from, begin + to) }]));
}

/** A file of them; `change` may lie in its header. */
export function written(tensors, change = (header) => header) {
  let at = 0;
  const header = {};
  for (const [name, { dtype, shape, bytes }] of tensors) header[name] = { dtype, shape, data_offsets: [at, (at += bytes.length)] };
  const text = Buffer.from(JSON.stringify(change(header)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...[...tensors.values()].map(({ bytes }) => bytes)]);
}

/** 16 bits of a half that is a power of two. */
const half = (exponent) => (exponent + 15) << 10;
/**
 * A folder in BF16 in GPTQ of 4 bits with groups of 32, and the same weights in F32: of each its
 * model.safetensors and its config.json.
 */
export function gptq(folder) {
  const [stored, plain] = [new Map(), new Map()];
  for (const [name, tensor] of tensorsOf(`${folder}/model.safetensors`)) {
    const [out, inputs] = tensor.shape;
    if (!name.endsWith("_proj.weight") || out % 8 !== 0) {
      for (const to of [stored, plain]) to.set(name, tensor);
      continue;
    }
    const groups = inputs / 32;
    const [qweight, qzeros, scales] = [new Uint32Array((inputs / 8) * out), new Uint32Array((groups * out) / 8).fill(0x77777777), new Uint16Array(groups * out)];
    const values = new Float32Array(out * inputs);
    for (let o = 0; o < out; o++) {
      for (let g = 0; g < groups; g++) {
        const exponent = -3 - ((o + g) % 3);
        scales[g * out + o] = half(exponent);
        for (let i = 32 * g; i < 32 * (g + 1); i++) {
          const bits = tensor.bytes.readUInt16LE(2 * (o * inputs + i));
          const value = new Float32Array(Uint32Array.of(bits << 16).buffer)[0];
          const code = Math.max(0, Math.min(15, Math.round(value / 2 ** exponent) + 8));
          values[o * inputs + i] = (code - 8) * 2 ** exponent;
          qweight[(i >> 3) * out + o] |= code << (4 * (i & 7));
        }
      }
    }
    const stem = name.slice(0, -".weight".length);
    stored.set(`${stem}.qweight`, { dtype: "I32", shape: [inputs / 8, out], bytes: Buffer.from(qweight.buffer) });
    stored.set(`${stem}.qzeros`, { dtype: "I32", shape: [groups, out / 8], bytes: Buffer.from(qzeros.buffer) });
    stored.set(`${stem}.scales`, { dtype: "F16", shape: [groups, out], bytes: Buffer.from(scales.buffer) });
    plain.set(name, { dtype: "F32", shape: tensor.shape, bytes: Buffer.from(values.buffer) });
  }
  const config = readFileSync(`${folder}/config.json`);
  const quantization_config = { quant_method: "gptq", bits: 4, group_size: 32, sym: true, desc_act: false };
  return [
    { weights: written(stored), config: Buffer.from(JSON.stringify({ ...JSON.parse(config), quantization_config })) },
    { weights: written(plain), config },
  ];
}
