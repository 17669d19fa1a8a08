// The parallel hybrid: attention heads and SSM heads are workgroups of one dispatch.
// Workgroups 0 .. nh T - 1: one query head at one token. The rest: one SSM head, THREADS / LANES of its P rows, all tokens.
// Grid: (nh T + n ceil(P / (THREADS / LANES)), 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> proj: array<f32>;                    // [T, PROJ_STRIDE], see prepare.wgsl
@group(0) @binding(2) var<storage, read> ready: array<f32>;                   // [T, READY_STRIDE], see prepare.wgsl
@group(0) @binding(3) var<uniform> pages: array<vec4<u32>, 512>;              // see kv.wgsl
@group(0) @binding(4) var<storage, read> mamba: array<f32>;                   // see prepare.wgsl
@group(0) @binding(5) var<storage, read_write> conv_state: array<f32>;        // [conv_dim, K], see prepare.wgsl
@group(0) @binding(6) var<storage, read_write> ssm_state: array<vec4<f32>>;   // [n, P, N / 4]
@group(0) @binding(7) var<storage, read_write> mixed: array<f32>;             // [T, MIXED_STRIDE]: attention | SSM at SSM_OFFSET
@group(1) @binding(0) var<storage, read> kv: array<vec2<u32>>;                // see kv.wgsl

override PROJ_STRIDE: u32;
override READY_STRIDE: u32;
override MIXED_STRIDE: u32;
override SSM_OFFSET: u32;
override Q_DIM: u32;
override HEAD_DIM: u32;
override Q_PER_KV: u32;   // nh / nkv
override D_SSM: u32;
override CONV_DIM: u32;
override D_CONV: u32;
override SSM_HEADS: u32;
override P: u32;          // mamba_d_head
override N: u32;          // mamba_d_state
override G: u32;          // mamba_n_groups

var<workgroup> query: array<vec4<f32>, HEAD_DIM / 4u>;
var<workgroup> output: array<f32, HEAD_DIM>;
var<workgroup> scores: array<f32, THREADS>;
var<workgroup> shares: array<f32, THREADS>;

// Causal softmax attention of one query, online over blocks of THREADS positions: an invocation is a position while the
// scores are made and an output dimension while the values are added.
fn attention(head: u32, t: u32, index: u32) {
  let length = now.position + t + 1u;
  let kv_head = head / Q_PER_KV;
  let scale = 1.0 / sqrt(f32(HEAD_DIM));
  for (var i = index; i < HEAD_DIM / 4u; i += THREADS) {
    let q = t * READY_STRIDE + head * HEAD_DIM + 4u * i;
    query[i] = scale * vec4<f32>(ready[q], ready[q + 1u], ready[q + 2u], ready[q + 3u]);
  }
  for (var i = index; i < HEAD_DIM; i += THREADS) {
    output[i] = 0.0;
  }
  var maximum = -3.0e38;
  var total = 0.0;
  workgroupBarrier();
  for (var base = 0u; base < length; base += THREADS) {
    let block = min(THREADS, length - base);
    let first = row_of(page_of(base), base % PAGE) + kv_head * HEAD_DIM / 4u;
    var score = -3.0e38;
    if (index < block) {
      let k = first + index * (KV_DIM / 4u);
      score = 0.0;
      for (var i = 0u; i < HEAD_DIM / 4u; i++) {
        score += dot(query[i], kv_4(k + i));
      }
    }
    scores[index] = score;
    workgroupBarrier();
    var higher = maximum;
    for (var i = 0u; i < block; i++) {
      higher = max(higher, scores[i]);
    }
    let fade = exp(maximum - higher);
    maximum = higher;
    shares[index] = select(0.0, exp(score - higher), index < block);
    workgroupBarrier();
    total = total * fade;
    for (var i = 0u; i < block; i++) {
      total += shares[i];
    }
    for (var d = index; d < HEAD_DIM; d += THREADS) {
      var sum = output[d] * fade;
      for (var i = 0u; i < block; i++) {
        sum += shares[i] * kv_1(first + (PAGE + i) * (KV_DIM / 4u), d);
      }
      output[d] = sum;
    }
  }
  for (var d = index; d < HEAD_DIM; d += THREADS) {
    mixed[t * MIXED_STRIDE + head * HEAD_DIM + d] = output[d] / total;
  }
}

fn ready_4(i: u32) -> vec4<f32> {
  return vec4<f32>(ready[i], ready[i + 1u], ready[i + 2u], ready[i + 3u]);
}

// After an end token the state stays as it is.
fn is_halted() -> bool {
  return ready[Q_DIM + CONV_DIM + 2u * SSM_HEADS] != 0.0;
}

// Mamba-2 recurrence of one head, row by row of its state, then the D skip and the gate:
//   S_t = exp(delta A) S_{t-1} + delta x_t B_t^T ;  y_t = S_t C_t + D x_t ;  o_t = y_t silu(z_t)
fn selective_scan(head: u32, slice: u32, index: u32) {
  let lane = index % LANES;
  let row = slice * (THREADS / LANES) + index / LANES;
  let inside = row < P;
  let keep = inside && !is_halted();
  let channel = head * P + row;
  let group = head / (SSM_HEADS / G);
  let skip = mamba[CONV_DIM * (D_CONV + 1u) + 2u * SSM_HEADS + head];
  let state = (head * P + min(row, P - 1u)) * (N / 4u);
  // A lane's share of the state stays in registers over all tokens where it is small: eight names and not an array, which
  // would lie in memory.
  let share = (N / 4u + LANES - 1u) / LANES;
  let in_registers = share <= 8u;
  var s_0 = vec4<f32>(0.0);
  var s_1 = vec4<f32>(0.0);
  var s_2 = vec4<f32>(0.0);
  var s_3 = vec4<f32>(0.0);
  var s_4 = vec4<f32>(0.0);
  var s_5 = vec4<f32>(0.0);
  var s_6 = vec4<f32>(0.0);
  var s_7 = vec4<f32>(0.0);
  if (in_registers) {
    if (lane + 0u * LANES < N / 4u) { s_0 = ssm_state[state + lane + 0u * LANES]; }
    if (lane + 1u * LANES < N / 4u) { s_1 = ssm_state[state + lane + 1u * LANES]; }
    if (lane + 2u * LANES < N / 4u) { s_2 = ssm_state[state + lane + 2u * LANES]; }
    if (lane + 3u * LANES < N / 4u) { s_3 = ssm_state[state + lane + 3u * LANES]; }
    if (lane + 4u * LANES < N / 4u) { s_4 = ssm_state[state + lane + 4u * LANES]; }
    if (lane + 5u * LANES < N / 4u) { s_5 = ssm_state[state + lane + 5u * LANES]; }
    if (lane + 6u * LANES < N / 4u) { s_6 = ssm_state[state + lane + 6u * LANES]; }
    if (lane + 7u * LANES < N / 4u) { s_7 = ssm_state[state + lane + 7u * LANES]; }
  }
  for (var t = 0u; t < now.tokens; t++) {
    let at = t * READY_STRIDE + Q_DIM;
    let b = at + D_SSM + group * N;
    let c = b + G * N;
    let x = ready[at + min(channel, D_SSM - 1u)];
    let decay = ready[at + CONV_DIM + SSM_HEADS + head];
    let weighted = ready[at + CONV_DIM + head] * x;
    var sum = 0.0;
    if (in_registers) {
      if (lane + 0u * LANES < N / 4u) {
        let n = 4u * (lane + 0u * LANES);
        s_0 = decay * s_0 + weighted * ready_4(b + n);
        sum += dot(s_0, ready_4(c + n));
      }
      if (lane + 1u * LANES < N / 4u) {
        let n = 4u * (lane + 1u * LANES);
        s_1 = decay * s_1 + weighted * ready_4(b + n);
        sum += dot(s_1, ready_4(c + n));
      }
      if (lane + 2u * LANES < N / 4u) {
        let n = 4u * (lane + 2u * LANES);
        s_2 = decay * s_2 + weighted * ready_4(b + n);
        sum += dot(s_2, ready_4(c + n));
      }
      if (lane + 3u * LANES < N / 4u) {
        let n = 4u * (lane + 3u * LANES);
        s_3 = decay * s_3 + weighted * ready_4(b + n);
        sum += dot(s_3, ready_4(c + n));
      }
      if (lane + 4u * LANES < N / 4u) {
        let n = 4u * (lane + 4u * LANES);
        s_4 = decay * s_4 + weighted * ready_4(b + n);
        sum += dot(s_4, ready_4(c + n));
      }
      if (lane + 5u * LANES < N / 4u) {
        let n = 4u * (lane + 5u * LANES);
        s_5 = decay * s_5 + weighted * ready_4(b + n);
        sum += dot(s_5, ready_4(c + n));
      }
      if (lane + 6u * LANES < N / 4u) {
        let n = 4u * (lane + 6u * LANES);
        s_6 = decay * s_6 + weighted * ready_4(b + n);
        sum += dot(s_6, ready_4(c + n));
      }
      if (lane + 7u * LANES < N / 4u) {
        let n = 4u * (lane + 7u * LANES);
        s_7 = decay * s_7 + weighted * ready_4(b + n);
        sum += dot(s_7, ready_4(c + n));
      }
    } else {
      for (var n = lane; n < N / 4u; n += LANES) {
        let s = decay * ssm_state[state + n] + weighted * ready_4(b + 4u * n);
        if (keep) {
          ssm_state[state + n] = s;
        }
        sum += dot(s, ready_4(c + 4u * n));
      }
    }
    let y = reduce(vec4<f32>(sum, 0.0, 0.0, 0.0), index).x + skip * x;
    if (inside && lane == 0u) {
      let z = proj[t * PROJ_STRIDE + Q_DIM + 2u * KV_DIM + channel];
      mixed[t * MIXED_STRIDE + SSM_OFFSET + channel] = y * z / (1.0 + exp(-z));
    }
  }
  if (in_registers && keep) {
    if (lane + 0u * LANES < N / 4u) { ssm_state[state + lane + 0u * LANES] = s_0; }
    if (lane + 1u * LANES < N / 4u) { ssm_state[state + lane + 1u * LANES] = s_1; }
    if (lane + 2u * LANES < N / 4u) { ssm_state[state + lane + 2u * LANES] = s_2; }
    if (lane + 3u * LANES < N / 4u) { ssm_state[state + lane + 3u * LANES] = s_3; }
    if (lane + 4u * LANES < N / 4u) { ssm_state[state + lane + 4u * LANES] = s_4; }
    if (lane + 5u * LANES < N / 4u) { ssm_state[state + lane + 5u * LANES] = s_5; }
    if (lane + 6u * LANES < N / 4u) { ssm_state[state + lane + 6u * LANES] = s_6; }
    if (lane + 7u * LANES < N / 4u) { ssm_state[state + lane + 7u * LANES] = s_7; }
  }
}

// The columns before the convolution go to the ring, the last K of them. prepare.wgsl, which reads the old ones, has run already.
fn keep_columns(channel: u32) {
  for (var j = 0u; j < min(D_CONV, now.tokens); j++) {
    let t = now.tokens - 1u - j;
    conv_state[channel * D_CONV + (now.position + t) % D_CONV] = proj[t * PROJ_STRIDE + Q_DIM + 2u * KV_DIM + D_SSM + channel];
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let heads = Q_DIM / HEAD_DIM;
  if (group.x < heads * now.tokens) {
    attention(group.x % heads, group.x / heads, index);
    return;
  }
  let slices = (P + THREADS / LANES - 1u) / (THREADS / LANES);
  let i = group.x - heads * now.tokens;
  selective_scan(i / slices, i % slices, index);
  if (is_halted()) {
    return;
  }
  for (var channel = i * THREADS + index; channel < CONV_DIM; channel += SSM_HEADS * slices * THREADS) {
    keep_columns(channel);
  }
}
