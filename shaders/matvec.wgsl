// y = W x for a token at a time (decode). LANES invocations share a row, each takes every LANES-th strip; a workgroup holds
// THREADS / LANES rows. Grid: (row groups folded at 32768, folds, tokens).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]

fn strip_dot(w: Strip, i: u32) -> f32 {
  return dot(w[0], x[i]) + dot(w[1], x[i + 1u]) + dot(w[2], x[i + 2u]) + dot(w[3], x[i + 3u])
    + dot(w[4], x[i + 4u]) + dot(w[5], x[i + 5u]) + dot(w[6], x[i + 6u]) + dot(w[7], x[i + 7u]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let lane = index % LANES;
  let t = group.z;
  let inside = (group.x + group.y * 32768u) * (THREADS / LANES) + index / LANES;
  let row = matrix.first_row + inside;
  var sums = vec4<f32>(0.0);
  for (var p = 0u; p < matrix.parts; p++) {
    let part = matrix.part[p];
    if (row < part.first_row || row - part.first_row >= part.rows) {
      continue;
    }
    var sum = 0.0;
    for (var s = lane; s < part.strips; s += LANES) {
      sum += strip_dot(strip(part, row - part.first_row, s), t * matrix.x_stride + part.x + 8u * s);
    }
    if ((part.kind >> 8u) == 0u) {
      sums.x += part.scale * sum;
    } else {
      sums.y += part.scale * sum;
    }
  }
  let total = reduce(sums, index);
  if (lane == 0u && inside < matrix.rows && t < tokens_in()) {
    finish(row, t, total.x, total.y);
  }
}
