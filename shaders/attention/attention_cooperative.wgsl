//: kernel: cooperative step kv
// Causal softmax attention of many tokens with cooperative matrices (prefill, the named mode, see
// GpuOptions::cooperative): queries, keys, values and shares are rounded to f16, products and sums
// are f32. A workgroup is 64 queries of one head, online over blocks of 64 keys. Each of its eight
// subgroups makes the scores of 16 queries and 32 keys, then the shares of eight queries and all
// keys, and adds up the output of 16 queries in one half of the head's dimensions. What the next
// block needs is on its way while this one is multiplied. For heads of 16 to 128 dimensions, in
// steps of 16.
// Grid: (ceil(T / 64) nh, 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> ready: array<f32>;  // [T, READY_STRIDE], see prepare.wgsl
@group(0) @binding(2) var<uniform> pages: array<vec4<u32>, 512>;  // see kv.wgsl
// [T, MIXED_STRIDE / 4]: attention | SSM
@group(0) @binding(3) var<storage, read_write> mixed: array<vec4<f32>>;
@group(1) @binding(0) var<storage, read> kv: array<KvWord>;       // see kv.wgsl

override READY_STRIDE: u32;
override MIXED_STRIDE: u32;
override HEADS: u32;      // nh
override HEAD_DIM: u32;
override Q_PER_KV: u32;   // nh / nkv

const LOWEST: f32 = -3.0e38;
const QUERIES: u32 = 64u;
const KEYS: u32 = 64u;
// vec4s from row to row of `tile`: 32 and two, so that rows begin in different banks
const ROW: u32 = 34u;
const SPAN: u32 = 18u;  // the same of `scores` and `shares`: 16 and two
// Shares are powers of two over a reference of their query, which need not be the highest score: it
// changes, and with it all that has been added up, only when a score lies more than ROOM above it,
// where f16 would soon end. Then the highest lies START above it.
const ROOM: f32 = 15.0;
const START: f32 = 5.0;

// the queries at first, then keys and values in turn
var<workgroup> tile: array<vec4<f16>, KEYS * ROW>;
// [queries][keys]; sums on their way through the invocations
var<workgroup> scores: array<vec4<f32>, QUERIES * SPAN>;
var<workgroup> shares: array<vec4<f16>, QUERIES * SPAN>;  // [queries][keys]
var<workgroup> grown: array<u32, 8>;  // of each subgroup: whether a query has a new reference

// `halves` of keys and values, which may have been cut when they were kept.
fn kept(v: vec4<f32>) -> vec4<f16> {
  if (KV_IN_F16) {
    return vec4<f16>(v);
  }
  return halves(v);
}

// Dimensions of a subgroup's half.
fn half_dim() -> u32 {
  return (HEAD_DIM + 31u) / 32u * 16u;
}

// Scores of four keys where the query may see them.
fn seen(key: u32, last: u32, score: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(LOWEST), score, vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(last));
}

fn highest_of(v: vec4<f32>) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

fn sum_of(v: vec4<f16>) -> f32 {
  let f = vec4<f32>(v);
  return f.x + f.y + f.z + f.w;
}

// Writes four values of an output: column `quad` of `scores`, when its columns are dimensions
// `begin` to `begin` + 31 of both halves.
fn write(t: u32, head: u32, begin: u32, quad: u32, value: vec4<f32>) {
  let inside = begin + 4u * (quad % 8u);
  let dim = half_dim() * (quad / 8u) + inside;
  if (t < now.tokens && inside < half_dim() && dim < HEAD_DIM) {
    mixed[t * (MIXED_STRIDE / 4u) + (head * HEAD_DIM + dim) / 4u] = value;
  }
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let head = group.x % HEADS;
  // The last queries have most to do, so they come first.
  let first = QUERIES * (groups.x / HEADS - 1u - group.x / HEADS);
  let end = now.position + min(first + QUERIES, now.tokens);
  let warp = index / 32u;
  let lane = index % 32u;
  let r_0 = 16u * (warp / 2u);   // the subgroup's queries
  let side = warp % 2u;          // its keys of a block, and its half of the dimensions
  let place = r_0 * SPAN + 8u * side;
  // The query whose shares this invocation makes with three neighbors, and its first four keys: the
  // rest are 2, 8 and 10 fours on, so that eight invocations read from different banks.
  let row = 8u * warp + lane / 4u;
  let quad = lane % 2u + 4u * (lane % 4u / 2u);
  let at = row * SPAN + quad;
  let last = now.position + first + row;
  // What it brings of a tile: a column of four in rows of_row, of_row + step, ...; what there is
  // not, once more the last one.
  let across = select(select(8u, 16u, HEAD_DIM > 32u), 32u, HEAD_DIM > 64u);
  let of_row = index / across;
  let step = 256u / across;
  let column = min(index % across, HEAD_DIM / 4u - 1u);
  let to = of_row * ROW + index % across;
  let down = step * ROW;
  let kv_row = KV_DIM / 4u;
  let of_head = head / Q_PER_KV * (HEAD_DIM / 4u) + column;

  // Scores are logarithms to base two.
  let scale = 1.4426950408889634 / sqrt(f32(HEAD_DIM));
  for (var i = 0u; i < QUERIES; i += step) {
    let source = min(first + i + of_row, now.tokens - 1u) * READY_STRIDE + head * HEAD_DIM + 4u * column;
    tile[to + i * ROW] = halves(scale * vec4<f32>(ready[source], ready[source + 1u], ready[source + 2u], ready[source + 3u]));
  }
  workgroupBarrier();
  let q = r_0 * ROW;
  //: for i in 0..8
  let q_{i} = coopLoadT<coop_mat16x16<f16, A>>(&tile[q{+ 4 * i}], ROW);
  //: end

  var reference = LOWEST;
  var total = 0.0;   // of this invocation's keys
  //: for i in 0..4
  var o_{i} = coop_mat16x16<f32, C>();
  //: end
  let k_first = row_of(page_of(0u), 0u) + of_head;
  let k_rest = min(KEYS, end) - 1u;
  //: for i in 0..8
  var k_{i} = kv_4(k_first + min(of_row{+ i * step}, k_rest) * kv_row);
  //: end

  for (var base = 0u; base < end; base += KEYS) {
    workgroupBarrier();
    //: for i in 0..2
    tile[to{+ i * down}] = kept(k_{i});
    //: end
    if (HEAD_DIM > 32u) {
      //: for i in 2..4
      tile[to{+ i * down}] = kept(k_{i});
      //: end
    }
    if (HEAD_DIM > 64u) {
      //: for i in 4..8
      tile[to{+ i * down}] = kept(k_{i});
      //: end
    }
    workgroupBarrier();
    // The last value again where there are no more: its share is nothing, and a share of nothing of
    // what was never written could be no number.
    let values = row_of(page_of(base), base % PAGE) + PAGE * kv_row + of_head;
    let rest = min(KEYS, end - base) - 1u;
    //: for i in 0..8
    let v_{i} = kv_4(values + min(of_row{+ i * step}, rest) * kv_row);
    //: end

    let near = 32u * side * ROW;
    let far = near + 16u * ROW;
    var s_0 = coop_mat16x16<f32, C>();
    var s_1 = coop_mat16x16<f32, C>();
    s_0 = coopMultiplyAdd(q_0, coopLoad<coop_mat16x16<f16, B>>(&tile[near], ROW), s_0);
    s_1 = coopMultiplyAdd(q_0, coopLoad<coop_mat16x16<f16, B>>(&tile[far], ROW), s_1);
    //: for i in 1..8
    if (HEAD_DIM > {16 * i}u) {
      s_0 = coopMultiplyAdd(q_{i}, coopLoad<coop_mat16x16<f16, B>>(&tile[near{+ 4 * i}], ROW), s_0);
      s_1 = coopMultiplyAdd(q_{i}, coopLoad<coop_mat16x16<f16, B>>(&tile[far{+ 4 * i}], ROW), s_1);
    }
    //: end
    coopStoreT(s_0, &scores[place], SPAN);
    coopStoreT(s_1, &scores[place + 4u], SPAN);
    workgroupBarrier();

    //: for i in 0..2
    tile[to{+ i * down}] = kept(v_{i});
    //: end
    if (HEAD_DIM > 32u) {
      //: for i in 2..4
      tile[to{+ i * down}] = kept(v_{i});
      //: end
    }
    if (HEAD_DIM > 64u) {
      //: for i in 4..8
      tile[to{+ i * down}] = kept(v_{i});
      //: end
    }
    //: for i, of in 0 2 8 10
    var score_{i} = scores[at{+ of}];
    //: end
    if (base + KEYS > now.position + first + 1u) {
      let key = base + 4u * quad;
      //: for i, of in 0 2 8 10
      score_{i} = seen(key{+ 4 * of}, last, score_{i});
      //: end
    }
    var highest = highest_of(max(max(score_0, score_1), max(score_2, score_3)));
    highest = max(highest, subgroupShuffleXor(highest, 1u));
    highest = max(highest, subgroupShuffleXor(highest, 2u));
    let grows = highest > reference + ROOM;
    let higher = select(reference, highest - START, grows);
    let fade = exp2(reference - higher);
    reference = higher;
    //: for i in 0..4
    let share_{i} = vec4<f16>(exp2(score_{i} - higher));
    //: end
    //: for i, of in 0 2 8 10
    shares[at{+ of}] = share_{i};
    //: end
    total = fade * total + {for i in 0..4 join " + "}sum_of(share_{i}){end};
    // Nothing has been added up before the first block.
    let fades = subgroupAny(grows && base > 0u);
    if (lane == 0u) {
      grown[warp] = u32(fades);
    }
    let fresh = workgroupUniformLoad(&grown);
    if (({for i in 0..8 join " | "}fresh[{i}]{end}) != 0u) {
      // Rarely: what has been added up goes through the invocations that know how it fades.
      coopStoreT(o_0, &scores[place], SPAN);
      coopStoreT(o_1, &scores[place + 4u], SPAN);
      workgroupBarrier();
      //: for of in 0 2 8 10
      scores[at{+ of}] *= fade;
      //: end
      workgroupBarrier();
      o_0 = coopLoadT<coop_mat16x16<f32, C>>(&scores[place], SPAN);
      o_1 = coopLoadT<coop_mat16x16<f32, C>>(&scores[place + 4u], SPAN);
      if (HEAD_DIM > 64u) {
        workgroupBarrier();
        coopStoreT(o_2, &scores[place], SPAN);
        coopStoreT(o_3, &scores[place + 4u], SPAN);
        workgroupBarrier();
        //: for of in 0 2 8 10
        scores[at{+ of}] *= fade;
        //: end
        workgroupBarrier();
        o_2 = coopLoadT<coop_mat16x16<f32, C>>(&scores[place], SPAN);
        o_3 = coopLoadT<coop_mat16x16<f32, C>>(&scores[place + 4u], SPAN);
      }
    }

    // The next block's keys, or once more the last one's.
    let next = min(base + KEYS, (end - 1u) / KEYS * KEYS);
    let keys = row_of(page_of(next), next % PAGE) + of_head;
    let next_rest = min(KEYS, end - next) - 1u;
    //: for i in 0..8
    k_{i} = kv_4(keys + min(of_row{+ i * step}, next_rest) * kv_row);
    //: end

    for (var i = 0u; i < 4u; i++) {
      let p = coopLoadT<coop_mat16x16<f16, A>>(&shares[r_0 * SPAN + 4u * i], SPAN);
      let v = 16u * ROW * i + half_dim() / 4u * side;
      o_0 = coopMultiplyAdd(p, coopLoadT<coop_mat16x16<f16, B>>(&tile[v], ROW), o_0);
      //: for i in 1..4
      if (HEAD_DIM > {32 * i}u) {
        o_{i} = coopMultiplyAdd(p, coopLoadT<coop_mat16x16<f16, B>>(&tile[v{+ 4 * i}], ROW), o_{i});
      }
      //: end
    }
  }

  total += subgroupShuffleXor(total, 1u);
  total += subgroupShuffleXor(total, 2u);
  let t = first + row;
  workgroupBarrier();
  coopStoreT(o_0, &scores[place], SPAN);
  coopStoreT(o_1, &scores[place + 4u], SPAN);
  workgroupBarrier();
  //: for of in 0 2 8 10
  write(t, head, 0u, quad{+ of}, scores[at{+ of}] / total);
  //: end
  if (HEAD_DIM > 64u) {
    workgroupBarrier();
    coopStoreT(o_2, &scores[place], SPAN);
    coopStoreT(o_3, &scores[place + 4u], SPAN);
    workgroupBarrier();
    //: for of in 0 2 8 10
    write(t, head, 32u, quad{+ of}, scores[at{+ of}] / total);
    //: end
  }
}
