//: kernel: step tokens matrix epilogue splits | step tokens matrix epilogue splits lora
// Y = X W^T for many tokens on a GPU: tiles of 64 rows and 64 tokens in workgroup memory, a strip
// of 32 columns at a time. Half of the invocations decode a strip of weights each, all of them
// bring the tokens; what the next strip needs is on its way while this one is multiplied: each of
// the 128 multiplies 8 rows with 4 tokens. SwiGLU: 32 rows of gate and the same 32 of up make one
// tile.
// Grid: (row tiles folded at 32768, folds, ceil(T / 64) times the workgroups that share a tile).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]
@group(0) @binding(5) var<storage, read_write> split_sums: array<f32>;  // matmul_sum.wgsl
//: if lora
// With adapters: B times their t = A x, as strips behind the matrix's.
@group(0) @binding(6) var<uniform> lora: Lora;
@group(0) @binding(7) var<storage, read> lora_b: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read> lora_t: array<vec4<f32>>;      // [T, lora.rank]
//: end

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

// Vec4 `i` of a strip of the tokens' tile, which begins in that column.
fn input(first_token: u32, tokens: u32, column: u32, i: u32) -> vec4<f32> {
  return x[min(first_token + i / 8u, tokens - 1u) * matrix.x_stride + column + i % 8u];
}

// A strip of row `r` of the tile.
fn stage_row(w: Strip, r: u32) {
  let to = r * 8u;
  let k = r % 8u;
  w_tile[to + k] = w.a;
  //: for j, part in b c d e f g h
  w_tile[to + ({j + 1}u ^ k)] = w.{part};
  //: end
}

// Of eight rows, four tokens each: names and not an array, which would lie in memory.
struct Sums {
  //: for i in 0..8
  of_{i}: vec4<f32>,
  //: end
}

// The sums with those of the strip that is staged: of rows down, down + 8, ... and tokens along,
// along + 16, ...
fn multiplied(before: Sums, down: u32, along: u32) -> Sums {
  var sums = before;
  for (var j = 0u; j < 8u; j++) {
    let place = along * 8u + (j ^ (along % 8u));
    //: for i in 0..4
    let v_{i} = x_tile[place{+ 128 * i}];
    //: end
    let of_row = down * 8u + (j ^ down);
    //: for i in 0..8
    sums.of_{i} = outer(w_tile[of_row{+ 64 * i}], v_0, v_1, v_2, v_3, sums.of_{i});
    //: end
  }
  return sums;
}

//: if lora
// Vec4 `i` of strip s of t.
fn t_of(first_token: u32, tokens: u32, s: u32, i: u32) -> vec4<f32> {
  let k = 8u * s + i % 8u;
  let t = lora_t[min(first_token + i / 8u, tokens - 1u) * lora.rank + min(k, lora.rank - 1u)];
  return select(vec4<f32>(0.0), t, k < lora.rank);
}

// What B has in a row for strip s of t: nothing where the ranks are another projection's.
fn b_of(row: u32, s: u32) -> Strip {
  var strip = Strip();
  for (var p = 0u; p < lora.parts; p++) {
    let part = lora.part[p];
    if (row < part.first_row || row - part.first_row >= part.rows) {
      continue;
    }
    let first = part.b + (row - part.first_row) * part.rank;
    let k = 8u * s - part.t;  // wraps around before the part's ranks: then it is more than all
    //: for j, name in a b c d e f g h
    if (k + {j}u < part.rank) { strip.{name} = lora_b[first + k + {j}u]; }
    //: end
  }
  return strip;
}

//: end
// A row for tokens t, t + 16, t + 32 and t + 48; `split`: which part of the columns it is of.
fn finish_4(inside: u32, t: u32, split: u32, splits: u32, sum: vec4<f32>, second: vec4<f32>) {
  if (inside >= matrix.rows) {
    return;
  }
  let tokens = tokens_in();
  for (var j = 0u; j < 4u; j++) {
    let token = t + 16u * j;
    if (token < tokens) {
      if (splits > 1u) {
        let width = select(matrix.rows, 2u * matrix.rows, EPILOGUE == SWIGLU);
        let at = (split * tokens + token) * width + inside;
        split_sums[at] = sum[j];
        if (EPILOGUE == SWIGLU) {
          split_sums[at + matrix.rows] = second[j];
        }
      } else {
        let to = token * matrix.y_stride + matrix.first_row + inside;
        finish(to, sum[j], second[j], standing(to));
      }
    }
  }
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let tokens = tokens_in();
  let rows = select(64u, 32u, EPILOGUE == SWIGLU);
  let splits = splits_of((matrix.rows + rows - 1u) / rows, (tokens + 63u) / 64u);
  let split = group.z % splits;
  let first_token = 64u * (group.z / splits);
  let inside = rows * (group.x + 32768u * group.y);
  let first_row = matrix.first_row + inside;
  let parts = select(matrix.parts, 1u, EPILOGUE == SWIGLU);
  let down = index % 8u;     // rows down, down + 8, ... of the tile
  let along = index / 8u;    // tokens along, along + 16, ...
  // The row that this invocation decodes, and of which sum.
  let decodes = index < 64u;
  let second = select(0u, (index / 32u) % 2u, EPILOGUE == SWIGLU);
  let row = first_row + index % rows;
  var sums = Sums();
  for (var p = 0u; p < parts; p++) {
    let from_row = matrix.part[p].first_row;
    if (from_row >= first_row + rows || from_row + matrix.part[p].rows <= first_row) {
      continue;
    }
    let strips = matrix.part[p].strips;
    let part = matrix.part[p + second];
    let covered = row >= part.first_row && row - part.first_row < part.rows;
    let part_row = select(0u, row - part.first_row, covered);
    let scale = select(0.0, part.scale, covered);
    let column = matrix.part[p].x;
    let begin = min(split, strips - 1u);
    var raw = load(part, part_row, begin);
    //: for i in 0..4
    var x_{i} = input(first_token, tokens, column + 8u * begin, index{+ 128 * i});
    //: end
    for (var s = split; s < strips; s += splits) {
      if (decodes) {
        stage_row(scaled(decode(raw, part, part_row, s), scale), index);
      }
      let to = along * 8u + (down ^ (along % 8u));
      //: for i in 0..4
      x_tile[to{+ 128 * i}] = x_{i};
      //: end
      workgroupBarrier();
      // What the next strip needs is on its way while this one is multiplied.
      let next = min(s + splits, strips - 1u);
      if (decodes) {
        raw = load(part, part_row, next);
      }
      let at = column + 8u * next;
      //: for i in 0..4
      x_{i} = input(first_token, tokens, at, index{+ 128 * i});
      //: end
      sums = multiplied(sums, down, along);
      workgroupBarrier();
    }
  }
  //: if lora
  let lora_row = select(row, lora.rows + row, second == 1u);
  for (var s = split; 8u * s < lora.rank; s += splits) {
    if (decodes) {
      stage_row(b_of(lora_row, s), index);
    }
    let to = along * 8u + (down ^ (along % 8u));
    //: for i in 0..4
    x_tile[to{+ 128 * i}] = t_of(first_token, tokens, s, index{+ 128 * i});
    //: end
    workgroupBarrier();
    sums = multiplied(sums, down, along);
    workgroupBarrier();
  }
  //: end
  let t = first_token + along;
  let r = inside + down;
  if (EPILOGUE == SWIGLU) {
    //: for i in 0..4
    finish_4(r{+ 8 * i}, t, split, splits, sums.of_{i}, sums.of_{i + 4});
    //: end
    return;
  }
  //: for i in 0..8
  finish_4(r{+ 8 * i}, t, split, splits, sums.of_{i}, sums.of_{i});
  //: end
}
