// Y = X W^T for many tokens on a GPU: tiles of 64 rows and 64 tokens in workgroup memory, a strip of 32 columns at a time. Half
// of the invocations decode a strip of weights each, the other half load a strip of a token each; then each of the 128
// multiplies 8 rows with 4 tokens. SwiGLU: 32 rows of gate and the same 32 of up make one tile.
// Grid: (row tiles folded at 32768, folds, ceil(tokens / 64)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]

// [64][8]: vec4 j of row r at j ^ (r % 8), so that neighbours who read the same column of different rows meet different banks.
var<workgroup> w_tile: array<vec4<f32>, 512>;
var<workgroup> x_tile: array<vec4<f32>, 512>;

// Four columns of one row times four tokens.
fn outer(w: vec4<f32>, x0: vec4<f32>, x1: vec4<f32>, x2: vec4<f32>, x3: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
  var s = fma(vec4<f32>(w.x), vec4<f32>(x0.x, x1.x, x2.x, x3.x), sum);
  s = fma(vec4<f32>(w.y), vec4<f32>(x0.y, x1.y, x2.y, x3.y), s);
  s = fma(vec4<f32>(w.z), vec4<f32>(x0.z, x1.z, x2.z, x3.z), s);
  return fma(vec4<f32>(w.w), vec4<f32>(x0.w, x1.w, x2.w, x3.w), s);
}

// A row for tokens t, t + 16, t + 32 and t + 48.
fn finish_4(inside: u32, t: u32, sum: vec4<f32>, second: vec4<f32>) {
  if (inside >= matrix.rows) {
    return;
  }
  for (var j = 0u; j < 4u; j++) {
    if (t + 16u * j < tokens_in()) {
      let to = (t + 16u * j) * matrix.y_stride + matrix.first_row + inside;
      finish(to, sum[j], second[j], standing(to));
    }
  }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let tokens = tokens_in();
  let first_token = 64u * group.z;
  let rows = select(64u, 32u, EPILOGUE == SWIGLU);
  let inside = rows * (group.x + 32768u * group.y);
  let first_row = matrix.first_row + inside;
  let parts = select(matrix.parts, 1u, EPILOGUE == SWIGLU);
  let down = index % 8u;     // rows down, down + 8, ... of the tile
  let along = index / 8u;    // tokens along, along + 16, ...
  // Eight names and not an array, which would lie in memory.
  var sum_0 = vec4<f32>(0.0);
  var sum_1 = vec4<f32>(0.0);
  var sum_2 = vec4<f32>(0.0);
  var sum_3 = vec4<f32>(0.0);
  var sum_4 = vec4<f32>(0.0);
  var sum_5 = vec4<f32>(0.0);
  var sum_6 = vec4<f32>(0.0);
  var sum_7 = vec4<f32>(0.0);
  for (var p = 0u; p < parts; p++) {
    let from_row = matrix.part[p].first_row;
    if (from_row >= first_row + rows || from_row + matrix.part[p].rows <= first_row) {
      continue;
    }
    let strips = matrix.part[p].strips;
    for (var s = 0u; s < strips; s++) {
      if (index < 64u) {
        let part = matrix.part[p + select(0u, index / 32u, EPILOGUE == SWIGLU)];
        let row = first_row + index % rows;
        var w = Strip();
        if (row >= part.first_row && row - part.first_row < part.rows) {
          w = strip(part, row - part.first_row, s);
        }
        w = scaled(w, part.scale);
        let to = index * 8u;
        let k = index % 8u;
        w_tile[to + k] = w.a;
        w_tile[to + (1u ^ k)] = w.b;
        w_tile[to + (2u ^ k)] = w.c;
        w_tile[to + (3u ^ k)] = w.d;
        w_tile[to + (4u ^ k)] = w.e;
        w_tile[to + (5u ^ k)] = w.f;
        w_tile[to + (6u ^ k)] = w.g;
        w_tile[to + (7u ^ k)] = w.h;
      } else {
        let i = index - 64u;
        let at = min(first_token + i, tokens - 1u) * matrix.x_stride + matrix.part[p].x + 8u * s;
        let to = i * 8u;
        let k = i % 8u;
        x_tile[to + k] = x[at];
        x_tile[to + (1u ^ k)] = x[at + 1u];
        x_tile[to + (2u ^ k)] = x[at + 2u];
        x_tile[to + (3u ^ k)] = x[at + 3u];
        x_tile[to + (4u ^ k)] = x[at + 4u];
        x_tile[to + (5u ^ k)] = x[at + 5u];
        x_tile[to + (6u ^ k)] = x[at + 6u];
        x_tile[to + (7u ^ k)] = x[at + 7u];
      }
      workgroupBarrier();
      for (var j = 0u; j < 8u; j++) {
        let column = along * 8u + (j ^ (along % 8u));
        let x0 = x_tile[column];
        let x1 = x_tile[column + 128u];
        let x2 = x_tile[column + 256u];
        let x3 = x_tile[column + 384u];
        let row = down * 8u + (j ^ down);
        sum_0 = outer(w_tile[row], x0, x1, x2, x3, sum_0);
        sum_1 = outer(w_tile[row + 64u], x0, x1, x2, x3, sum_1);
        sum_2 = outer(w_tile[row + 128u], x0, x1, x2, x3, sum_2);
        sum_3 = outer(w_tile[row + 192u], x0, x1, x2, x3, sum_3);
        sum_4 = outer(w_tile[row + 256u], x0, x1, x2, x3, sum_4);
        sum_5 = outer(w_tile[row + 320u], x0, x1, x2, x3, sum_5);
        sum_6 = outer(w_tile[row + 384u], x0, x1, x2, x3, sum_6);
        sum_7 = outer(w_tile[row + 448u], x0, x1, x2, x3, sum_7);
      }
      workgroupBarrier();
    }
  }
  let t = first_token + along;
  let r = inside + down;
  if (EPILOGUE == SWIGLU) {
    finish_4(r, t, sum_0, sum_4);
    finish_4(r + 8u, t, sum_1, sum_5);
    finish_4(r + 16u, t, sum_2, sum_6);
    finish_4(r + 24u, t, sum_3, sum_7);
    return;
  }
  finish_4(r, t, sum_0, sum_0);
  finish_4(r + 8u, t, sum_1, sum_1);
  finish_4(r + 16u, t, sum_2, sum_2);
  finish_4(r + 24u, t, sum_3, sum_3);
  finish_4(r + 32u, t, sum_4, sum_4);
  finish_4(r + 40u, t, sum_5, sum_5);
  finish_4(r + 48u, t, sum_6, sum_6);
  finish_4(r + 56u, t, sum_7, sum_7);
}
