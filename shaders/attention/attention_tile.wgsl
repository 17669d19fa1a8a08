// Causal softmax attention of many tokens (prefill): a workgroup is 32 queries of one head, online over blocks of 64 keys. Scores
// are made in tiles in workgroup memory, 16 dimensions at a time; an invocation has four queries and four keys, and afterwards
// the same four queries and eight output dimensions.
// Grid: (ceil(T / 32) nh, ceil(hd / 128)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> ready: array<f32>;            // [T, READY_STRIDE], see prepare.wgsl
@group(0) @binding(2) var<uniform> pages: array<vec4<u32>, 512>;       // see kv.wgsl
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>;      // [T, MIXED_STRIDE]: attention | SSM
@group(1) @binding(0) var<storage, read> kv: array<KvWord>;             // see kv.wgsl

override READY_STRIDE: u32;
override MIXED_STRIDE: u32;
override HEADS: u32;      // nh
override HEAD_DIM: u32;
override Q_PER_KV: u32;   // nh / nkv

const LOWEST: f32 = -3.0e38;
const QUERIES: u32 = 32u;
const KEYS: u32 = 64u;
const QUADS: u32 = 4u;    // vec4s of a row in a tile
const ROW: u32 = 5u;      // and from row to row: so neighbours' rows begin in different banks

// Query q of the tile is row q % 4 * 8 + q / 4: an invocation's four queries, which are neighbours, are eight rows apart.
var<workgroup> q_tile: array<vec4<f32>, QUERIES * ROW>;
var<workgroup> k_tile: array<vec4<f32>, KEYS * ROW>;
// [KEYS][QUERIES / 4]: shares of four neighbouring queries; before that, the largest scores.
var<workgroup> shares: array<vec4<f32>, KEYS * QUERIES / 4u>;

// Vec4 `quad` of a query's head; zeros behind its end.
fn query_at(t: u32, head: u32, quad: u32) -> vec4<f32> {
  if (quad >= HEAD_DIM / 4u) {
    return vec4<f32>(0.0);
  }
  let i = t * READY_STRIDE + head * HEAD_DIM + 4u * quad;
  return vec4<f32>(ready[i], ready[i + 1u], ready[i + 2u], ready[i + 3u]);
}

// The same of a key; another's values behind a short head's end could be no numbers.
fn key_at(keys: u32, row: u32, quad: u32) -> vec4<f32> {
  if (quad >= HEAD_DIM / 4u) {
    return vec4<f32>(0.0);
  }
  return kv_4(keys + row * (KV_DIM / 4u) + quad);
}

// Four dimensions of a key times those of four queries.
fn outer(k: vec4<f32>, q0: vec4<f32>, q1: vec4<f32>, q2: vec4<f32>, q3: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
  var s = fma(vec4<f32>(k.x), vec4<f32>(q0.x, q1.x, q2.x, q3.x), sum);
  s = fma(vec4<f32>(k.y), vec4<f32>(q0.y, q1.y, q2.y, q3.y), s);
  s = fma(vec4<f32>(k.z), vec4<f32>(q0.z, q1.z, q2.z, q3.z), s);
  return fma(vec4<f32>(k.w), vec4<f32>(q0.w, q1.w, q2.w, q3.w), s);
}

// Scores of one key where the queries may see it.
fn seen(key: u32, last: vec4<u32>, score: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(LOWEST), score / sqrt(f32(HEAD_DIM)), vec4<u32>(key) <= last);
}

fn write(t: u32, head: u32, quad: u32, value: vec4<f32>) {
  if (t < now.tokens && quad < HEAD_DIM / 4u) {
    let i = t * MIXED_STRIDE + head * HEAD_DIM + 4u * quad;
    mixed[i] = value.x;
    mixed[i + 1u] = value.y;
    mixed[i + 2u] = value.z;
    mixed[i + 3u] = value.w;
  }
}

@compute @workgroup_size(128)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let head = group.x % HEADS;
  // The last queries have most to do, so they come first.
  let first = QUERIES * (groups.x / HEADS - 1u - group.x / HEADS);
  let end = now.position + min(first + QUERIES, now.tokens);
  let of_queries = index % 8u;   // queries 4 of_queries to 4 of_queries + 3
  let of_keys = index / 8u;      // keys of_keys, of_keys + 16, ...
  let last = vec4<u32>(now.position + first + 4u * of_queries) + vec4<u32>(0u, 1u, 2u, 3u);
  // What it brings of the tiles: vec4 of_quad of a query, and of keys of_row and of_row + 32.
  let of_row = index / QUADS;
  let of_quad = index % QUADS;
  let place = (of_row % 4u * 8u + of_row / 4u) * ROW + of_quad;
  let query_row = min(first + of_row, now.tokens - 1u);
  let quad = 32u * group.y + of_keys;
  let row_quad = min(quad, HEAD_DIM / 4u - 1u);
  let far_quad = min(quad + 16u, HEAD_DIM / 4u - 1u);
  var maximum = vec4<f32>(LOWEST);
  var total = vec4<f32>(0.0);
  // Output of each query at quad and at quad + 16. Names and not an array, which would lie in memory.
  var near_0 = vec4<f32>(0.0);
  var near_1 = vec4<f32>(0.0);
  var near_2 = vec4<f32>(0.0);
  var near_3 = vec4<f32>(0.0);
  var far_0 = vec4<f32>(0.0);
  var far_1 = vec4<f32>(0.0);
  var far_2 = vec4<f32>(0.0);
  var far_3 = vec4<f32>(0.0);

  for (var base = 0u; base < end; base += KEYS) {
    let keys = row_of(page_of(base), base % PAGE) + head / Q_PER_KV * (HEAD_DIM / 4u);
    var s_0 = vec4<f32>(0.0);
    var s_1 = vec4<f32>(0.0);
    var s_2 = vec4<f32>(0.0);
    var s_3 = vec4<f32>(0.0);
    // What the next tile needs is on its way while this one is multiplied.
    var next_q = query_at(query_row, head, of_quad);
    var next_k0 = key_at(keys, of_row, of_quad);
    var next_k1 = key_at(keys, of_row + 32u, of_quad);
    for (var slice = 0u; slice < HEAD_DIM / 4u; slice += QUADS) {
      q_tile[place] = next_q;
      k_tile[of_row * ROW + of_quad] = next_k0;
      k_tile[(of_row + 32u) * ROW + of_quad] = next_k1;
      workgroupBarrier();
      let next = slice + QUADS + of_quad;
      next_q = query_at(query_row, head, next);
      next_k0 = key_at(keys, of_row, next);
      next_k1 = key_at(keys, of_row + 32u, next);
      for (var j = 0u; j < QUADS; j++) {
        let q0 = q_tile[of_queries * ROW + j];
        let q1 = q_tile[(of_queries + 8u) * ROW + j];
        let q2 = q_tile[(of_queries + 16u) * ROW + j];
        let q3 = q_tile[(of_queries + 24u) * ROW + j];
        s_0 = outer(k_tile[of_keys * ROW + j], q0, q1, q2, q3, s_0);
        s_1 = outer(k_tile[(of_keys + 16u) * ROW + j], q0, q1, q2, q3, s_1);
        s_2 = outer(k_tile[(of_keys + 32u) * ROW + j], q0, q1, q2, q3, s_2);
        s_3 = outer(k_tile[(of_keys + 48u) * ROW + j], q0, q1, q2, q3, s_3);
      }
      workgroupBarrier();
    }
    s_0 = seen(base + of_keys, last, s_0);
    s_1 = seen(base + of_keys + 16u, last, s_1);
    s_2 = seen(base + of_keys + 32u, last, s_2);
    s_3 = seen(base + of_keys + 48u, last, s_3);
    shares[index] = max(max(s_0, s_1), max(s_2, s_3));
    workgroupBarrier();
    var higher = maximum;
    for (var j = of_queries; j < 128u; j += 8u) {
      higher = max(higher, shares[j]);
    }
    workgroupBarrier();
    shares[of_keys * 8u + of_queries] = exp(s_0 - higher);
    shares[(of_keys + 16u) * 8u + of_queries] = exp(s_1 - higher);
    shares[(of_keys + 32u) * 8u + of_queries] = exp(s_2 - higher);
    shares[(of_keys + 48u) * 8u + of_queries] = exp(s_3 - higher);
    let fade = exp(maximum - higher);
    maximum = higher;
    total *= fade;
    near_0 *= fade.x;
    near_1 *= fade.y;
    near_2 *= fade.z;
    near_3 *= fade.w;
    far_0 *= fade.x;
    far_1 *= fade.y;
    far_2 *= fade.z;
    far_3 *= fade.w;
    workgroupBarrier();
    let values = keys + PAGE * (KV_DIM / 4u);
    // The last value again where there are no more: its share is nothing, and a share of nothing of what was never written could be
    // no number. Eight at a time, so that their loads do not wait for each other.
    let rest = min(KEYS, end - base) - 1u;
    for (var i = 0u; i <= rest; i += 8u) {
      let v_0 = values + min(i + 0u, rest) * (KV_DIM / 4u);
      let v_1 = values + min(i + 1u, rest) * (KV_DIM / 4u);
      let v_2 = values + min(i + 2u, rest) * (KV_DIM / 4u);
      let v_3 = values + min(i + 3u, rest) * (KV_DIM / 4u);
      let v_4 = values + min(i + 4u, rest) * (KV_DIM / 4u);
      let v_5 = values + min(i + 5u, rest) * (KV_DIM / 4u);
      let v_6 = values + min(i + 6u, rest) * (KV_DIM / 4u);
      let v_7 = values + min(i + 7u, rest) * (KV_DIM / 4u);
      let value_0 = kv_4(v_0 + row_quad);
      let value_1 = kv_4(v_1 + row_quad);
      let value_2 = kv_4(v_2 + row_quad);
      let value_3 = kv_4(v_3 + row_quad);
      let value_4 = kv_4(v_4 + row_quad);
      let value_5 = kv_4(v_5 + row_quad);
      let value_6 = kv_4(v_6 + row_quad);
      let value_7 = kv_4(v_7 + row_quad);
      let share_0 = shares[i * 8u + 0u + of_queries];
      let share_1 = shares[i * 8u + 8u + of_queries];
      let share_2 = shares[i * 8u + 16u + of_queries];
      let share_3 = shares[i * 8u + 24u + of_queries];
      let share_4 = shares[i * 8u + 32u + of_queries];
      let share_5 = shares[i * 8u + 40u + of_queries];
      let share_6 = shares[i * 8u + 48u + of_queries];
      let share_7 = shares[i * 8u + 56u + of_queries];
      total += share_0 + share_1 + share_2 + share_3 + share_4 + share_5 + share_6 + share_7;
      near_0 += share_0.x * value_0 + share_1.x * value_1 + share_2.x * value_2 + share_3.x * value_3 + share_4.x * value_4 + share_5.x * value_5 + share_6.x * value_6 + share_7.x * value_7;
      near_1 += share_0.y * value_0 + share_1.y * value_1 + share_2.y * value_2 + share_3.y * value_3 + share_4.y * value_4 + share_5.y * value_5 + share_6.y * value_6 + share_7.y * value_7;
      near_2 += share_0.z * value_0 + share_1.z * value_1 + share_2.z * value_2 + share_3.z * value_3 + share_4.z * value_4 + share_5.z * value_5 + share_6.z * value_6 + share_7.z * value_7;
      near_3 += share_0.w * value_0 + share_1.w * value_1 + share_2.w * value_2 + share_3.w * value_3 + share_4.w * value_4 + share_5.w * value_5 + share_6.w * value_6 + share_7.w * value_7;
      if (HEAD_DIM > 64u) {
        let far_value_0 = kv_4(v_0 + far_quad);
        let far_value_1 = kv_4(v_1 + far_quad);
        let far_value_2 = kv_4(v_2 + far_quad);
        let far_value_3 = kv_4(v_3 + far_quad);
        let far_value_4 = kv_4(v_4 + far_quad);
        let far_value_5 = kv_4(v_5 + far_quad);
        let far_value_6 = kv_4(v_6 + far_quad);
        let far_value_7 = kv_4(v_7 + far_quad);
        far_0 += share_0.x * far_value_0 + share_1.x * far_value_1 + share_2.x * far_value_2 + share_3.x * far_value_3 + share_4.x * far_value_4 + share_5.x * far_value_5 + share_6.x * far_value_6 + share_7.x * far_value_7;
        far_1 += share_0.y * far_value_0 + share_1.y * far_value_1 + share_2.y * far_value_2 + share_3.y * far_value_3 + share_4.y * far_value_4 + share_5.y * far_value_5 + share_6.y * far_value_6 + share_7.y * far_value_7;
        far_2 += share_0.z * far_value_0 + share_1.z * far_value_1 + share_2.z * far_value_2 + share_3.z * far_value_3 + share_4.z * far_value_4 + share_5.z * far_value_5 + share_6.z * far_value_6 + share_7.z * far_value_7;
        far_3 += share_0.w * far_value_0 + share_1.w * far_value_1 + share_2.w * far_value_2 + share_3.w * far_value_3 + share_4.w * far_value_4 + share_5.w * far_value_5 + share_6.w * far_value_6 + share_7.w * far_value_7;
      }
    }
  }
  let t = first + 4u * of_queries;
  write(t, head, quad, near_0 / total.x);
  write(t + 1u, head, quad, near_1 / total.y);
  write(t + 2u, head, quad, near_2 / total.z);
  write(t + 3u, head, quad, near_3 / total.w);
  if (HEAD_DIM > 64u) {
    write(t, head, quad + 16u, far_0 / total.x);
    write(t + 1u, head, quad + 16u, far_1 / total.y);
    write(t + 2u, head, quad + 16u, far_2 / total.z);
    write(t + 3u, head, quad + 16u, far_3 / total.w);
  }
}
