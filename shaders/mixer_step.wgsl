// The parallel hybrid for one token (decode): prepare.wgsl and mixer.wgsl in one. Attention heads and SSM heads are
// workgroups of one dispatch; each makes what it needs of RoPE, convolution and softplus itself.
// Workgroups 0 .. nh splits - 1: one query head over one piece of the context. The rest: THREADS / LANES rows of an SSM head.
// Grid: (nh splits + n ceil(P / (THREADS / LANES)), 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> proj: array<f32>;                    // [ q | k | v | z | x | B | C | dt ]
@group(0) @binding(2) var<uniform> turns: array<vec4<f32>, 64>;               // (cos, sin) of each pair of a head, two a vec4
@group(0) @binding(3) var<storage, read_write> conv_state: array<f32>;        // [conv_dim, K], see prepare.wgsl
@group(0) @binding(4) var<storage, read> mamba: array<f32>;                   // see prepare.wgsl
@group(0) @binding(5) var<storage, read_write> keys: array<vec4<f32>>;        // [context, nkv hd / 4]
@group(0) @binding(6) var<storage, read_write> values: array<vec4<f32>>;      // [context, nkv hd / 4]
@group(0) @binding(7) var<storage, read_write> ssm_state: array<vec4<f32>>;   // [n, P, N / 4]
@group(0) @binding(8) var<storage, read_write> mixed: array<f32>;             // [ attention | SSM ], then the pieces for merge.wgsl
@group(0) @binding(9) var<storage, read> control: array<u32>;                 // [0]: 1 after an end token: keep the states

override SSM_OFFSET: u32;
override PIECES: u32;     // where the pieces begin: [nh, splits, maximum total output (hd)]
override Q_DIM: u32;      // nh hd
override KV_DIM: u32;     // nkv hd
override HEAD_DIM: u32;
override Q_PER_KV: u32;   // nh / nkv
override D_SSM: u32;
override CONV_DIM: u32;   // d + 2 G N
override D_CONV: u32;     // K
override SSM_HEADS: u32;  // n
override P: u32;          // mamba_d_head
override N: u32;          // mamba_d_state
override G: u32;          // mamba_n_groups

const LOWEST: f32 = -3.0e38;
const BLOCK: u32 = 128u;  // positions whose scores are in workgroup memory at a time

var<workgroup> query: array<vec4<f32>, HEAD_DIM / 4u>;
var<workgroup> fresh_key: array<vec4<f32>, HEAD_DIM / 4u>;
var<workgroup> fresh_value: array<vec4<f32>, HEAD_DIM / 4u>;
var<workgroup> scores: array<f32, BLOCK>;
var<workgroup> parts: array<f32, BLOCK * 8u>;               // partial scores; B and C of an SSM head
var<workgroup> sums: array<vec4<f32>, THREADS>;

// Value i of the head at `at` in proj, with RoPE: the pair (i, i + hd / 2) turned by the token's angle.
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

// Softmax attention of one query over positions [first, last), online over blocks.
fn attention(head: u32, split: u32, index: u32) {
  let length = now.position + 1u;
  let each = (length + now.splits - 1u) / now.splits;
  let first = min(split * each, length);
  let last = min(first + each, length);
  let kv_head = head / Q_PER_KV;
  let quads = HEAD_DIM / 4u;
  let row = KV_DIM / 4u;
  for (var i = index; i < quads; i += THREADS) {
    query[i] = inverseSqrt(f32(HEAD_DIM)) * rotated_4(head * HEAD_DIM, 4u * i);
    let key = rotated_4(Q_DIM + kv_head * HEAD_DIM, 4u * i);
    let v = Q_DIM + KV_DIM + kv_head * HEAD_DIM + 4u * i;
    let value = vec4<f32>(proj[v], proj[v + 1u], proj[v + 2u], proj[v + 3u]);
    fresh_key[i] = key;
    fresh_value[i] = value;
    // The first query head of a group appends to the cache; the others have their own copy, so nobody waits.
    if (split == 0u && head % Q_PER_KV == 0u) {
      keys[now.position * row + kv_head * quads + i] = key;
      values[now.position * row + kv_head * quads + i] = value;
    }
  }
  workgroupBarrier();
  let slices = THREADS / quads;
  let slice = index / quads;
  let d = index % quads;
  var maximum = LOWEST;
  var total = 0.0;
  var output = vec4<f32>(0.0);
  for (var base = first; base < last; base += BLOCK) {
    let block = min(BLOCK, last - base);
    // Eight invocations a position.
    for (var i = index; i < BLOCK * 8u; i += THREADS) {
      let position = i / 8u;
      var score = 0.0;
      if (position < block) {
        let k = (base + position) * row + kv_head * quads;
        let is_fresh = base + position == now.position;
        for (var j = i % 8u; j < quads; j += 8u) {
          if (is_fresh) {
            score += dot(query[j], fresh_key[j]);
          } else {
            score += dot(query[j], keys[k + j]);
          }
        }
      }
      parts[i] = score;
    }
    workgroupBarrier();
    for (var i = index; i < BLOCK; i += THREADS) {
      var score = LOWEST;
      if (i < block) {
        score = parts[8u * i];
        for (var j = 1u; j < 8u; j++) {
          score += parts[8u * i + j];
        }
      }
      scores[i] = score;
    }
    workgroupBarrier();
    var higher = maximum;
    for (var i = 0u; i < BLOCK; i++) {
      higher = max(higher, scores[i]);
    }
    let fade = exp(maximum - higher);
    maximum = higher;
    workgroupBarrier();
    for (var i = index; i < BLOCK; i += THREADS) {
      scores[i] = select(0.0, exp(scores[i] - higher), i < block);
    }
    workgroupBarrier();
    total = total * fade;
    for (var i = 0u; i < BLOCK; i++) {
      total += scores[i];
    }
    output *= fade;
    if (slice < slices) {
      for (var i = slice; i < block; i += slices) {
        if (base + i == now.position) {
          output += scores[i] * fresh_value[d];
        } else {
          output += scores[i] * values[(base + i) * row + kv_head * quads + d];
        }
      }
    }
    workgroupBarrier();
  }
  sums[index] = output;
  workgroupBarrier();
  for (var i = index; i < quads; i += THREADS) {
    var sum = sums[i];
    for (var j = 1u; j < slices; j++) {
      sum += sums[j * quads + i];
    }
    if (now.splits == 1u) {
      sum = sum / total;
    }
    let piece = PIECES + (head * now.splits + split) * (HEAD_DIM + 2u);
    let to_row = select(piece + 2u, head * HEAD_DIM, now.splits == 1u) + 4u * i;
    for (var j = 0u; j < 4u; j++) {
      mixed[to_row + j] = sum[j];
    }
    if (now.splits > 1u && i == 0u) {
      mixed[piece] = maximum;
      mixed[piece + 1u] = total;
    }
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
  for (var i = index; i < 2u * N; i += THREADS) {
    parts[i] = convolved(D_SSM + select(group * N + i, G * N + group * N + i - N, i >= N), keeps);
  }
  let x = convolved(channel, !halted && inside && lane == 0u);
  let small = CONV_DIM * (D_CONV + 1u) + head;
  let v = proj[Q_DIM + 2u * KV_DIM + D_SSM + CONV_DIM + head] + mamba[small];
  // softplus; above 20 it is v itself in f32.
  let delta = select(log(1.0 + exp(min(v, 20.0))), v, v > 20.0);
  let decay = exp(delta * mamba[small + SSM_HEADS]);
  let z = proj[Q_DIM + 2u * KV_DIM + channel];
  let state = channel * (N / 4u);
  workgroupBarrier();
  var sum = 0.0;
  for (var n = lane; n < N / 4u; n += LANES) {
    let i = 4u * n;
    let s = decay * ssm_state[state + n] + delta * x * vec4<f32>(parts[i], parts[i + 1u], parts[i + 2u], parts[i + 3u]);
    if (inside && !halted) {
      ssm_state[state + n] = s;
    }
    sum += dot(s, vec4<f32>(parts[N + i], parts[N + i + 1u], parts[N + i + 2u], parts[N + i + 3u]));
  }
  let y = reduce(vec4<f32>(sum, 0.0, 0.0, 0.0), index).x + mamba[small + 2u * SSM_HEADS] * x;
  if (inside && lane == 0u) {
    mixed[SSM_OFFSET + channel] = y * z / (1.0 + exp(-z));
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let pieces = Q_DIM / HEAD_DIM * now.splits;
  if (group.x < pieces) {
    attention(group.x / now.splits, group.x % now.splits, index);
    return;
  }
  let slices = (P + THREADS / LANES - 1u) / (THREADS / LANES);
  selective_scan((group.x - pieces) / slices, (group.x - pieces) % slices, index);
}
