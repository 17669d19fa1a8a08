// A matrix of weights in parts (Matrix and Part in weights.rs).
//
// An output row is the sum over every part that covers it. Row parts stand one below the other (q, k, v, z, x, B, C, dt in
// W_in), column parts beside each other (W_o | W_out): both are the same rule. Each part has its own block format and scale.
// A part's rows are strips of 32 weights: plane Q holds the strips' words, plane S their scales as 16-bit words.

// GGUF's type numbers.
const F32: u32 = 0u;
const F16: u32 = 1u;
const Q4_0: u32 = 2u;
const Q4_1: u32 = 3u;
const Q5_0: u32 = 6u;
const Q5_1: u32 = 7u;
const Q8_0: u32 = 8u;
const Q2_K: u32 = 10u;
const Q3_K: u32 = 11u;
const Q4_K: u32 = 12u;
const Q5_K: u32 = 13u;
const Q6_K: u32 = 14u;
const IQ4_NL: u32 = 20u;
const IQ4_XS: u32 = 23u;
const BF16: u32 = 30u;

struct Part {
  first_row: u32,  // first output row
  rows: u32,
  strips: u32,     // strips in a row
  x: u32,          // first vec4 of the input row that this part multiplies
  quants: u32,     // plane Q, in words
  scales: u32,     // plane S, in 16-bit words
  kind: u32,       // low byte: which of FORMAT_0..3; next byte: which of the two sums
  scale: f32,      // muP multiplier; 1 where the file has it baked in
}

struct Matrix {
  first_row: u32,  // of this slab
  rows: u32,       // of this slab
  parts: u32,
  x_stride: u32,   // vec4s in an input row
  y_stride: u32,   // floats in an output row
  unused_0: u32,
  unused_1: u32,
  unused_2: u32,
  part: array<Part, 8>,
}

// The formats that occur in this matrix, fixed when the pipeline is made: the driver drops the others.
override FORMATS: u32 = 1u;
override FORMAT_0: u32 = 0u;
override FORMAT_1: u32 = 0u;
override FORMAT_2: u32 = 0u;
override FORMAT_3: u32 = 0u;

// 32 weights. Not an array: indexed by a variable, it would lie in memory instead of registers.
struct Strip {
  a: vec4<f32>,
  b: vec4<f32>,
  c: vec4<f32>,
  d: vec4<f32>,
  e: vec4<f32>,
  f: vec4<f32>,
  g: vec4<f32>,
  h: vec4<f32>,
}

// What is loaded of a strip before it is decoded: so a kernel can have several strips on their way in few registers.
struct Raw {
  a: vec4<u32>,
  b: vec4<u32>,
  c: u32,
}

const NOTHING: vec4<u32> = vec4<u32>(0u);

// For formats of 16 bits and more, which are loaded when they are decoded: where they are.
fn late(at: u32) -> Raw {
  return Raw(NOTHING, NOTHING, at);
}

fn strip_dot(w: Strip, v: Strip) -> f32 {
  return dot(w.a, v.a) + dot(w.b, v.b) + dot(w.c, v.c) + dot(w.d, v.d)
    + dot(w.e, v.e) + dot(w.f, v.f) + dot(w.g, v.g) + dot(w.h, v.h);
}

fn sum_of(v: vec4<f32>) -> f32 {
  return (v.x + v.y) + (v.z + v.w);
}

fn raised(w: Strip, m: f32) -> Strip {
  let by = vec4<f32>(m);
  return Strip(w.a + by, w.b + by, w.c + by, w.d + by, w.e + by, w.f + by, w.g + by, w.h + by);
}

fn scaled(w: Strip, d: f32) -> Strip {
  return Strip(d * w.a, d * w.b, d * w.c, d * w.d, d * w.e, d * w.f, d * w.g, d * w.h);
}

// Word `i`; pieces load whole vec4s where their layout is aligned.
fn word_at(i: u32) -> u32 {
  return weights[i / 4u][i % 4u];
}

fn half_at(i: u32) -> f32 {
  return half_of(word_at(i / 2u), i);
}

// Half `i` of the plane, from the word that holds it.
fn half_of(word: u32, i: u32) -> f32 {
  let pair = unpack2x16float(word);
  return select(pair.x, pair.y, (i & 1u) == 1u);
}

fn halfword_at(i: u32) -> u32 {
  return (word_at(i / 2u) >> (16u * (i & 1u))) & 0xffffu;
}

fn signed_bytes_of(word: u32) -> vec4<i32> {
  return (vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}

// Four bytes hold values i..i+3 in their low nibbles and values i+16..i+19 in their high ones.
fn low_nibbles(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
}

fn high_nibbles(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(4u, 12u, 20u, 28u)) & vec4<u32>(15u);
}

// Codes become floats without a conversion, which costs a GPU as much as several additions: put into the top bits of the mantissa
// of 16 (64 for six bits), a code q is 16 + q (64 + q), exactly.
fn sixteens(mantissa: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>((mantissa & vec4<u32>(0x780000u)) | vec4<u32>(0x41800000u));
}

fn low_sixteens(word: u32) -> vec4<f32> {
  return sixteens(vec4<u32>(word << 19u, word << 11u, word << 3u, word >> 5u));
}

fn high_sixteens(word: u32) -> vec4<f32> {
  return sixteens(vec4<u32>(word << 15u, word << 7u, word >> 1u, word >> 9u));
}

fn low_codes(word: u32) -> vec4<f32> {
  return low_sixteens(word) - vec4<f32>(16.0);
}

fn high_codes(word: u32) -> vec4<f32> {
  return high_sixteens(word) - vec4<f32>(16.0);
}

// The 32 four-bit codes of a vec4.
fn nibbles_of(words: vec4<u32>) -> Strip {
  return Strip(
    low_codes(words.x), low_codes(words.y), low_codes(words.z), low_codes(words.w),
    high_codes(words.x), high_codes(words.y), high_codes(words.z), high_codes(words.w),
  );
}

// Bits v to v + 3 of a word.
fn bits_of(word: u32, v: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> (vec4<u32>(0u, 1u, 2u, 3u) + vec4<u32>(v))) & vec4<u32>(1u);
}

fn with_fifth(low: vec4<u32>, high: u32, v: u32) -> vec4<f32> {
  return vec4<f32>(low | (bits_of(high, v) << vec4<u32>(4u)));
}

// 32 five-bit codes: nibbles, and bit v of a word for value v.
fn five_bits_of(words: vec4<u32>, high: u32) -> Strip {
  return Strip(
    with_fifth(low_nibbles(words.x), high, 0u), with_fifth(low_nibbles(words.y), high, 4u),
    with_fifth(low_nibbles(words.z), high, 8u), with_fifth(low_nibbles(words.w), high, 12u),
    with_fifth(high_nibbles(words.x), high, 16u), with_fifth(high_nibbles(words.y), high, 20u),
    with_fifth(high_nibbles(words.z), high, 24u), with_fifth(high_nibbles(words.w), high, 28u),
  );
}

fn pairs_at(word: u32, n: u32) -> vec4<f32> {
  return vec4<f32>((vec4<u32>(word) >> (vec4<u32>(0u, 8u, 16u, 24u) + vec4<u32>(2u * n))) & vec4<u32>(3u));
}

// 32 two-bit codes: value v in word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4).
fn pairs_of(a: u32, b: u32) -> Strip {
  return Strip(
    pairs_at(a, 0u), pairs_at(a, 1u), pairs_at(a, 2u), pairs_at(a, 3u),
    pairs_at(b, 0u), pairs_at(b, 1u), pairs_at(b, 2u), pairs_at(b, 3u),
  );
}

// Whether this pipeline keeps a format: known when it is made, so that the rest falls away.
fn has(format: u32) -> bool {
  return format == FORMAT_0 || (FORMATS > 1u && format == FORMAT_1) || (FORMATS > 2u && format == FORMAT_2)
    || (FORMATS > 3u && format == FORMAT_3);
}

// The format of a part.
fn format_of(part: Part) -> u32 {
  var format = FORMAT_0;
  if (FORMATS > 1u) {
    let which = part.kind & 255u;
    format = select(format, FORMAT_1, which == 1u);
    format = select(format, FORMAT_2, which == 2u);
    format = select(format, FORMAT_3, which == 3u);
  }
  return format;
}

// Loads strip `s` of row `row` (counted inside the part): 32 weights, which `decode` makes of it. Each format is called in one
// place: compilers that inline first and drop dead code afterwards take long enough as it is.
fn load(part: Part, row: u32, s: u32) -> Raw {
  let i = row * part.strips + s;
  let quants = part.quants;
  let scales = part.scales;
  let format = format_of(part);
  if (has(F16) && format == F16) { return load_f16(quants, i); }
  if (has(BF16) && format == BF16) { return load_bf16(quants, i); }
  if (has(Q4_0) && format == Q4_0) { return load_q4_0(quants, scales, i); }
  if (has(Q4_1) && format == Q4_1) { return load_q4_1(quants, scales, i); }
  if (has(Q5_0) && format == Q5_0) { return load_q5_0(quants, scales, i); }
  if (has(Q5_1) && format == Q5_1) { return load_q5_1(quants, scales, i); }
  if (has(Q8_0) && format == Q8_0) { return load_q8_0(quants, scales, i); }
  if (has(Q2_K) && format == Q2_K) { return load_q2_k(quants, scales, i); }
  if (has(Q3_K) && format == Q3_K) { return load_q3_k(quants, scales, i); }
  if (has(Q4_K) && format == Q4_K) { return load_q4_k(quants, scales, i); }
  if (has(Q5_K) && format == Q5_K) { return load_q5_k(quants, scales, i); }
  if (has(Q6_K) && format == Q6_K) { return load_q6_k(quants, scales, i); }
  if (has(IQ4_NL) && format == IQ4_NL) { return load_iq4_nl(quants, scales, i); }
  if (has(IQ4_XS) && format == IQ4_XS) { return load_iq4_xs(quants, scales, i); }
  return load_f32(quants, i);
}

// The weights of a loaded strip.
fn decode(raw: Raw, part: Part, row: u32, s: u32) -> Strip {
  let i = row * part.strips + s;
  let scales = part.scales;
  let format = format_of(part);
  if (has(F16) && format == F16) { return strip_f16(raw); }
  if (has(BF16) && format == BF16) { return strip_bf16(raw); }
  if (has(Q4_0) && format == Q4_0) { return strip_q4_0(raw, scales, i); }
  if (has(Q4_1) && format == Q4_1) { return strip_q4_1(raw); }
  if (has(Q5_0) && format == Q5_0) { return strip_q5_0(raw); }
  if (has(Q5_1) && format == Q5_1) { return strip_q5_1(raw); }
  if (has(Q8_0) && format == Q8_0) { return strip_q8_0(raw, scales, i); }
  if (has(Q2_K) && format == Q2_K) { return strip_q2_k(raw); }
  if (has(Q3_K) && format == Q3_K) { return strip_q3_k(raw); }
  if (has(Q4_K) && format == Q4_K) { return strip_q4_k(raw, i); }
  if (has(Q5_K) && format == Q5_K) { return strip_q5_k(raw, i); }
  if (has(Q6_K) && format == Q6_K) { return strip_q6_k(raw, i); }
  if (has(IQ4_NL) && format == IQ4_NL) { return strip_iq4_nl(raw, scales, i); }
  if (has(IQ4_XS) && format == IQ4_XS) { return strip_iq4_xs(raw); }
  return strip_f32(raw);
}

// A loaded strip times v. The formats that most files have do without the weights' own values.
fn dot_with(raw: Raw, part: Part, row: u32, s: u32, v: Strip) -> f32 {
  let i = row * part.strips + s;
  let format = format_of(part);
  if (has(Q4_K) && format == Q4_K) { return dot_q4_k(raw, i, v); }
  if (has(Q6_K) && format == Q6_K) { return dot_q6_k(raw, i, v); }
  return strip_dot(decode(raw, part, row, s), v);
}

fn strip(part: Part, row: u32, s: u32) -> Strip {
  return decode(load(part, row, s), part, row, s);
}
