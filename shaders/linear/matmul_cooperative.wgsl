//: kernel: cooperative step tokens matrix epilogue splits
// Y = X W^T for many tokens with cooperative matrices (the named mode, see
// GpuOptions::cooperative): both factors are rounded to f16, products and sums are f32. Tiles of
// 128 rows and 128 tokens in workgroup memory, a strip of 32 columns at a time: the first half of
// the invocations decodes a strip of weights each, the other half brings the tokens; what the next
// strip needs is on its way while this one is multiplied. Then each of the eight subgroups
// multiplies 64 rows with 32 tokens, in tiles of 16 x 16. SwiGLU: 16 rows of gate and the same 16
// of up lie one after the other.
// Grid: (row tiles folded at 32768, folds, ceil(T / 128) times the workgroups that share a tile).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]
@group(0) @binding(5) var<storage, read_write> split_sums: array<f32>;  // matmul_sum.wgsl

// vec4s from row to row of a tile: eight and two, so that rows begin in different banks
const STRIDE: u32 = 10u;

var<workgroup> w_tile: array<vec4<f16>, 128u * STRIDE>;
var<workgroup> x_tile: array<vec4<f16>, 128u * STRIDE>;
var<workgroup> sums: array<f32, 8u * 512u>;   // [16][32] of each subgroup: 16 tokens, 32 rows

// Vec4 i of a strip of the tokens' tile.
fn input(first_token: u32, tokens: u32, column: u32, i: u32) -> vec4<f32> {
  return x[min(first_token + i / 8u, tokens - 1u) * matrix.x_stride + column + i % 8u];
}

// Rows `inside` to `inside` + 31 (SwiGLU: gate and up of 16) of 16 tokens, from a subgroup's sums.
// `split`: which part of the columns it is of.
fn finish_tile(at: u32, lane: u32, inside: u32, t: u32, split: u32, splits: u32) {
  let tokens = tokens_in();
  let width = select(32u, 16u, EPILOGUE == SWIGLU);
  for (var i = lane; i < 16u * width; i += 32u) {
    let r = i % width;
    let token = t + i / width;
    if (inside + r < matrix.rows && token < tokens) {
      let place = at + i / width * 32u + r;
      let second = sums[place + select(0u, 16u, EPILOGUE == SWIGLU)];
      if (splits > 1u) {
        let wide = select(matrix.rows, 2u * matrix.rows, EPILOGUE == SWIGLU);
        let begin = (split * tokens + token) * wide + inside + r;
        split_sums[begin] = sums[place];
        if (EPILOGUE == SWIGLU) {
          split_sums[begin + matrix.rows] = second;
        }
      } else {
        let to = token * matrix.y_stride + matrix.first_row + inside + r;
        finish(to, sums[place], second, standing(to));
      }
    }
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let tokens = tokens_in();
  let rows = select(128u, 64u, EPILOGUE == SWIGLU);
  let splits = splits_of((matrix.rows + rows - 1u) / rows, (tokens + 127u) / 128u);
  let split = group.z % splits;
  let first_token = 128u * (group.z / splits);
  let inside = rows * (group.x + 32768u * group.y);
  let first_row = matrix.first_row + inside;
  let parts = select(matrix.parts, 1u, EPILOGUE == SWIGLU);
  let warp = index / 32u;
  let t_0 = 32u * (warp / 2u);   // the subgroup's tokens of the tile
  let r_0 = 64u * (warp % 2u);   // and its rows
  let decodes = index < 128u;
  let i = index % 128u;
  // The row that this invocation decodes, and of which sum.
  let second = select(0u, (i / 16u) % 2u, EPILOGUE == SWIGLU);
  let row = first_row + select(i, 16u * (i / 32u) + i % 16u, EPILOGUE == SWIGLU);

  //: for i in 0..2
  //: for j in 0..4
  var c_{i}{j} = coop_mat16x16<f32, C>();
  //: end
  //: end

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
    //: for k in 0..8
    var x_{k} = input(first_token, tokens, column + 8u * begin, i{+ 128 * k});
    //: end
    for (var s = split; s < strips; s += splits) {
      workgroupBarrier();
      if (decodes) {
        let w = scaled(decode(raw, part, part_row, s), scale);
        let to = i * STRIDE;
        //: for k, part in a b c d e f g h
        w_tile[to{+ k}] = vec4<f16>(w.{part});
        //: end
      } else {
        let to = i / 8u * STRIDE + i % 8u;
        //: for k in 0..8
        x_tile[to{+ 16 * k * STRIDE}] = halves(x_{k});
        //: end
      }
      workgroupBarrier();
      // What the next strip needs is on its way while this one is multiplied.
      let next = min(s + splits, strips - 1u);
      if (decodes) {
        raw = load(part, part_row, next);
      } else {
        let at = column + 8u * next;
        //: for k in 0..8
        x_{k} = input(first_token, tokens, at, i{+ 128 * k});
        //: end
      }
      for (var k = 0u; k < 8u; k += 4u) {
        let a_0 = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[t_0 * STRIDE + k], STRIDE);
        let a_1 = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[(t_0 + 16u) * STRIDE + k], STRIDE);
        let b_0 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[r_0 * STRIDE + k], STRIDE);
        c_00 = coopMultiplyAdd(a_0, b_0, c_00);
        c_10 = coopMultiplyAdd(a_1, b_0, c_10);
        let b_1 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[(r_0 + 16u) * STRIDE + k], STRIDE);
        c_01 = coopMultiplyAdd(a_0, b_1, c_01);
        c_11 = coopMultiplyAdd(a_1, b_1, c_11);
        let b_2 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[(r_0 + 32u) * STRIDE + k], STRIDE);
        c_02 = coopMultiplyAdd(a_0, b_2, c_02);
        c_12 = coopMultiplyAdd(a_1, b_2, c_12);
        let b_3 = coopLoad<coop_mat16x16<f16, B>>(&w_tile[(r_0 + 48u) * STRIDE + k], STRIDE);
        c_03 = coopMultiplyAdd(a_0, b_3, c_03);
        c_13 = coopMultiplyAdd(a_1, b_3, c_13);
      }
    }
  }

  let at = 512u * warp;
  let lane = index % 32u;
  let t = first_token + t_0;
  let r = inside + select(r_0, r_0 / 2u, EPILOGUE == SWIGLU);
  let next = select(32u, 16u, EPILOGUE == SWIGLU);
  coopStoreT(c_00, &sums[at], 32u);
  coopStoreT(c_01, &sums[at + 16u], 32u);
  workgroupBarrier();
  finish_tile(at, lane, r, t, split, splits);
  workgroupBarrier();
  coopStoreT(c_02, &sums[at], 32u);
  coopStoreT(c_03, &sums[at + 16u], 32u);
  workgroupBarrier();
  finish_tile(at, lane, r + next, t, split, splits);
  workgroupBarrier();
  coopStoreT(c_10, &sums[at], 32u);
  coopStoreT(c_11, &sums[at + 16u], 32u);
  workgroupBarrier();
  finish_tile(at, lane, r, t + 16u, split, splits);
  workgroupBarrier();
  coopStoreT(c_12, &sums[at], 32u);
  coopStoreT(c_13, &sums[at + 16u], 32u);
  workgroupBarrier();
  finish_tile(at, lane, r + next, t + 16u, split, splits);
}
