// A matrix of weights in parts (Matrix and Part in weights.rs).
//
// An output row is the sum over every part that covers it. Row parts stand one below the other (q,
// k, v, z, x, B, C, dt in W_in), column parts beside each other (W_o | W_out): both are the same
// rule. Each part has its own block format and scale. A part's rows are strips of 32 weights: plane
// Q holds the strips' words, plane S their scales as 16-bit words.

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

// The formats that occur in this matrix: its source has these and no others.
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

// What is loaded of a strip before it is decoded: so a kernel can have several strips on their way
// in few registers.
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

// The three functions that every format has. A line with EACH stands for one of every format but
// the last, whose name comes in place of `last`: a pipeline compiles only what its matrix has.

// Loads strip `s` of row `row` (counted inside the part): 32 weights, which `decode` makes of it.
fn load(part: Part, row: u32, s: u32) -> Raw {
  let i = row * part.strips + s;
  let format = format_of(part);
  if (format == EACH) { return load_each(part.quants, part.scales, i); }
  return load_last(part.quants, part.scales, i);
}

// The weights of a loaded strip.
fn decode(raw: Raw, part: Part, row: u32, s: u32) -> Strip {
  let i = row * part.strips + s;
  let format = format_of(part);
  if (format == EACH) { return strip_each(raw, part.scales, i); }
  return strip_last(raw, part.scales, i);
}

// A loaded strip times v. The formats that most files have do without the weights' own values.
fn dot_with(raw: Raw, part: Part, row: u32, s: u32, v: Strip) -> f32 {
  let i = row * part.strips + s;
  let format = format_of(part);
  if (format == EACH) { return dot_each(raw, part.scales, i, v); }
  return dot_last(raw, part.scales, i, v);
}

fn strip(part: Part, row: u32, s: u32) -> Strip {
  return decode(load(part, row, s), part, row, s);
}
