//: kernel: step tokens matrix epilogue
// Y = X W^T for many tokens on a GPU: tiles of 64 rows and 64 tokens in workgroup memory, a strip
// of 32 columns at a time. Half of the invocations decode a strip of weights each, the other half
// load a strip of a token each; then each of the 128 multiplies 8 rows with 4 tokens. SwiGLU: 32
// rows of gate and the same 32 of up make one tile.
// Grid: (row tiles folded at 32768, folds, ceil(tokens / 64)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]

// [64][8]: vec4 j of row r at j ^ (r % 8), so that neighbors who read the same column of different
// rows meet different banks.
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
  //: for i in 0..8
  var sum_{i} = vec4<f32>(0.0);
  //: end
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
        //: for i in 1..8
        x_tile[to + ({i}u ^ k)] = x[at + {i}u];
        //: end
      }
      workgroupBarrier();
      for (var j = 0u; j < 8u; j++) {
        let column = along * 8u + (j ^ (along % 8u));
        //: for i in 0..4
        let x{i} = x_tile[column{+ 128 * i}];
        //: end
        let row = down * 8u + (j ^ down);
        //: for i in 0..8
        sum_{i} = outer(w_tile[row{+ 64 * i}], x0, x1, x2, x3, sum_{i});
        //: end
      }
      workgroupBarrier();
    }
  }
  let t = first_token + along;
  let r = inside + down;
  if (EPILOGUE == SWIGLU) {
    //: for i in 0..4
    finish_4(r{+ 8 * i}, t, sum_{i}, sum_{i + 4});
    //: end
    return;
  }
  //: for i in 0..8
  finish_4(r{+ 8 * i}, t, sum_{i}, sum_{i});
  //: end
}
