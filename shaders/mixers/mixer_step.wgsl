//: kernel, sums: step kv_append | step kv_append publish
// The parallel hybrid for one token (decode), with what prepare.wgsl does for many. Attention heads
// and SSM heads are workgroups of one dispatch; each makes what it needs of RoPE, convolution and
// softplus itself.
// Workgroups 0 .. nh splits - 1: one query head over one split of the context, where there are no
// more than MOST_SPLITS. The rest: THREADS / LANES rows of an SSM head.
// Grid: (nh splits + n ceil(P / (THREADS / LANES)), 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> proj: array<f32>;  // [ q | k | v | z | x | B | C | dt ]
// (cos, sin) of each pair of a head, two a vec4
@group(0) @binding(2) var<uniform> turns: array<vec4<f32>, 64>;
// [conv_dim, K], see prepare.wgsl
@group(0) @binding(3) var<storage, read_write> conv_state: array<f32>;
@group(0) @binding(4) var<storage, read> mamba: array<f32>;                  // see prepare.wgsl
@group(0) @binding(5) var<uniform> pages: array<vec4<u32>, 512>;             // see kv.wgsl
@group(0) @binding(6) var<storage, read_write> ssm_state: array<vec4<f32>>;  // [H, P, N / 4]
// [ attention | SSM ], then the splits for merge.wgsl
@group(0) @binding(7) var<storage, read_write> mixed: array<f32>;
// [0]: 1 after an end token: keep the states
@group(0) @binding(8) var<storage, read> control: array<u32>;
//: if lora
// With adapters: `mamba` has more behind it, A of o_proj and of out_proj as columns
// [heads' outputs, ranks], and the weight of the SSM heads' norm.
@group(0) @binding(9) var<storage, read_write> sums_out: array<atomic<i32>>;  // see publish.wgsl
//: end
@group(1) @binding(0) var<storage, read_write> kv: array<KvWord>;              // see kv.wgsl

override SSM_OFFSET: u32;
override SPLITS_OFFSET: u32;  // where the splits begin: [nh, splits, maximum total - - output (hd)]
override Q_DIM: u32;          // nh hd
override HEAD_DIM: u32;
override Q_PER_KV: u32;       // nh / nkv
override D_SSM: u32;
override CONV_DIM: u32;       // d + 2 G N
override D_CONV: u32;         // K
override SSM_HEADS: u32;      // H
override P: u32;              // mamba_d_head
override N: u32;              // mamba_d_state
override G: u32;              // mamba_n_groups

//: if lora
const NEVER: u32 = 0xffffffffu;
// Of o_proj and of out_proj: where their A begins and its ranks; of out_proj the first in t.
override O_A: u32 = 0u;
override O_RANKS: u32 = 0u;
// Where in sums_out heads leave A o as numbers [heads, O_RANKS, 4], one of each split.
override HEADS_AT: u32 = 0u;
override OUT_A: u32 = 0u;
override OUT_RANKS: u32 = 0u;
override OUT_T: u32 = 0u;
// Where the weight of the SSM heads' norm begins: none, or it comes later.
override OUT_NORM: u32 = NEVER;

//: end
const LOWEST: f32 = -3.0e38;
const MOST_SPLITS: u32 = 128u;  // SHORT_SPLITS in state.rs
const BLOCK: u32 = PAGE;  // positions whose scores are in workgroup memory at a time
// vec4s of a head, rounded up to whole rounds of the eight invocations that share a position; zeros
// in the end.
const QUADS: u32 = 64u;

var<workgroup> query: array<vec4<f32>, QUADS>;
var<workgroup> fresh_key: array<vec4<f32>, QUADS>;
var<workgroup> fresh_value: array<vec4<f32>, QUADS>;
var<workgroup> scores: array<f32, BLOCK>;
var<workgroup> tops: array<f32, BLOCK / 8u>;
var<workgroup> parts: array<f32, BLOCK * 8u>;  // partial scores; B and C of an SSM head
var<workgroup> sums: array<vec4<f32>, THREADS>;

// Value i of the head at `at` in proj, with RoPE: the pair (i, i + hd / 2) turned by the token's
// angle.
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

// Part j of the score of the key that begins at `key`: loads do not depend on each other, so that
// many are on their way at once.
fn score_part(key: u32, fresh: bool, j: u32) -> f32 {
  return dot(query[j], select(kv_4(key + min(j, HEAD_DIM / 4u - 1u)), fresh_key[j], fresh));
}

fn score_at(key: u32, fresh: bool, lane: u32) -> f32 {
  var score = score_part(key, fresh, lane) + score_part(key, fresh, lane + 8u);
  if (HEAD_DIM > 64u) {
    score += score_part(key, fresh, lane + 16u) + score_part(key, fresh, lane + 24u);
  }
  if (HEAD_DIM > 128u) {
    score += score_part(key, fresh, lane + 32u) + score_part(key, fresh, lane + 40u)
      + score_part(key, fresh, lane + 48u) + score_part(key, fresh, lane + 56u);
  }
  return score;
}

// Row i of a block in output vec4 d, whose values begin at `first`; the last row again after the
// block's end. `fresh`: the row that is this token's.
fn value_at(first: u32, i: u32, block: u32, fresh: u32, d: u32) -> vec4<f32> {
  let inside = min(i, block - 1u);
  return select(kv_4(first + inside * (KV_DIM / 4u) + d), fresh_value[d], inside == fresh);
}

// The weight of row i of a block, less the maximum's exponent; nothing after the block's end.
fn weight_at(i: u32, block: u32, maximum: f32) -> f32 {
  return select(0.0, exp(scores[min(i, BLOCK - 1u)] - maximum), i < block);
}

//: if lora
// A of o_proj or of out_proj for the heads' outputs of a workgroup, of which there are at most
// MOST: an invocation has one rank and every so many outputs. Eight of them are on their way while
// the outputs are made.
struct Columns {
  //: for i in 0..8
  a_{i}: f32,
  //: end
}

// What follows is of outputs from `first` on, `count` of them and never more than `most`.
// Invocations that share a rank: one where eight outputs are all.
fn slices_of(most: u32, ranks: u32) -> u32 {
  return select(THREADS / max(ranks, 1u), 1u, most <= 8u);
}

fn column_at(i: u32, first: u32, count: u32, a: u32, ranks: u32, index: u32) -> f32 {
  if (i >= count) {
    return 0.0;
  }
  return mamba[a + (first + i) * ranks + index % ranks];
}

fn columns_of(first: u32, count: u32, most: u32, a: u32, ranks: u32, index: u32) -> Columns {
  let slices = slices_of(most, ranks);
  var columns = Columns();
  if (ranks == 0u || index >= slices * ranks) {
    return columns;
  }
  //: for i in 0..8
  if ({i}u * slices < most) { columns.a_{i} = column_at(index / ranks{+ i * slices}, first, count, a, ranks, index); }
  //: end
  return columns;
}

// What A makes of `parts`: rank `index`, where there is one. All of the workgroup must call it.
fn product(first: u32, count: u32, most: u32, a: u32, ranks: u32, columns: Columns, index: u32) -> f32 {
  if (ranks == 0u) {
    return 0.0;
  }
  let slices = slices_of(most, ranks);
  let slice = index / ranks;
  var sum = 0.0;
  workgroupBarrier();
  if (slice < slices) {
    //: for i in 0..8
    if ({i}u * slices < most && slice{+ i * slices} < count) { sum += columns.a_{i} * parts[slice{+ i * slices}]; }
    //: end
    if (8u * slices < most) {
      for (var i = slice + 8u * slices; i < count; i += slices) {
        sum += column_at(i, first, count, a, ranks, index) * parts[i];
      }
    }
  }
  if (slices > 1u) {
    sums[index] = vec4<f32>(sum);
    workgroupBarrier();
    if (slice == 0u) {
      for (var j = 1u; j < slices; j++) {
        sum += sums[j * ranks + index].x;
      }
    }
  }
  return sum;
}

//: end
// Softmax attention of one query over positions [first, last), online over blocks.
fn attention(head: u32, split: u32, index: u32) {
  let length = now.position + 1u;
  // Whole blocks, so that each lies in one page.
  let each = (length + now.splits * BLOCK - 1u) / (now.splits * BLOCK) * BLOCK;
  let first = min(split * each, length);
  let last = min(first + each, length);
  let kv_head = head / Q_PER_KV;
  let quads = HEAD_DIM / 4u;
  let row = KV_DIM / 4u;
  var key = vec4<f32>(0.0);
  var value = vec4<f32>(0.0);
  let i = min(index, quads - 1u);
  if (index < QUADS) {
    key = rotated_4(Q_DIM + kv_head * HEAD_DIM, 4u * i);
    let v = Q_DIM + KV_DIM + kv_head * HEAD_DIM + 4u * i;
    value = vec4<f32>(proj[v], proj[v + 1u], proj[v + 2u], proj[v + 3u]);
    query[index] = select(vec4<f32>(0.0), inverseSqrt(f32(HEAD_DIM)) * rotated_4(head * HEAD_DIM, 4u * i), index < quads);
    fresh_key[index] = key;
    fresh_value[index] = value;
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
    // The first query head of a group appends to the cache; the others have their own copy, so
    // nobody waits.
    if (split == 0u && head % Q_PER_KV == 0u && index < quads) {
      let at = row_of(page_of(now.position), now.position % PAGE) + kv_head * quads + i;
      kv_store(at, key, key_scale);
      kv_store(at + PAGE * row, value, value_scale);
    }
  }
  workgroupBarrier();
  //: if lora
  var columns = Columns();
  if (now.splits <= 2u) {
    columns = columns_of(head * HEAD_DIM, HEAD_DIM, HEAD_DIM, O_A, O_RANKS, index);
  }
  //: end
  let slices = THREADS / quads;  // of positions: an invocation sums one of them into output vec4 d
  let slice = min(index / quads, slices - 1u);
  let d = index % quads;
  let sums_values = index / quads < slices;
  var maximum = LOWEST;
  var total = 0.0;  // of the slice
  var output = vec4<f32>(0.0);
  for (var base = first; base < last; base += BLOCK) {
    let block = min(BLOCK, last - base);
    let keys = row_of(page_of(base), 0u) + kv_head * quads;
    let values = keys + PAGE * row;
    let fresh = now.position - base;
    // The first values are on their way while the scores are made: eight names and not an array,
    // which would lie in memory.
    //: for i in 0..8
    let v_{i} = value_at(values, slice{+ i * slices}, block, fresh, d);
    //: end
    // Eight invocations a position, two positions an invocation at once.
    for (var i = index; i < BLOCK * 8u; i += 2u * THREADS) {
      let a = min(i / 8u, block - 1u);
      let b = min((i + THREADS) / 8u, block - 1u);
      let score_a = score_at(keys + a * row, a == fresh, index % 8u);
      let score_b = score_at(keys + b * row, b == fresh, index % 8u);
      parts[i] = score_a;
      if (i + THREADS < BLOCK * 8u) {
        parts[i + THREADS] = score_b;
      }
    }
    workgroupBarrier();
    for (var i = index; i < BLOCK; i += THREADS) {
      let p = 8u * i;
      let score = ((parts[p] + parts[p + 1u]) + (parts[p + 2u] + parts[p + 3u]))
        + ((parts[p + 4u] + parts[p + 5u]) + (parts[p + 6u] + parts[p + 7u]));
      scores[i] = select(LOWEST, score, i < block);
    }
    workgroupBarrier();
    for (var i = index; i < BLOCK / 8u; i += THREADS) {
      let p = 8u * i;
      tops[i] = max(
        max(max(scores[p], scores[p + 1u]), max(scores[p + 2u], scores[p + 3u])),
        max(max(scores[p + 4u], scores[p + 5u]), max(scores[p + 6u], scores[p + 7u])),
      );
    }
    workgroupBarrier();
    let higher = max(maximum, max(
      max(max(max(tops[0], tops[1]), max(tops[2], tops[3])), max(max(tops[4], tops[5]), max(tops[6], tops[7]))),
      max(max(max(tops[8], tops[9]), max(tops[10], tops[11])), max(max(tops[12], tops[13]), max(tops[14], tops[15]))),
    ));
    let fade = exp(maximum - higher);
    maximum = higher;
    //: for i in 0..8
    let w_{i} = weight_at(slice{+ i * slices}, block, higher);
    //: end
    total = fade * total + (((w_0 + w_1) + (w_2 + w_3)) + ((w_4 + w_5) + (w_6 + w_7)));
    output = fade * output + (((w_0 * v_0 + w_1 * v_1) + (w_2 * v_2 + w_3 * v_3)) + ((w_4 * v_4 + w_5 * v_5) + (w_6 * v_6 + w_7 * v_7)));
    for (var i = slice + 8u * slices; i < block; i += 4u * slices) {
      //: for k in 0..4
      let u_{k} = weight_at(i{+ k * slices}, block, higher);
      //: end
      total += (u_0 + u_1) + (u_2 + u_3);
      output += (u_0 * value_at(values, i, block, fresh, d) + u_1 * value_at(values, i + slices, block, fresh, d))
        + (u_2 * value_at(values, i + 2u * slices, block, fresh, d) + u_3 * value_at(values, i + 3u * slices, block, fresh, d));
    }
    workgroupBarrier();
  }
  sums[index] = select(vec4<f32>(0.0), output, sums_values);
  if (d == 0u && sums_values) {
    parts[slice] = total;
  }
  workgroupBarrier();
  //: if lora
  let writes = index < quads;
  //: else
  if (index >= quads) {
    return;
  }
  //: end
  total = parts[0];
  var sum = sums[index];
  for (var j = 1u; j < slices; j++) {
    total += parts[j];
    //: if lora
    sum += sums[j * quads + i];
    //: else
    sum += sums[j * quads + index];
    //: end
  }
  if (now.splits == 1u) {
    sum = sum / total;
  }
  //: if lora
  // A o of one split or two as numbers of each; merge.wgsl leaves those of more.
  if (now.splits <= 2u) {
    workgroupBarrier();
    if (writes) {
      //: for k, c in x y z w
      parts[4u * index{+ k}] = sum.{c};
      //: end
    }
    let t = product(head * HEAD_DIM, HEAD_DIM, HEAD_DIM, O_A, O_RANKS, columns, index);
    if (index < O_RANKS) {
      atomicStore(&sums_out[HEADS_AT + 4u * (head * O_RANKS + index) + split], bitcast<i32>(t));
    }
  }
  if (!writes) {
    return;
  }
  //: end
  let partial = SPLITS_OFFSET + (head * now.splits + split) * (HEAD_DIM + 4u);
  let to_row = select(partial + 4u, head * HEAD_DIM, now.splits == 1u) + 4u * index;
  mixed[to_row] = sum.x;
  mixed[to_row + 1u] = sum.y;
  mixed[to_row + 2u] = sum.z;
  mixed[to_row + 3u] = sum.w;
  if (now.splits > 1u && index == 0u) {
    mixed[partial] = maximum;
    mixed[partial + 1u] = total;
  }
}

// The causal convolution and SiLU of one channel; `keep` appends its column to the ring.
fn convolved(channel: u32, keep: bool) -> f32 {
  let column = proj[Q_DIM + 2u * KV_DIM + D_SSM + channel];
  let at = channel * D_CONV;
  var sum = mamba[CONV_DIM * D_CONV + channel] + mamba[at + D_CONV - 1u] * column;
  for (var j = 0u; j < D_CONV - 1u; j++) {
    sum += mamba[at + j] * conv_state[at + (now.position + j + 1u) % D_CONV];
  }
  if (keep) {
    // Nobody reads this slot in this step, so other workgroups need not wait.
    conv_state[at + now.position % D_CONV] = column;
  }
  return sum / (1.0 + exp(-sum));
}

fn part_4(i: u32) -> vec4<f32> {
  return vec4<f32>(parts[i], parts[i + 1u], parts[i + 2u], parts[i + 3u]);
}

// Mamba-2 recurrence of rows of one head's state, then the D skip and the gate:
//   S' = exp(delta A) S + delta x B^T ;  y = S' C + D x ;  o = y silu(z)
fn selective_scan(head: u32, slice: u32, index: u32) {
  let lane = index % LANES;
  let row = slice * (THREADS / LANES) + index / LANES;
  let inside = row < P;
  let channel = head * P + min(row, P - 1u);
  let group = head / (SSM_HEADS / G);
  let halted = control[0] != 0u;
  // One workgroup of each group keeps the columns of B and C.
  let keeps = !halted && slice == 0u && head % (SSM_HEADS / G) == 0u;
  let state = channel * (N / 4u);
  // A lane's share of the state is on its way while B and C are made: eight names and not an array,
  // which would lie in memory.
  let in_registers = (N / 4u + LANES - 1u) / LANES <= 8u;
  //: for i in 0..8
  var s_{i} = vec4<f32>(0.0);
  //: end
  if (in_registers) {
    //: for i in 0..8
    if (lane + {i}u * LANES < N / 4u) { s_{i} = ssm_state[state + lane + {i}u * LANES]; }
    //: end
  }
  //: if lora
  let rows = THREADS / LANES;
  let first = slice * rows;
  let count = min(rows, P - first);
  let columns = columns_of(head * P + first, count, rows, OUT_A, OUT_RANKS, index);
  var weight = 1.0;
  if (OUT_NORM != NEVER) {
    weight = mamba[OUT_NORM + channel];
  }
  //: end
  // So many rounds for everyone, which constants say: their loads are on their way together.
  for (var round = 0u; round < (2u * N + THREADS - 1u) / THREADS; round++) {
    let i = index + round * THREADS;
    if (2u * N % THREADS != 0u && i >= 2u * N) {
      break;
    }
    parts[i] = convolved(D_SSM + select(group * N + i, G * N + group * N + i - N, i >= N), keeps);
  }
  let x = convolved(channel, !halted && inside && lane == 0u);
  let small = CONV_DIM * (D_CONV + 1u) + head;
  let v = proj[Q_DIM + 2u * KV_DIM + D_SSM + CONV_DIM + head] + mamba[small];
  // softplus; above 20 it is v itself in f32.
  let delta = select(log(1.0 + exp(min(v, 20.0))), v, v > 20.0);
  let decay = exp(delta * mamba[small + SSM_HEADS]);
  let z = proj[Q_DIM + 2u * KV_DIM + channel];
  let keep = inside && !halted;
  workgroupBarrier();
  var sum = 0.0;
  if (in_registers) {
    //: for i in 0..8
    if (lane + {i}u * LANES < N / 4u) {
      let n = lane + {i}u * LANES;
      s_{i} = decay * s_{i} + delta * x * part_4(4u * n);
      sum += dot(s_{i}, part_4(N + 4u * n));
      if (keep) { ssm_state[state + n] = s_{i}; }
    }
    //: end
  } else {
    for (var n = lane; n < N / 4u; n += LANES) {
      let s = decay * ssm_state[state + n] + delta * x * part_4(4u * n);
      sum += dot(s, part_4(N + 4u * n));
      if (keep) {
        ssm_state[state + n] = s;
      }
    }
  }
  let y = reduce(vec4<f32>(sum, 0.0, 0.0, 0.0), index).x + mamba[small + 2u * SSM_HEADS] * x;
  //: if lora
  let output = y * z / (1.0 + exp(-z));
  if (inside && lane == 0u) {
    mixed[SSM_OFFSET + channel] = output;
  }
  workgroupBarrier();
  if (inside && lane == 0u) {
    parts[index / LANES] = weight * output;
  }
  let t = product(head * P + first, count, rows, OUT_A, OUT_RANKS, columns, index);
  if (index < OUT_RANKS) {
    publish(head * ((P + rows - 1u) / rows) + slice, OUT_T + index, t);
  }
  //: else
  if (inside && lane == 0u) {
    mixed[SSM_OFFSET + channel] = y * z / (1.0 + exp(-z));
  }
  //: end
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  // More splits are attention_long.wgsl's.
  let attention_groups = select(Q_DIM / HEAD_DIM * now.splits, 0u, now.splits > MOST_SPLITS);
  if (group.x < attention_groups) {
    attention(group.x / now.splits, group.x % now.splits, index);
    return;
  }
  let slices = (P + THREADS / LANES - 1u) / (THREADS / LANES);
  selective_scan((group.x - attention_groups) / slices, (group.x - attention_groups) % slices, index);
}
