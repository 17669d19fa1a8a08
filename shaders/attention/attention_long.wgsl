//: kernel: step kv_append
// Softmax attention of one token over a context that has more splits than mixer_step.wgsl makes
// (decode): query heads with the same keys and values are one workgroup, up to four of them, so
// that what is bound by reading reads these once. A vec4 named after heads has one of each.
// Grid: (nkv ceil(nh / nkv / HEADS_EACH) splits, 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> proj: array<f32>;       // see mixer_step.wgsl
@group(0) @binding(2) var<uniform> turns: array<vec4<f32>, 64>;  // the same
@group(0) @binding(3) var<uniform> pages: array<vec4<u32>, 512>;  // see kv.wgsl
// [ attention | SSM ], then the splits for merge.wgsl
@group(0) @binding(4) var<storage, read_write> mixed: array<f32>;
@group(1) @binding(0) var<storage, read_write> kv: array<KvWord>;  // see kv.wgsl

override SPLITS_OFFSET: u32;  // [nh, splits, maximum total - - output (hd)]
override Q_DIM: u32;          // nh hd
override HEAD_DIM: u32;
override Q_PER_KV: u32;       // nh / nkv
override HEADS_EACH: u32;     // query heads of a workgroup, at most four

override THREADS: u32 = 256u;
// Positions whose scores are in workgroup memory at a time: two to an invocation.
override BLOCK: u32 = THREADS / 4u;
const LOWEST: f32 = -3.0e38;
const LANES: u32 = 8u;   // invocations that share a position while scores are made
// vec4s of a head, rounded up to whole rounds of those; zeros in the end.
const QUADS: u32 = 64u;

// [4, QUADS]: value c of the four at d of each head's query
var<workgroup> queries: array<vec4<f32>, 4u * QUADS>;
var<workgroup> fresh_key: array<vec4<f32>, QUADS>;
var<workgroup> fresh_value: array<vec4<f32>, QUADS>;
// Partial scores of heads; sums on their way in the end.
var<workgroup> parts: array<vec4<f32>, BLOCK * LANES>;
var<workgroup> scores: array<vec4<f32>, BLOCK>;
var<workgroup> tops: array<vec4<f32>, BLOCK / 8u>;

// See mixer_step.wgsl.
fn rotated(at: u32, i: u32) -> f32 {
  let pairs = HEAD_DIM / 2u;
  let pair = i % pairs;
  let two = turns[pair / 2u];
  let turn = select(two.xy, two.zw, (pair & 1u) == 1u);
  let a = proj[at + pair];
  let b = proj[at + pair + pairs];
  return select(a * turn.x - b * turn.y, b * turn.x + a * turn.y, i >= pairs);
}

fn rotated_4(at: u32, i: u32) -> vec4<f32> {
  return vec4<f32>(rotated(at, i), rotated(at, i + 1u), rotated(at, i + 2u), rotated(at, i + 3u));
}

// Value i of the workgroup's queries: a head each, and nothing where there is none.
fn query_at(head: u32, heads: u32, i: u32) -> vec4<f32> {
  let at = head * HEAD_DIM;
  let last = heads - 1u;
  let values = vec4<f32>(
    rotated(at, i), rotated(at + min(1u, last) * HEAD_DIM, i),
    rotated(at + min(2u, last) * HEAD_DIM, i), rotated(at + min(3u, last) * HEAD_DIM, i),
  );
  return inverseSqrt(f32(HEAD_DIM)) * select(vec4<f32>(0.0), values, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(heads));
}

// Where lane j's share of a position's scores lies: neighbors in different banks, whether they have
// a position or a lane in common.
fn part_of(position: u32, j: u32) -> u32 {
  return position * LANES + (position + j) % LANES;
}

fn key_at(key: u32, fresh: bool, d: u32) -> vec4<f32> {
  return select(kv_4(key + min(d, HEAD_DIM / 4u - 1u)), fresh_key[d], fresh);
}

// What four dimensions at d add to the scores of all heads.
fn score_part(key: vec4<f32>, d: u32) -> vec4<f32> {
  return (key.x * queries[d] + key.y * queries[QUADS + d]) + (key.z * queries[2u * QUADS + d] + key.w * queries[3u * QUADS + d]);
}

// Row i of a block in output vec4 d; the last row again after the block's end.
fn value_at(first: u32, i: u32, block: u32, fresh: u32, d: u32) -> vec4<f32> {
  let inside = min(i, block - 1u);
  return select(kv_4(first + inside * (KV_DIM / 4u) + d), fresh_value[d], inside == fresh);
}

// The weights of row i of a block; nothing after the block's end.
fn weights_at(i: u32) -> vec4<f32> {
  return select(vec4<f32>(0.0), scores[min(i, BLOCK - 1u)], i < BLOCK);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let split = group.x % now.splits;
  let shares = (Q_PER_KV + HEADS_EACH - 1u) / HEADS_EACH;
  let share = group.x / now.splits % shares;
  let kv_head = group.x / now.splits / shares;
  let head = kv_head * Q_PER_KV + share * HEADS_EACH;
  let heads = min(HEADS_EACH, Q_PER_KV - share * HEADS_EACH);
  let length = now.position + 1u;
  // Whole pages.
  let each = (length + now.splits * PAGE - 1u) / (now.splits * PAGE) * PAGE;
  let first = min(split * each, length);
  let last = min(first + each, length);
  let quads = HEAD_DIM / 4u;
  let row = KV_DIM / 4u;
  let i = min(index, quads - 1u);
  var key = vec4<f32>(0.0);
  var value = vec4<f32>(0.0);
  if (index < QUADS) {
    key = rotated_4(Q_DIM + kv_head * HEAD_DIM, 4u * i);
    let v = Q_DIM + KV_DIM + kv_head * HEAD_DIM + 4u * i;
    value = vec4<f32>(proj[v], proj[v + 1u], proj[v + 2u], proj[v + 3u]);
    fresh_key[index] = key;
    fresh_value[index] = value;
  }
  for (var k = index; k < 4u * QUADS; k += THREADS) {
    let d = 4u * (k % QUADS) + k / QUADS;
    queries[k] = select(vec4<f32>(0.0), query_at(head, heads, min(d, HEAD_DIM - 1u)), d < HEAD_DIM);
  }
  var key_scale = 0.0;
  var value_scale = 0.0;
  if (KV_FOURS > 1u) {
    // The largest magnitudes of a block.
    workgroupBarrier();
    var largest_key = vec4<f32>(0.0);
    var largest_value = vec4<f32>(0.0);
    for (var j = 0u; j < KV_FOURS; j++) {
      largest_key = max(largest_key, abs(fresh_key[i / KV_FOURS * KV_FOURS + j]));
      largest_value = max(largest_value, abs(fresh_value[i / KV_FOURS * KV_FOURS + j]));
    }
    key_scale = kv_scale(largest_key);
    value_scale = kv_scale(largest_value);
    workgroupBarrier();
  } else {
    key_scale = kv_scale(abs(key));
    value_scale = kv_scale(abs(value));
  }
  if (index < QUADS) {
    fresh_key[index] = kv_rounded(key, key_scale);
    fresh_value[index] = kv_rounded(value, value_scale);
    // One workgroup appends to the cache; the others have their own copy, so nobody waits.
    if (split == 0u && share == 0u && index < quads) {
      let at = row_of(page_of(now.position), now.position % PAGE) + kv_head * quads + i;
      kv_store(at, key, key_scale);
      kv_store(at + PAGE * row, value, value_scale);
    }
  }
  workgroupBarrier();
  let slices = THREADS / quads;  // of positions: an invocation sums one of them into output vec4 d
  let slice = min(index / quads, slices - 1u);
  let d = index % quads;
  let lane = index % LANES;
  var maximum = vec4<f32>(LOWEST);
  var total = vec4<f32>(0.0);  // of the slice
  //: for h in 0..4
  var output_{h} = vec4<f32>(0.0);
  //: end
  for (var base = first; base < last; base += BLOCK) {
    let block = min(BLOCK, last - base);
    let keys = row_of(page_of(base), base % PAGE) + kv_head * quads;
    let values = keys + PAGE * row;
    let fresh = now.position - base;
    // The first values are on their way while the scores are made: eight names and not an array,
    // which would lie in memory.
    //: for k in 0..8
    let v_{k} = value_at(values, slice{+ k * slices}, block, fresh, d);
    //: end
    // Two positions an invocation.
    let a = min(index / LANES, block - 1u);
    let b = min((index + THREADS) / LANES, block - 1u);
    var score_a = vec4<f32>(0.0);
    var score_b = vec4<f32>(0.0);
    //: for k in 0..4
    if (HEAD_DIM > {32 * k}u) {
      score_a += score_part(key_at(keys + a * row, a == fresh, lane{+ 8 * k}), lane{+ 8 * k});
      score_b += score_part(key_at(keys + b * row, b == fresh, lane{+ 8 * k}), lane{+ 8 * k});
    }
    //: end
    for (var k = 32u; k < quads; k += LANES) {
      score_a += score_part(key_at(keys + a * row, a == fresh, lane + k), lane + k);
      score_b += score_part(key_at(keys + b * row, b == fresh, lane + k), lane + k);
    }
    parts[part_of(index / LANES, lane)] = score_a;
    parts[part_of((index + THREADS) / LANES, lane)] = score_b;
    workgroupBarrier();
    var score = vec4<f32>(LOWEST);
    if (index < BLOCK) {
      let sum = {for j in 0..8 join " + "}parts[part_of(index, {j}u)]{end};
      score = select(score, sum, index < block);
      scores[index] = score;
    }
    workgroupBarrier();
    if (index < BLOCK / 8u) {
      var top = scores[8u * index];
      //: for j in 1..8
      top = max(top, scores[8u * index{+ j}]);
      //: end
      tops[index] = top;
    }
    workgroupBarrier();
    var higher = maximum;
    for (var j = 0u; j < BLOCK / 8u; j++) {
      higher = max(higher, tops[j]);
    }
    let fade = exp(maximum - higher);
    maximum = higher;
    if (index < BLOCK) {
      scores[index] = select(vec4<f32>(0.0), exp(score - higher), index < block);
    }
    workgroupBarrier();
    total *= fade;
    //: for h, c in x y z w
    output_{h} *= fade.{c};
    //: end
    //: for k in 0..8
    let w_{k} = weights_at(slice{+ k * slices});
    total += w_{k};
    //: for h, c in x y z w
    output_{h} += w_{k}.{c} * v_{k};
    //: end
    //: end
    for (var k = slice + 8u * slices; k < block; k += slices) {
      let w = weights_at(k);
      let v = value_at(values, k, block, fresh, d);
      total += w;
      //: for h, c in x y z w
      output_{h} += w.{c} * v;
      //: end
    }
    workgroupBarrier();
  }
  parts[index] = total;
  workgroupBarrier();
  var totals = vec4<f32>(0.0);
  if (index == 0u) {
    for (var j = 0u; j < slices; j++) {
      totals += parts[j * quads];
    }
  }
  workgroupBarrier();
  let partial = SPLITS_OFFSET + (head * now.splits + split) * (HEAD_DIM + 4u);
  //: for h, c in x y z w
  if ({h}u < heads) {
    parts[index] = output_{h};
    workgroupBarrier();
    let to = partial + {h}u * now.splits * (HEAD_DIM + 4u);
    if (index < quads) {
      var sum = parts[index];
      for (var j = 1u; j < slices; j++) {
        sum += parts[j * quads + index];
      }
      let to_row = to + 4u + 4u * index;
      //: for k, of in x y z w
      mixed[to_row{+ k}] = sum.{of};
      //: end
    }
    if (index == 0u) {
      mixed[to] = maximum.{c};
      mixed[to + 1u] = totals.{c};
    }
    workgroupBarrier();
  }
  //: end
}
