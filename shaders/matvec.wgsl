// y = W x for a token at a time on a software adapter (decode): LANES invocations share a row, each takes every LANES-th strip, so
// that scales are decoded once a strip. GPUs use matvec_team.wgsl.
// Grid: (row groups folded at 32768, folds, tokens).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]

fn input_at(i: u32) -> Strip {
  return Strip(x[i], x[i + 1u], x[i + 2u], x[i + 3u], x[i + 4u], x[i + 5u], x[i + 6u], x[i + 7u]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let lane = index % LANES;
  let t = group.z;
  let inside = (group.x + group.y * 32768u) * (THREADS / LANES) + index / LANES;
  let row = matrix.first_row + inside;
  // SwiGLU: parts 0 and 1 are gate and up, over the same rows and the same input.
  let parts = select(matrix.parts, 1u, EPILOGUE == SWIGLU);
  var sum = 0.0;
  var second = 0.0;
  for (var p = 0u; p < parts; p++) {
    let part = matrix.part[p];
    if (row < part.first_row || row - part.first_row >= part.rows) {
      continue;
    }
    var part_sum = 0.0;
    var part_second = 0.0;
    for (var s = lane; s < part.strips; s += LANES) {
      let v = input_at(t * matrix.x_stride + part.x + 8u * s);
      part_sum += strip_dot(strip(part, row - part.first_row, s), v);
      if (EPILOGUE == SWIGLU) {
        part_second += strip_dot(strip(matrix.part[1], row - part.first_row, s), v);
      }
    }
    sum += part.scale * part_sum;
    if (EPILOGUE == SWIGLU) {
      second += matrix.part[1].scale * part_second;
    }
  }
  let all = reduce(vec4<f32>(sum, second, 0.0, 0.0), index);
  if (lane == 0u && inside < matrix.rows && t < tokens_in()) {
    finish(row, t, all.x, all.y, standing(row, t));
  }
}
