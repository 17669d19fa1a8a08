//: kernel: cooperative step ssd_cooperative
// What each chunk of a prompt adds to the state of each head, and C . B of its tokens, with
// cooperative matrices: ssd_states where the device has them. Workgroups 0 .. n tiles - 1: a tile
// of 64 x 128 of a head's state, or of 64 x 64 where N is no multiple of 128; a subgroup makes 16
// channels and half of the columns from all 64 tokens. The rest: C . B of one group, 16 x 32 a
// subgroup. Grid: (H P / 64 N / 128 + G, ceil(T / 64)), or N / 64.
@group(0) @binding(0) var<uniform> now: Step;
// [T, READY_STRIDE / 4], see prepare.wgsl
@group(0) @binding(1) var<storage, read> ready: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> mamba: array<f32>;         // see prepare.wgsl
@group(0) @binding(3) var<storage, read_write> states: array<f32>;  // [chunks, H, P, N]
// [chunks, G, 64, 64]: C_i . B_j
@group(0) @binding(4) var<storage, read_write> products: array<f32>;
@group(0) @binding(5) var<storage, read_write> decays: array<f32>;  // [chunks, H, 64]: a

const WIDE_ROW: u32 = 34u;   // as ROW, of a tile of 128 columns

// [tokens][channels]; 64 values of C of each token
var<workgroup> x_tile: array<vec4<f16>, CHUNK * ROW>;
var<workgroup> b_tile: array<vec4<f16>, CHUNK * WIDE_ROW>;  // [tokens][n]
var<workgroup> weights: array<f32, CHUNK>;                  // exp(a_end - a_j) delta_j

// C_i . B_j for all i (rows of the product) and j (columns).
fn products_of(group: u32, chunk: u32, index: u32) {
  let warp = index / 32u;
  let row = index / 16u;
  let quad = index % 16u;
  let t = CHUNK * chunk + row;
  let to = row * ROW + quad;
  let wide_to = row * WIDE_ROW + quad;
  let i = 16u * (warp % 4u);   // the subgroup's rows of the product, and its columns
  let j = 32u * (warp / 4u);
  var sum_0 = coop_mat16x16<f32, C>();
  var sum_1 = coop_mat16x16<f32, C>();
  for (var n = 0u; n < N / 4u; n += 16u) {
    //: for m in c b
    //: for i in 0..4
    let {m}_{i} = ready[{m}_of(t{+ 16 * i}, group) + n + quad];
    //: end
    //: end
    workgroupBarrier();
    //: for i in 0..4
    x_tile[to{+ 16 * i * ROW}] = halves(c_{i});
    //: end
    //: for i in 0..4
    b_tile[wide_to{+ 16 * i * WIDE_ROW}] = halves(b_{i});
    //: end
    workgroupBarrier();
    for (var k = 0u; k < 16u; k += 4u) {
      let c = coopLoadT<coop_mat16x16<f16, A>>(&x_tile[i * ROW + k], ROW);
      let b = coopLoad<coop_mat16x16<f16, B>>(&b_tile[j * WIDE_ROW + k], WIDE_ROW);
      sum_0 = coopMultiplyAdd(c, b, sum_0);
      let far = coopLoad<coop_mat16x16<f16, B>>(&b_tile[(j + 16u) * WIDE_ROW + k], WIDE_ROW);
      sum_1 = coopMultiplyAdd(c, far, sum_1);
    }
  }
  let first = ((chunk * G + group) * CHUNK + i) * CHUNK + j;
  coopStoreT(sum_0, &products[first], CHUNK);
  coopStoreT(sum_1, &products[first + 16u], CHUNK);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let chunk = group.y;
  let wide = select(64u, 128u, N % 128u == 0u);
  let n_tiles = N / wide;
  let tiles = P / 64u * n_tiles;
  if (group.x >= SSM_HEADS * tiles) {
    products_of(group.x - SSM_HEADS * tiles, chunk, index);
    return;
  }
  let head = group.x / tiles;
  let tile = group.x % tiles;
  let first_n = wide * (tile % n_tiles);
  let first_p = 64u * (tile / n_tiles);
  let t = CHUNK * chunk;
  let warp = index / 32u;
  let lane = index % 32u;
  // What it brings: four channels of tokens row, row + 16, ..., and four n of tokens warp, warp +
  // 8, ...
  let row = index / 16u;
  let quad = index % 16u;
  let x = (head * P + first_p) / 4u + quad;
  //: for i in 0..4
  let x_{i} = ready[x_of(t + row{+ 16 * i}) + x];
  //: end
  let of_group = head / (SSM_HEADS / G);
  let b = first_n / 4u + min(lane, wide / 4u - 1u);
  //: for i in 0..8
  let b_{i} = ready[b_of(t + warp{+ 8 * i}, of_group) + b];
  //: end

  // Every subgroup sums up delta A, two tokens an invocation.
  let a = mamba[CONV_DIM * (D_CONV + 1u) + SSM_HEADS + head];
  let delta_0 = delta_of(t + 2u * lane, head);
  let delta_1 = delta_of(t + 2u * lane + 1u, head);
  let both = (delta_0 + delta_1) * a;
  let before = subgroupExclusiveAdd(both);
  let a_0 = before + delta_0 * a;
  let a_1 = before + both;
  let end = subgroupShuffle(a_1, 31u);
  if (warp == 0u) {
    weights[2u * lane] = exp(end - a_0) * delta_0;
    weights[2u * lane + 1u] = exp(end - a_1) * delta_1;
    if (tile == 0u) {
      let to = (chunk * SSM_HEADS + head) * CHUNK + 2u * lane;
      decays[to] = a_0;
      decays[to + 1u] = a_1;
    }
  }
  workgroupBarrier();
  let to = row * ROW + quad;
  //: for i in 0..4
  x_tile[to{+ 16 * i * ROW}] = halves(weights[row{+ 16 * i}] * x_{i});
  //: end
  let wide_to = warp * WIDE_ROW + lane;
  //: for i in 0..8
  b_tile[wide_to{+ 8 * i * WIDE_ROW}] = halves(b_{i});
  //: end
  workgroupBarrier();

  let p = 16u * (warp % 4u);   // the subgroup's channels of the tile, and its n
  let n = wide / 2u * (warp / 4u);
  //: for i in 0..4
  var sum_{i} = coop_mat16x16<f32, C>();
  //: end
  for (var j = 0u; j < CHUNK; j += 16u) {
    // Channels are the rows of the product, and the columns of what lies in memory.
    let x = coopLoad<coop_mat16x16<f16, A>>(&x_tile[j * ROW + p / 4u], ROW);
    let at = j * WIDE_ROW + n / 4u;
    sum_0 = coopMultiplyAdd(x, coopLoadT<coop_mat16x16<f16, B>>(&b_tile[at], WIDE_ROW), sum_0);
    sum_1 = coopMultiplyAdd(x, coopLoadT<coop_mat16x16<f16, B>>(&b_tile[at + 4u], WIDE_ROW), sum_1);
    if (N % 128u == 0u) {
      sum_2 = coopMultiplyAdd(x, coopLoadT<coop_mat16x16<f16, B>>(&b_tile[at + 8u], WIDE_ROW), sum_2);
      sum_3 = coopMultiplyAdd(x, coopLoadT<coop_mat16x16<f16, B>>(&b_tile[at + 12u], WIDE_ROW), sum_3);
    }
  }
  let first = ((chunk * SSM_HEADS + head) * P + first_p + p) * N + first_n + n;
  coopStoreT(sum_0, &states[first], N);
  coopStoreT(sum_1, &states[first + 16u], N);
  if (N % 128u == 0u) {
    coopStoreT(sum_2, &states[first + 32u], N);
    coopStoreT(sum_3, &states[first + 48u], N);
  }
}
