// The adapters of a linear layer: y += B (A x) beside y = W x. Each projection that has any is a
// part; where several adapters change the same one, their ranks stand beside each other. Layouts in
// Lora of ops/lora.
struct LoraPart {
  first_row: u32,  // of the output
  rows: u32,
  rank: u32,       // all numbers from here on in vec4s
  t: u32,          // its place in a row of t
  x: u32,          // its place in a row of the input
  cols: u32,
  a: u32,          // A [4 rank, cols]
  b: u32,          // B [rows, rank]
}

struct Lora {
  parts: u32,
  rank: u32,       // vec4s in a row of t
  x_stride: u32,   // vec4s in a row of the input
  y_stride: u32,   // floats in a row of the output
  rows: u32,       // of the output
  unused_0: u32,
  unused_1: u32,
  unused_2: u32,
  part: array<LoraPart, 4>,
}

// 1: four tokens an invocation; 0: the step has one.
override MANY: u32 = 0u;

// The four tokens from `first` on; one past the end is the last.
fn four_from(first: u32, tokens: u32) -> vec4<u32> {
  return min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(tokens - 1u));
}
