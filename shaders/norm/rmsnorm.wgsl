//: kernel, sums: step
// y = weight x / sqrt(mean(x^2) + eps), in f32 (RMSNorm of HF's FalconH1; there is no "1 +
// weight").
// A workgroup is one token: THREADS = LANES. Grid: (tokens, 1). For the final norm, only the tokens
// from now.first on are read, and written from row 0 on.
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> x: array<f32>;            // [T, STRIDE]
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // [WIDTH]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // [T, STRIDE]

override WIDTH: u32;
override STRIDE: u32;
override EPS: f32;
override FINAL: u32 = 0u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let from_row = (group.x + FINAL * now.first) * STRIDE;
  let to_row = group.x * STRIDE;
  var squares = 0.0;
  for (var i = index; i < WIDTH; i += THREADS) {
    squares += x[from_row + i] * x[from_row + i];
  }
  let total = reduce(vec4<f32>(squares, 0.0, 0.0, 0.0), index).x;
  let scale = 1.0 / sqrt(total / f32(WIDTH) + EPS);
  for (var i = index; i < WIDTH; i += THREADS) {
    y[to_row + i] = weight[i] * (x[from_row + i] * scale);
  }
}
