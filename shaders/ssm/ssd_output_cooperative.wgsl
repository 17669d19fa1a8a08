// The SSM heads' output from the states before each chunk, with cooperative matrices: ssd_output where the device has them. A
// workgroup is one chunk of one head, 64 of its channels; a subgroup adds up 16 tokens and 32 channels, first over the tokens of the
// chunk, then over the state before it, 64 terms at a time. What comes next is on its way while this is multiplied.
// Grid: (n P / 64, ceil(T / 64)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> ready: array<vec4<f32>>;        // [T, READY_STRIDE / 4], see prepare.wgsl
@group(0) @binding(2) var<storage, read> mamba: array<f32>;              // see prepare.wgsl
@group(0) @binding(3) var<storage, read> states: array<vec4<f32>>;       // [chunks, n, P, N / 4]: before each chunk
@group(0) @binding(4) var<storage, read> products: array<vec4<f32>>;     // [chunks, G, 64, 64 / 4]: C_i . B_j
@group(0) @binding(5) var<storage, read> decays: array<f32>;             // [chunks, n, 64]: a
@group(0) @binding(6) var<storage, read> proj: array<f32>;               // [T, PROJ_STRIDE], see prepare.wgsl
@group(0) @binding(7) var<storage, read_write> mixed: array<vec4<f32>>;  // [T, MIXED_STRIDE / 4]: attention | SSM at SSM_OFFSET

override PROJ_STRIDE: u32;
override COLUMNS: u32;    // where x begins in a row of proj; z lies in front of it
override MIXED_STRIDE: u32;
override SSM_OFFSET: u32;

var<workgroup> row_tile: array<vec4<f16>, CHUNK * ROW>;      // [tokens][terms]
var<workgroup> column_tile: array<vec4<f16>, CHUNK * ROW>;   // [tokens][channels]; then [channels][n]
var<workgroup> sums: array<vec4<f32>, CHUNK * ROW>;          // [tokens][channels]

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
  let product_0 = products[product];
  let product_1 = products[product + 4u * CHUNK];
  let product_2 = products[product + 8u * CHUNK];
  let product_3 = products[product + 12u * CHUNK];
  let x_0 = ready[x_of(t + row) + channel / 4u];
  let x_1 = ready[x_of(t + row + 16u) + channel / 4u];
  let x_2 = ready[x_of(t + row + 32u) + channel / 4u];
  let x_3 = ready[x_of(t + row + 48u) + channel / 4u];
  let j = 4u * quad;
  let a_j = vec4<f32>(decays[a + j], decays[a + j + 1u], decays[a + j + 2u], decays[a + j + 3u]);
  let delta = vec4<f32>(delta_of(t + j, head), delta_of(t + j + 1u, head), delta_of(t + j + 2u, head), delta_of(t + j + 3u, head));
  let a_0 = decays[a + row];
  let a_1 = decays[a + row + 16u];
  let a_2 = decays[a + row + 32u];
  let a_3 = decays[a + row + 48u];
  row_tile[to] = shares_of(row, j, product_0, a_0, a_j, delta);
  row_tile[to + 16u * ROW] = shares_of(row + 16u, j, product_1, a_1, a_j, delta);
  row_tile[to + 32u * ROW] = shares_of(row + 32u, j, product_2, a_2, a_j, delta);
  row_tile[to + 48u * ROW] = shares_of(row + 48u, j, product_3, a_3, a_j, delta);
  column_tile[to] = halves(x_0);
  column_tile[to + 16u * ROW] = halves(x_1);
  column_tile[to + 32u * ROW] = halves(x_2);
  column_tile[to + 48u * ROW] = halves(x_3);
  workgroupBarrier();

  let state = ((chunk * SSM_HEADS + head) * P + first_p + row) * (N / 4u) + quad;
  let from_0 = c_of(t + row, of_group) + quad;
  let from_1 = c_of(t + row + 16u, of_group) + quad;
  let from_2 = c_of(t + row + 32u, of_group) + quad;
  let from_3 = c_of(t + row + 48u, of_group) + quad;
  var s_0 = states[state];
  var s_1 = states[state + 4u * N];
  var s_2 = states[state + 8u * N];
  var s_3 = states[state + 12u * N];
  var c_0 = ready[from_0];
  var c_1 = ready[from_1];
  var c_2 = ready[from_2];
  var c_3 = ready[from_3];
  var sum_0 = coop_mat16x16<f32, C>();
  var sum_1 = coop_mat16x16<f32, C>();
  for (var k = 0u; k < CHUNK; k += 16u) {
    let share = coopLoadT<coop_mat16x16<f16, A>>(&row_tile[i * ROW + k / 4u], ROW);
    let at = k * ROW + p / 4u;
    sum_0 = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&column_tile[at], ROW), sum_0);
    sum_1 = coopMultiplyAdd(share, coopLoadT<coop_mat16x16<f16, B>>(&column_tile[at + 4u], ROW), sum_1);
  }

  // The state before the chunk.
  let fade_0 = exp(a_0);
  let fade_1 = exp(a_1);
  let fade_2 = exp(a_2);
  let fade_3 = exp(a_3);
  for (var n = 0u; n < N / 4u; n += 16u) {
    workgroupBarrier();
    row_tile[to] = halves(fade_0 * c_0);
    row_tile[to + 16u * ROW] = halves(fade_1 * c_1);
    row_tile[to + 32u * ROW] = halves(fade_2 * c_2);
    row_tile[to + 48u * ROW] = halves(fade_3 * c_3);
    column_tile[to] = halves(s_0);
    column_tile[to + 16u * ROW] = halves(s_1);
    column_tile[to + 32u * ROW] = halves(s_2);
    column_tile[to + 48u * ROW] = halves(s_3);
    workgroupBarrier();
    let next = min(n + 16u, N / 4u - 16u);
    s_0 = states[state + next];
    s_1 = states[state + next + 4u * N];
    s_2 = states[state + next + 8u * N];
    s_3 = states[state + next + 12u * N];
    c_0 = ready[from_0 + next];
    c_1 = ready[from_1 + next];
    c_2 = ready[from_2 + next];
    c_3 = ready[from_3 + next];
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
  finish(t + row, head, channel, skip, sums[to]);
  finish(t + row + 16u, head, channel, skip, sums[to + 16u * ROW]);
  finish(t + row + 32u, head, channel, skip, sums[to + 32u * ROW]);
  finish(t + row + 48u, head, channel, skip, sums[to + 48u * ROW]);
}
