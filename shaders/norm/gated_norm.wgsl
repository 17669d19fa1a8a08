//: kernel, sums
// The Mamba mixer's gated RMSNorm where the model has one (mamba_rms_norm, norm_before_gate false):
// the gate y silu(z) is already applied by the SSM heads; each of the G groups of WIDTH = d / G
// channels is normalized by itself, in place. A workgroup is one token and one group: THREADS =
// LANES. Grid: (T, G).
@group(0) @binding(0) var<storage, read> weight: array<f32>;  // [d]
// [T, STRIDE]; the SSM heads' output begins at OFFSET
@group(0) @binding(1) var<storage, read_write> mixed: array<f32>;

override WIDTH: u32;
override STRIDE: u32;
override OFFSET: u32;
override EPS: f32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let channel = group.y * WIDTH;
  let row = group.x * STRIDE + OFFSET + channel;
  var squares = 0.0;
  for (var i = index; i < WIDTH; i += THREADS) {
    squares += mixed[row + i] * mixed[row + i];
  }
  let total = reduce(vec4<f32>(squares, 0.0, 0.0, 0.0), index).x;
  let scale = 1.0 / sqrt(total / f32(WIDTH) + EPS);
  for (var i = index; i < WIDTH; i += THREADS) {
    mixed[row + i] = weight[channel + i] * (mixed[row + i] * scale);
  }
}
