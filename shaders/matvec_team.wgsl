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
override ROWS: u32 = 1u;                // 1, or 4 where no four rows from a multiple of 4 on belong to different parts
override ROUNDS: u32 = 1u;              // quarter strips of a row, over THREADS, rounded up
override NORM_X: u32 = NO_NORM;         // parts whose input begins at this vec4 or after it are normalised, together
override NORM_WIDTH: u32 = 1u;          // values under the norm
override NORM_EPS: f32 = 0.0;

// What LANES invocations have summed: [THREADS / LANES, 4] for each of the four sums below.
var<workgroup> plain_sums: array<f32, THREADS>;
var<workgroup> normed_sums: array<f32, THREADS>;
var<workgroup> second_sums: array<f32, THREADS>;
var<workgroup> square_sums: array<f32, THREADS>;

struct Inputs {
  low: vec4<f32>,
  high: vec4<f32>,
  sums: vec2<f32>,
}

fn quarter_dot(w: Quarter, v: Inputs) -> f32 {
  return dot(w.scale, vec2<f32>(dot(w.low, v.low), dot(w.high, v.high))) + dot(w.offset, v.sums);
}

// Quarter `w` of strip `s` of ROWS rows from `row` on, times v. Rows after the part's last are its last again, and dropped.
fn rows_dot(part: Part, row: u32, s: u32, w: u32, v: Inputs) -> vec4<f32> {
  if (ROWS == 1u) {
    return vec4<f32>(quarter_dot(quarter(part, row, s, w), v), 0.0, 0.0, 0.0);
  }
  let last = part.rows - 1u;
  return vec4<f32>(
    quarter_dot(quarter(part, row, s, w), v),
    quarter_dot(quarter(part, min(row + 1u, last), s, w), v),
    quarter_dot(quarter(part, min(row + 2u, last), s, w), v),
    quarter_dot(quarter(part, min(row + 3u, last), s, w), v),
  );
}

fn covers(p: u32, row: u32) -> bool {
  return row >= matrix.part[p].first_row && row - matrix.part[p].first_row < matrix.part[p].rows;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let t = group.z;
  let inside = ROWS * (group.x + group.y * 32768u);
  if (inside >= matrix.rows) {
    return;
  }
  let row = matrix.first_row + inside;
  let writes = index < ROWS && inside + index < matrix.rows && t < tokens_in();
  // On its way while the weights are.
  var before = 0.0;
  if (writes) {
    before = standing(row + index, t);
  }
  // The part that covers the rows, or the two that stand beside each other; of SwiGLU, gate and up over the same input.
  var first = 0u;
  var beside = 0u;
  var found = 1u;
  if (EPILOGUE != SWIGLU) {
    found = 0u;
    for (var p = 0u; p < matrix.parts; p++) {
      if (covers(p, row)) {
        first = select(first, p, found == 0u);
        beside = p;
        found += 1u;
      }
    }
  }
  let split = 4u * matrix.part[first].strips;
  let units = split + select(0u, 4u * matrix.part[beside].strips, found > 1u);
  var plain = vec4<f32>(0.0);
  var normed = vec4<f32>(0.0);
  var second = vec4<f32>(0.0);
  var squares = 0.0;
  // No branch inside: all loads of all rounds may be on their way at once.
  for (var round = 0u; round < ROUNDS; round++) {
    let unit = min(index + round * THREADS, units - 1u);
    let is_beside = unit >= split;
    let part = matrix.part[select(first, beside, is_beside)];
    let i = unit - select(0u, split, is_beside);
    let s = i / 4u;
    let w = i % 4u;
    let column = part.x + 8u * s + w;
    let at = t * matrix.x_stride + column;
    let is_mine = index + round * THREADS < units;
    var low = select(vec4<f32>(0.0), x[at], is_mine);
    var high = select(vec4<f32>(0.0), x[at + 4u], is_mine);
    let under_norm = NORM_X != NO_NORM && column >= NORM_X;
    if (NORM_X != NO_NORM) {
      squares += select(0.0, dot(low, low) + dot(high, high), under_norm);
      let from_norm = select(0u, column - NORM_X, under_norm);
      low *= select(vec4<f32>(1.0), norm[from_norm], under_norm);
      high *= select(vec4<f32>(1.0), norm[from_norm + 4u], under_norm);
    }
    let v = Inputs(low, high, vec2<f32>(dot(low, vec4<f32>(1.0)), dot(high, vec4<f32>(1.0))));
    let sum = part.scale * rows_dot(part, row - part.first_row, s, w, v);
    if (NORM_X == NO_NORM) {
      plain += sum;
    } else if (NORM_X == 0u) {
      normed += sum;
    } else {
      plain += select(sum, vec4<f32>(0.0), under_norm);
      normed += select(vec4<f32>(0.0), sum, under_norm);
    }
    if (EPILOGUE == SWIGLU) {
      let up = matrix.part[1];
      second += up.scale * rows_dot(up, row - up.first_row, s, w, v);
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
