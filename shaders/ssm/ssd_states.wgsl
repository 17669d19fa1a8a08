//: kernel: step ssd
// What each chunk of a prompt adds to the state of each head, and C . B of its tokens; see
// ssd.wgsl. Workgroups 0 .. n tiles - 1: a tile of 64 x 64 of a head's state. The rest: C . B of
// one group. Grid: (n ceil(P / 64) ceil(N / 64) + G, ceil(T / 64)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> ready: array<f32>;  // [T, READY_STRIDE], see prepare.wgsl
@group(0) @binding(2) var<storage, read> mamba: array<f32>;         // see prepare.wgsl
@group(0) @binding(3) var<storage, read_write> states: array<f32>;  // [chunks, H, P, N]
// [chunks, G, 64, 64]: C_i . B_j
@group(0) @binding(4) var<storage, read_write> products: array<f32>;
@group(0) @binding(5) var<storage, read_write> decays: array<f32>;  // [chunks, H, 64]: a

var<workgroup> sums_of_a: array<f32, 2u * CHUNK>;

// C_i . B_j for all i (columns of the product) and j (rows).
fn products_of(group: u32, chunk: u32, index: u32) {
  let t = CHUNK * chunk;
  let token = min(t + index / QUADS, now.tokens - 1u);
  var sums = Sums();
  let quad = 4u * (index % QUADS);
  var b = state_4(b_of(token, group), quad);
  var c = state_4(c_of(token, group), quad);
  for (var n = 0u; n < N; n += 4u * QUADS) {
    bring(index, b, index, c);
    b = state_4(b_of(token, group), n + 4u * QUADS + quad);
    c = state_4(c_of(token, group), n + 4u * QUADS + quad);
    sums = multiplied(index, sums);
  }
  for (var i = 0u; i < 4u; i++) {
    let column = column_of(sums, i);
    let to = ((chunk * G + group) * CHUNK + index / 16u + 16u * i) * CHUNK + index % 16u;
    products[to] = column.x;
    products[to + 16u] = column.y;
    products[to + 32u] = column.z;
    products[to + 48u] = column.w;
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let chunk = group.y;
  let n_tiles = (N + 63u) / 64u;
  let tiles = (P + 63u) / 64u * n_tiles;
  if (group.x >= SSM_HEADS * tiles) {
    products_of(group.x - SSM_HEADS * tiles, chunk, index);
    return;
  }
  let head = group.x / tiles;
  let tile = group.x % tiles;
  let first_n = 64u * (tile % n_tiles);
  let first_p = 64u * (tile / n_tiles);
  let t = CHUNK * chunk;
  let a = mamba[CONV_DIM * (D_CONV + 1u) + SSM_HEADS + head];
  // Running sums: each round adds what stands 1, 2, 4, ... further up, from one half of the array
  // into the other.
  if (index < CHUNK) {
    sums_of_a[index] = delta_of(t + index, head) * a;
  }
  workgroupBarrier();
  var half = 0u;
  for (var step = 1u; step < CHUNK; step *= 2u) {
    if (index < CHUNK) {
      let before = select(0.0, sums_of_a[half + max(index, step) - step], index >= step);
      sums_of_a[CHUNK - half + index] = sums_of_a[half + index] + before;
    }
    half = CHUNK - half;
    workgroupBarrier();
  }
  if (tile == 0u && index < CHUNK) {
    decays[(chunk * SSM_HEADS + head) * CHUNK + index] = sums_of_a[half + index];
  }
  let end = sums_of_a[half + CHUNK - 1u];
  // Neighbors bring neighboring channels, and n, of the same four tokens.
  let i = index % 64u;
  let place = exchanged(index);
  let b = Q_DIM + D_SSM + head / (SSM_HEADS / G) * N + first_n + i;
  var token = 4u * (index / 64u);
  var row = across(t + token, b, first_n + i < N);
  var x = x_4(t + token, head, first_p + i);
  var delta = delta_4(t + token, head);
  var sums = Sums();
  for (var j = 0u; j < CHUNK; j += 4u * QUADS) {
    let at = half + min(token, CHUNK - 4u);
    let a_4 = vec4<f32>(sums_of_a[at], sums_of_a[at + 1u], sums_of_a[at + 2u], sums_of_a[at + 3u]);
    bring(place, row, place, exp(end - a_4) * delta * x);
    token += 4u * QUADS;
    row = across(t + token, b, first_n + i < N);
    x = x_4(t + token, head, first_p + i);
    delta = delta_4(t + token, head);
    sums = multiplied(index, sums);
  }
  for (var i = 0u; i < 4u; i++) {
    let column = column_of(sums, i);
    let p = first_p + index / 16u + 16u * i;
    for (var k = 0u; k < 4u; k++) {
      let n = first_n + index % 16u + 16u * k;
      if (p < P && n < N) {
        states[((chunk * SSM_HEADS + head) * P + p) * N + n] = column[k];
      }
    }
  }
}
