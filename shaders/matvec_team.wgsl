// y = W x for a token at a time on a GPU (decode), with the RMSNorm of x on the way where there is one. A workgroup is a team that
// shares ROWS rows: each invocation multiplies a quarter strip (8 columns) of every row, so that neighbours load neighbouring words
// and, up to 2,048 columns, nobody loads twice: a token is a chain of such dispatches, and what counts is the time of one.
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

// What LANES invocations have summed: [THREADS / LANES, 4] for each of the four sums below.
var<workgroup> plain_sums: array<f32, THREADS>;
var<workgroup> normed_sums: array<f32, THREADS>;
var<workgroup> second_sums: array<f32, THREADS>;
var<workgroup> square_sums: array<f32, THREADS>;

fn quarter_dot(w: Quarter, v: Quarter) -> f32 {
  return dot(w.low, v.low) + dot(w.high, v.high);
}

// Quarter `w` of strip `s` of ROWS rows from `row` on, times v.
fn rows_dot(part: Part, row: u32, s: u32, w: u32, v: Quarter) -> vec4<f32> {
  if (ROWS == 1u) {
    return vec4<f32>(quarter_dot(quarter(part, row, s, w), v), 0.0, 0.0, 0.0);
  }
  return vec4<f32>(
    quarter_dot(quarter(part, row, s, w), v),
    quarter_dot(quarter(part, row + 1u, s, w), v),
    quarter_dot(quarter(part, row + 2u, s, w), v),
    quarter_dot(quarter(part, row + 3u, s, w), v),
  );
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let t = group.z;
  let inside = ROWS * (group.x + group.y * 32768u);
  let row = matrix.first_row + inside;
  let writes = index < ROWS && inside + index < matrix.rows && t < tokens_in();
  // On its way while the weights are.
  var before = 0.0;
  if (writes) {
    before = standing(row + index, t);
  }
  // SwiGLU: parts 0 and 1 are gate and up, over the same rows and the same input.
  let parts = select(matrix.parts, 1u, EPILOGUE == SWIGLU);
  var plain = vec4<f32>(0.0);
  var normed = vec4<f32>(0.0);
  var second = vec4<f32>(0.0);
  var squares = 0.0;
  var begin = 0u;  // where this part's quarters begin among the team: parts beside each other are shared out as one row
  for (var p = 0u; p < parts; p++) {
    let part = matrix.part[p];
    if (row < part.first_row || row - part.first_row >= part.rows) {
      continue;
    }
    let under_norm = NORM_X != NO_NORM && part.x >= NORM_X;
    var sum = vec4<f32>(0.0);
    var sum_up = vec4<f32>(0.0);
    for (var i = (index + THREADS - begin) % THREADS; i < 4u * part.strips; i += THREADS) {
      let s = i / 4u;
      let w = i % 4u;
      let column = part.x + 8u * s + w;
      let at = t * matrix.x_stride + column;
      var v = Quarter(x[at], x[at + 4u]);
      if (under_norm) {
        squares += quarter_dot(v, v);
        v = Quarter(v.low * norm[column - NORM_X], v.high * norm[column + 4u - NORM_X]);
      }
      sum += rows_dot(part, row - part.first_row, s, w, v);
      if (EPILOGUE == SWIGLU) {
        sum_up += rows_dot(matrix.part[1], row - part.first_row, s, w, v);
      }
    }
    begin = (begin + 4u * part.strips) % THREADS;
    if (under_norm) {
      normed += part.scale * sum;
    } else {
      plain += part.scale * sum;
    }
    if (EPILOGUE == SWIGLU) {
      second += matrix.part[1].scale * sum_up;
    }
  }
  let slot = index / LANES * 4u + index % LANES;
  let keeps = index % LANES < 4u;
  if (NORM_X == NO_NORM || NORM_X > 0u) {
    let all = reduce_4(plain, index);
    if (keeps) { plain_sums[slot] = all; }
  }
  if (EPILOGUE == SWIGLU) {
    let all = reduce_4(second, index);
    if (keeps) { second_sums[slot] = all; }
  }
  if (NORM_X != NO_NORM) {
    let all = reduce_4(normed, index);
    let all_squares = reduce_4(vec4<f32>(squares, 0.0, 0.0, 0.0), index);
    if (keeps) {
      normed_sums[slot] = all;
      square_sums[slot] = all_squares;
    }
  }
  workgroupBarrier();
  if (!writes) {
    return;
  }
  var result = 0.0;
  var result_up = 0.0;
  var scale = 1.0;
  if (NORM_X != NO_NORM) {
    var total = 0.0;
    for (var i = 0u; i < THREADS / LANES; i++) {
      total += square_sums[4u * i];
      result += normed_sums[4u * i + index];
    }
    scale = inverseSqrt(total / f32(NORM_WIDTH) + NORM_EPS);
    result *= scale;
  }
  if (NORM_X == NO_NORM || NORM_X > 0u) {
    for (var i = 0u; i < THREADS / LANES; i++) {
      result += plain_sums[4u * i + index];
    }
  }
  if (EPILOGUE == SWIGLU) {
    for (var i = 0u; i < THREADS / LANES; i++) {
      result_up += second_sums[4u * i + index];
    }
    result_up *= scale;
  }
  finish(row + index, t, result, result_up, before);
}
