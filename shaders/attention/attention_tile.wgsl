//: kernel: step kv
// Causal softmax attention of many tokens (prefill): a workgroup is 32 queries of one head, online
// over blocks of 64 keys. Scores are made in tiles in workgroup memory, 16 dimensions at a time; an
// invocation has four queries and four keys, and afterwards the same four queries and eight output
// dimensions.
// Grid: (ceil(T / 32) nh, ceil(hd / 128)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> ready: array<f32>;  // [T, READY_STRIDE], see prepare.wgsl
@group(0) @binding(2) var<uniform> pages: array<vec4<u32>, 512>;  // see kv.wgsl
// [T, MIXED_STRIDE]: attention | SSM
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>;
@group(1) @binding(0) var<storage, read> kv: array<KvWord>;       // see kv.wgsl

override READY_STRIDE: u32;
override MIXED_STRIDE: u32;
override HEADS: u32;      // nh
override HEAD_DIM: u32;
override Q_PER_KV: u32;   // nh / nkv

const LOWEST: f32 = -3.0e38;
const QUERIES: u32 = 32u;
const KEYS: u32 = 64u;
const QUADS: u32 = 4u;    // vec4s of a row in a tile
const ROW: u32 = 5u;      // and from row to row: so neighbors' rows begin in different banks

// Query q of the tile is row q % 4 * 8 + q / 4: an invocation's four queries, which are neighbors,
// are eight rows apart.
var<workgroup> q_tile: array<vec4<f32>, QUERIES * ROW>;
var<workgroup> k_tile: array<vec4<f32>, KEYS * ROW>;
// [KEYS][QUERIES / 4]: shares of four neighboring queries; before that, the largest scores.
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
  // Output of each query at quad and at quad + 16. Names and not an array, which would lie in
  // memory.
  //: for side in near far
  //: for i in 0..4
  var {side}_{i} = vec4<f32>(0.0);
  //: end
  //: end

  for (var base = 0u; base < end; base += KEYS) {
    let keys = row_of(page_of(base), base % PAGE) + head / Q_PER_KV * (HEAD_DIM / 4u);
    //: for i in 0..4
    var s_{i} = vec4<f32>(0.0);
    //: end
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
    //: for i in 0..4
    s_{i} = seen(base + of_keys{+ 16 * i}, last, s_{i});
    //: end
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
    //: for side in near far
    //: for i, c in x y z w
    {side}_{i} *= fade.{c};
    //: end
    //: end
    workgroupBarrier();
    let values = keys + PAGE * (KV_DIM / 4u);
    // The last value again where there are no more: its share is nothing, and a share of nothing of
    // what was never written could be no number. Eight at a time, so that their loads do not wait
    // for each other.
    let rest = min(KEYS, end - base) - 1u;
    for (var i = 0u; i <= rest; i += 8u) {
      //: for k in 0..8
      let v_{k} = values + min(i + {k}u, rest) * (KV_DIM / 4u);
      //: end
      //: for k in 0..8
      let value_{k} = kv_4(v_{k} + row_quad);
      //: end
      //: for k in 0..8
      let share_{k} = shares[i * 8u + {8 * k}u + of_queries];
      //: end
      total += {for k in 0..8 join " + "}share_{k}{end};
      //: for q, c in x y z w
      near_{q} += {for k in 0..8 join " + "}share_{k}.{c} * value_{k}{end};
      //: end
      if (HEAD_DIM > 64u) {
        //: for k in 0..8
        let far_value_{k} = kv_4(v_{k} + far_quad);
        //: end
        //: for q, c in x y z w
        far_{q} += {for k in 0..8 join " + "}share_{k}.{c} * far_value_{k}{end};
        //: end
      }
    }
  }
  let t = first + 4u * of_queries;
  //: for i, c in x y z w
  write(t{+ i}, head, quad, near_{i} / total.{c});
  //: end
  if (HEAD_DIM > 64u) {
    //: for i, c in x y z w
    write(t{+ i}, head, quad + 16u, far_{i} / total.{c});
    //: end
  }
}
