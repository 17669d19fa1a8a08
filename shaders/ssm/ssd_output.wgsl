//: kernel: step ssd
// The SSM heads' output from the states before each chunk, with the D skip and the gate: o = (y + D
// x) silu(z); see ssd.wgsl. A workgroup is one chunk of one head, 64 of its channels.
// Grid: (n ceil(P / 64), ceil(T / 64)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> ready: array<f32>;   // [T, READY_STRIDE], see prepare.wgsl
@group(0) @binding(2) var<storage, read> mamba: array<f32>;   // see prepare.wgsl
// [chunks, H, P, N / 4]: before each chunk
@group(0) @binding(3) var<storage, read> states: array<vec4<f32>>;
// [chunks, G, 64, 64 / 4]: C_i . B_j
@group(0) @binding(4) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> decays: array<f32>;  // [chunks, H, 64]: a
@group(0) @binding(6) var<storage, read> proj: array<f32>;    // [T, PROJ_STRIDE], see prepare.wgsl
// [T, MIXED_STRIDE]: attention | SSM at SSM_OFFSET
@group(0) @binding(7) var<storage, read_write> mixed: array<f32>;

override PROJ_STRIDE: u32;
override COLUMNS: u32;    // where x begins in a row of proj; z lies in front of it
override MIXED_STRIDE: u32;
override SSM_OFFSET: u32;

fn decays_4(at: u32) -> vec4<f32> {
  return vec4<f32>(decays[at], decays[at + 1u], decays[at + 2u], decays[at + 3u]);
}

// Values n to n + 3 of a row of the state before the chunk; zeros behind its end.
fn before(row: u32, n: u32, inside: bool) -> vec4<f32> {
  if (!inside || n >= N) {
    return vec4<f32>(0.0);
  }
  return states[row + n / 4u];
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let chunk = group.y;
  let p_tiles = (P + 63u) / 64u;
  let head = group.x / p_tiles;
  let first_p = 64u * (group.x % p_tiles);
  let of_group = head / (SSM_HEADS / G);
  let t = CHUNK * chunk;
  let a = (chunk * SSM_HEADS + head) * CHUNK;
  var sums = Sums();

  // Tokens of the chunk: columns of the product are i, its rows channels.
  let channel = first_p + index % 64u;
  let i = index / QUADS;
  let a_i = decays[a + i];
  let product = ((chunk * G + of_group) * CHUNK + i) * (CHUNK / 4u);
  var token = 4u * (index / 64u);
  var from_j = 4u * (index % QUADS);
  var x = x_4(t + token, head, channel);
  var share = products[product + from_j / 4u];
  var delta = delta_4(t + from_j, head);
  var a_j = decays_4(a + from_j);
  for (var j = 0u; j < CHUNK; j += 4u * QUADS) {
    let sees = vec4<u32>(from_j) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(i);
    bring(exchanged(index), x, index, select(vec4<f32>(0.0), share * exp(a_i - a_j) * delta, sees));
    token += 4u * QUADS;
    from_j = min(from_j + 4u * QUADS, CHUNK - 4u);
    x = x_4(t + token, head, channel);
    share = products[product + from_j / 4u];
    delta = delta_4(t + from_j, head);
    a_j = decays_4(a + from_j);
    sums = multiplied(index, sums);
  }

  // The state before the chunk.
  let row = first_p + i;
  let state = ((chunk * SSM_HEADS + head) * P + min(row, P - 1u)) * (N / 4u);
  let c_row = c_of(min(t + i, now.tokens - 1u), of_group);
  let fade = exp(a_i);
  let quad = 4u * (index % QUADS);
  var s = before(state, quad, row < P);
  var c = state_4(c_row, quad);
  for (var n = 0u; n < N; n += 4u * QUADS) {
    bring(index, s, index, fade * c);
    s = before(state, n + 4u * QUADS + quad, row < P);
    c = state_4(c_row, n + 4u * QUADS + quad);
    sums = multiplied(index, sums);
  }

  let skip = mamba[CONV_DIM * (D_CONV + 1u) + 2u * SSM_HEADS + head];
  for (var i = 0u; i < 4u; i++) {
    let token = t + index / 16u + 16u * i;
    let y = column_of(sums, i);
    for (var k = 0u; k < 4u; k++) {
      let p = first_p + index % 16u + 16u * k;
      if (token < now.tokens && p < P) {
        let x = ready[x_of(token) + head * P + p];
        let z = proj[token * PROJ_STRIDE + COLUMNS - D_SSM + head * P + p];
        mixed[token * MIXED_STRIDE + SSM_OFFSET + head * P + p] = (y[k] + skip * x) * z / (1.0 + exp(-z));
      }
    }
  }
}
