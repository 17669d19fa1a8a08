/** Cuts a GGUF file into two that make one model, as the field's tools do. */

const FIXED: Record<number, number> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const [STRING, ARRAY] = [8, 9];
const aligned = (n: number) => Math.ceil(n / 32) * 32;

/** Where the value of type `type` at `at` ends. */
function skip(file: Buffer, type: number, at: number): number {
  if (type === STRING) return at + 8 + Number(file.readBigUInt64LE(at));
  if (type !== ARRAY) return at + FIXED[type]!;
  const kind = file.readUInt32LE(at);
  const count = Number(file.readBigUInt64LE(at + 4));
  at += 12;
  if (kind !== STRING) return at + count * FIXED[kind]!;
  for (let i = 0; i < count; i++) at = skip(file, kind, at);
  return at;
}

const text = (value: string) => Buffer.concat([u64(value.length), Buffer.from(value)]);
function u64(value: number): Buffer {
  const out = Buffer.alloc(8);
  out.writeBigUInt64LE(BigInt(value));
  return out;
}
function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}

interface Tensor {
  /** Name, dimensions and type, as they stand in the file. */
  head: Buffer;
  offset: number;
}

/** The two files. */
export function splitGguf(file: Buffer): [Buffer, Buffer] {
  const tensorCount = Number(file.readBigUInt64LE(8));
  const fieldCount = Number(file.readBigUInt64LE(16));
  let at = 24;
  for (let i = 0; i < fieldCount; i++) {
    at = skip(file, STRING, at);
    at = skip(file, file.readUInt32LE(at), at + 4);
  }
  const fields = file.subarray(24, at);
  const tensors: Tensor[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const begin = at;
    at = skip(file, STRING, at);
    at += 4 + 8 * file.readUInt32LE(at) + 4;
    tensors.push({ head: file.subarray(begin, at), offset: Number(file.readBigUInt64LE(at)) });
    at += 8;
  }
  const data = file.subarray(aligned(at));
  const end = (i: number) => tensors[i + 1]?.offset ?? data.length;
  const half = Math.floor(tensorCount / 2);

  const part = (number: number, from: number, to: number): Buffer => {
    const field = (name: string, value: number) => Buffer.concat([text(name), u32(4), u32(value)]);
    const extra = [field("split.no", number), field("split.count", 2), field("split.tensors.count", tensorCount)];
    const all = number === 0 ? [fields, ...extra] : extra;
    const base = tensors[from]!.offset;
    const table = tensors.slice(from, to).flatMap(({ head, offset }) => [head, u64(offset - base)]);
    const count = (number === 0 ? fieldCount : 0) + extra.length;
    const header = Buffer.concat([file.subarray(0, 8), u64(to - from), u64(count), ...all, ...table]);
    const padding = Buffer.alloc(aligned(header.length) - header.length);
    return Buffer.concat([header, padding, data.subarray(base, end(to - 1))]);
  };
  return [part(0, 0, half), part(1, half, tensorCount)];
}

/** Matrices of the embedded model: name, inputs, outputs. */
const EMBEDDED: [string, number, number][] = [["blk.0.attn_q", 512, 512], ["blk.3.ffn_down", 1024, 512]];

/**
 * A LoRA adapter of rank 2 for these matrices, as a GGUF file: for the embedded model's, one
 * layer's query and another's MLP; with the same numbers every time.
 */
export function loraGguf(layers = EMBEDDED): Buffer {
  const field = (name: string, type: number, value: Buffer) => Buffer.concat([text(name), u32(type), value]);
  const alpha = Buffer.alloc(4);
  alpha.writeFloatLE(8);
  const words = { "general.type": "adapter", "adapter.type": "lora", "general.architecture": "falcon-h1" };
  const fields = [...Object.entries(words).map(([name, value]) => field(name, STRING, text(value))), field("adapter.lora.alpha", 6, alpha)];
  const matrices = layers.flatMap(([name, inputs, outputs]) => [
    { name: `${name}.weight.lora_a`, dims: [inputs, 2] },
    { name: `${name}.weight.lora_b`, dims: [2, outputs] },
  ]);
  let seed = 7;
  const random = () => ((seed = (seed * 16807) % 2147483647) / 2147483647 - 0.5) * 2;
  const data = matrices.map(({ dims: [a, b] }) => Buffer.from(Float32Array.from({ length: a! * b! }, random).buffer));
  let offset = 0;
  const heads = matrices.map(({ name, dims }, i) => {
    const head = Buffer.concat([text(name), u32(2), ...dims.map(u64), u32(0), u64(offset)]);
    offset += data[i]!.length;
    return head;
  });
  const header = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(matrices.length), u64(fields.length), ...fields, ...heads]);
  return Buffer.concat([header, Buffer.alloc(aligned(header.length) - header.length), ...data]);
}
