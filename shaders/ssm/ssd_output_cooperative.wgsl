//: kernel: cooperative step ssd_cooperative
// The SSM heads' output from the states before each chunk, with cooperative matrices: ssd_output
// where the device has them. A workgroup is one chunk of one head, 64 of its channels; a subgroup
// adds up 16 tokens and 32 channels, first over the tokens of the chunk, then over the state before
// it, 64 terms at a time. What comes next is on its way while this is multiplied. Grid: (H P / 64,
// ceil(T / 64)).
@group(0) @binding(0) var<uniform> now: Step;
// [T, READY_STRIDE / 4], see prepare.wgsl
@group(0) @binding(1) var<storage, read> ready: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> mamba: array<f32>;   // see prepare.wgsl
// [chunks, H, P, N / 4]: before each chunk
@group(0) @binding(3) var<storage, read> states: array<vec4<f32>>;
// [chunks, G, 64, 64 / 4]: C_i . B_j
@group(0) @binding(4) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> decays: array<f32>;  // [chunks, H, 64]: a
@group(0) @binding(6) var<storage, read> proj: array<f32>;    // [T, PROJ_STRIDE], see prepare.wgsl
// [T, MIXED_STRIDE / 4]: attention | SSM at SSM_OFFSET
@group(0) @binding(7) var<storage, read_write> mixed: array<vec4<f32>>;

override PROJ_STRIDE: u32;
override COLUMNS: u32;    // where x begins in a row of proj; z lies in front of it
override MIXED_STRIDE: u32;
override SSM_OFFSET: u32;

var<workgroup> row_tile: array<vec4<f16>, CHUNK * ROW>;  // [tokens][terms]
// [tokens][channels]; then [channels][n]
var<workgroup> column_tile: array<vec4<f16>, CHUNK * ROW>;
var<workgroup> sums: array<vec4<f32>, CHUNK * ROW>;      // [tokens][channels]

// Shares of four tokens j in a token i.
fn shares_of(i: u32, j: u32, product: vec4<f32>, a_i: f32, a_j: vec4<f32>, delta: vec4<f32>) -> vec4<f16> {
  let sees = vec4<u32>(j) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(i);
  return halves(select(vec4<f32>(0.0), product * exp(vec4<f32>(a_i) - a_j) * delta, sees));
}

// D skip and gate of four channels of a token.
fn finish(token: u32, head: u32, channel: u32, skip: f32, sum: vec4<f32>) {
  if (token < now.tokens) {
    let x = ready[x_of(token) + channel / 4u];
    let at = token * PROJ_STRIDE + COLUMNS - D_SSM + channel;
    let z = vec4<f32>(proj[at], proj[at + 1u], proj[at + 2u], proj[at + 3u]);
    mixed[(token * MIXED_STRIDE + SSM_OFFSET + channel) / 4u] = (sum + skip * x) * z / (vec4<f32>(1.0) + exp(-z));
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let chunk = group.y;
  let p_tiles = P / 64u;
  let head = group.x / p_tiles;
  let first_p = 64u * (group.x % p_tiles);
  let of_group = head / (SSM_HEADS / G);
  let t = CHUNK * chunk;
  let warp = index / 32u;
  let i = 16u * (warp % 4u);   // the subgroup's tokens, and its channels
  let p = 32u * (warp / 4u);
  // What it brings of a tile: a four of rows row, row + 16, row + 32, row + 48.
  let row = index / 16u;
  let quad = index % 16u;
  let to = row * ROW + quad;
  let channel = head * P + first_p + 4u * quad;

  // Tokens of the chunk.
  let a = (chunk * SSM_HEADS + head) * CHUNK;
  let product = ((chunk * G + of_group) * CHUNK + row) * (CHUNK / 4u) + quad;
  //: for k in 0..4
  let product_{k} = products[product{+ 4 * k * CHUNK}];
  //: end
  //: for k in 0..4
  let x_{k} = ready[x_of(t + row{+ 16 * k}) + channel / 4u];
  //: end
  let j = 4u * quad;
  let a_j = vec4<f32>(decays[a + j], decays[a + j + 1u], decays[a + j + 2u], decays[a + j + 3u]);
  let delta = vec4<f32>(delta_of(t + j, head), delta_of(t + j + 1u, head), delta_of(t + j + 2u, head), delta_of(t + j + 3u, head));
  //: for k in 0..4
  let a_{k} = decays[a + row{+ 16 * k}];
  //: end
  //: for k in 0..4
  row_tile[to{+ 16 * k * ROW}] = shares_of(row{+ 16 * k}, j, product_{k}, a_{k}, a_j, delta);
  //: end
  //: for k in 0..4
  column_tile[to{+ 16 * k * ROW}] = halves(x_{k});
  //: end
  workgroupBarrier();

  let state = ((chunk * SSM_HEADS + head) * P + first_p + row) * (N / 4u) + quad;
  //: for k in 0..4
  let from_{k} = c_of(t + row{+ 16 * k}, of_group) + quad;
  //: end
  //: for k in 0..4
  var s_{k} = states[state{+ 4 * k * N}];
  //: end
  //: for k in 0..4
  var c_{k} = ready[from_{k}];
  //: end
  var sum_0 = coop_mat16x16<f32, C>();
  var sum_1 = coop_mat16x16<f32, C>();
  for (var k = 0u; k < CHUNK; k += 16u) {
    let share = coopLoadT<coop_mat16x16<f16, A>>(&row_tile[i * ROW + k / 4u], ROW);
    let at = k * ROW + p / 4u;
    sum_0 = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&column_tile[at], ROW), sum_0);
    sum_1 = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&column_tile[at + 4u], ROW), sum_1);
  }

  // The state before the chunk.
  //: for k in 0..4
  let fade_{k} = exp(a_{k});
  //: end
  for (var n = 0u; n < N / 4u; n += 16u) {
    workgroupBarrier();
    //: for k in 0..4
    row_tile[to{+ 16 * k * ROW}] = halves(fade_{k} * c_{k});
    //: end
    //: for k in 0..4
    column_tile[to{+ 16 * k * ROW}] = halves(s_{k});
    //: end
    workgroupBarrier();
    let next = min(n + 16u, N / 4u - 16u);
    //: for k in 0..4
    s_{k} = states[state + next{+ 4 * k * N}];
    //: end
    //: for k in 0..4
    c_{k} = ready[from_{k} + next];
    //: end
    for (var k = 0u; k < 16u; k += 4u) {
      let c = coopLoadT<coop_mat16x16<f16, A>>(&row_tile[i * ROW + k], ROW);
      // Channels are the columns of the product, and the rows of what lies in memory.
      sum_0 = coopMultiplyAdd(c, coopLoad<coop_mat16x16<f16, B>>(&column_tile[p * ROW + k], ROW), sum_0);
      sum_1 = coopMultiplyAdd(c, coopLoad<coop_mat16x16<f16, B>>(&column_tile[(p + 16u) * ROW + k], ROW), sum_1);
    }
  }

  coopStoreT(sum_0, &sums[i * ROW + p / 4u], ROW);
  coopStoreT(sum_1, &sums[i * ROW + p / 4u + 4u], ROW);
  workgroupBarrier();
  let skip = mamba[CONV_DIM * (D_CONV + 1u) + 2u * SSM_HEADS + head];
  //: for k in 0..4
  finish(t + row{+ 16 * k}, head, channel, skip, sums[to{+ 16 * k * ROW}]);
  //: end
}
