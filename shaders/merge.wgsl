// Puts the pieces of a long context together (decode): each piece of mixer_step.wgsl has its own maximum, sum and output.
// A workgroup is one query head. Grid: (nh, 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read_write> mixed: array<f32>;  // [ attention | SSM ], pieces [nh, splits, maximum total output (hd)]

override THREADS: u32 = 64u;
override PIECES: u32;
override HEAD_DIM: u32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = HEAD_DIM + 2u;
  let first = PIECES + group.x * now.splits * row;
  var maximum = mixed[first];
  for (var i = 1u; i < now.splits; i++) {
    maximum = max(maximum, mixed[first + i * row]);
  }
  for (var d = index; d < HEAD_DIM; d += THREADS) {
    var total = 0.0;
    var sum = 0.0;
    for (var i = 0u; i < now.splits; i++) {
      let share = exp(mixed[first + i * row] - maximum);
      total += share * mixed[first + i * row + 1u];
      sum += share * mixed[first + i * row + 2u + d];
    }
    mixed[group.x * HEAD_DIM + d] = sum / total;
  }
}
