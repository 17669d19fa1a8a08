// y = W x for a token at a time (decode), with the RMSNorm of x on the way where there is one. LANES invocations share ROWS
// rows, each takes every LANES-th strip; a workgroup holds ROWS THREADS / LANES rows.
// Grid: (row groups folded at 32768, folds, tokens).
//
// The norm costs no dispatch: W (weight x / rms) = (W (weight x)) / rms, and the squares are summed while x is loaded.
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]
@group(0) @binding(5) var<storage, read> norm: array<vec4<f32>>;      // weight of the norm; anything where there is none

const NO_NORM: u32 = 0xffffffffu;
override ROWS: u32 = 1u;                // 1, or 4 where the rows of every part are a multiple of 4
override NORM_X: u32 = NO_NORM;         // parts whose input begins at this vec4 or after it are normalised, together
override NORM_WIDTH: u32 = 1u;          // values under the norm
override NORM_EPS: f32 = 0.0;

fn input_at(i: u32) -> Strip {
  return Strip(x[i], x[i + 1u], x[i + 2u], x[i + 3u], x[i + 4u], x[i + 5u], x[i + 6u], x[i + 7u]);
}

fn weighted(v: Strip, i: u32) -> Strip {
  return Strip(
    v.a * norm[i], v.b * norm[i + 1u], v.c * norm[i + 2u], v.d * norm[i + 3u],
    v.e * norm[i + 4u], v.f * norm[i + 5u], v.g * norm[i + 6u], v.h * norm[i + 7u],
  );
}

// Strip `s` of ROWS rows from `row` on, times v.
fn rows_dot(part: Part, row: u32, s: u32, v: Strip) -> vec4<f32> {
  if (ROWS == 1u) {
    return vec4<f32>(strip_dot(strip(part, row, s), v), 0.0, 0.0, 0.0);
  }
  return vec4<f32>(
    strip_dot(strip(part, row, s), v),
    strip_dot(strip(part, row + 1u, s), v),
    strip_dot(strip(part, row + 2u, s), v),
    strip_dot(strip(part, row + 3u, s), v),
  );
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let lane = index % LANES;
  let t = group.z;
  let inside = ROWS * ((group.x + group.y * 32768u) * (THREADS / LANES) + index / LANES);
  let row = matrix.first_row + inside;
  // SwiGLU: parts 0 and 1 are gate and up, over the same rows and the same input.
  let parts = select(matrix.parts, 1u, EPILOGUE == SWIGLU);
  var sum = vec4<f32>(0.0);
  var normed = vec4<f32>(0.0);
  var second = vec4<f32>(0.0);
  var squares = 0.0;
  for (var p = 0u; p < parts; p++) {
    let part = matrix.part[p];
    if (row < part.first_row || row - part.first_row >= part.rows) {
      continue;
    }
    let under_norm = NORM_X != NO_NORM && part.x >= NORM_X;
    var part_sum = vec4<f32>(0.0);
    var part_second = vec4<f32>(0.0);
    for (var s = lane; s < part.strips; s += LANES) {
      let at = part.x + 8u * s;
      var v = input_at(t * matrix.x_stride + at);
      if (under_norm) {
        squares += strip_dot(v, v);
        v = weighted(v, at - NORM_X);
      }
      part_sum += rows_dot(part, row - part.first_row, s, v);
      if (EPILOGUE == SWIGLU) {
        part_second += rows_dot(matrix.part[1], row - part.first_row, s, v);
      }
    }
    if (under_norm) {
      normed += part.scale * part_sum;
    } else {
      sum += part.scale * part_sum;
    }
    if (EPILOGUE == SWIGLU) {
      second += matrix.part[1].scale * part_second;
    }
  }
  // What lies under the norm waits for the sum of all squares; the rest may have been summed already.
  if (NORM_X == NO_NORM || NORM_X > 0u) {
    sum = reduce(sum, index);
  }
  if (EPILOGUE == SWIGLU) {
    second = reduce(second, index);
  }
  if (NORM_X != NO_NORM) {
    let scale = inverseSqrt(reduce(vec4<f32>(squares, 0.0, 0.0, 0.0), index).x / f32(NORM_WIDTH) + NORM_EPS);
    sum += scale * reduce(normed, index);
    second *= scale;
  }
  if (inside >= matrix.rows || t >= tokens_in()) {
    return;
  }
  for (var r = lane; r < ROWS; r += LANES) {
    finish(row + r, t, sum[r], second[r]);
  }
}
