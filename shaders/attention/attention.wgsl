//: kernel: step kv
// Causal softmax attention, a workgroup for one query head at one token: on software adapters,
// which gain nothing from tiles. Grid: (nh T, 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> ready: array<f32>;  // [T, READY_STRIDE], see prepare.wgsl
@group(0) @binding(2) var<uniform> pages: array<vec4<u32>, 512>;  // see kv.wgsl
// [T, MIXED_STRIDE]: attention | SSM
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>;
@group(1) @binding(0) var<storage, read> kv: array<KvWord>;       // see kv.wgsl

override THREADS: u32 = 32u;
override READY_STRIDE: u32;
override MIXED_STRIDE: u32;
override HEADS: u32;      // nh
override HEAD_DIM: u32;
override Q_PER_KV: u32;   // nh / nkv

var<workgroup> query: array<vec4<f32>, HEAD_DIM / 4u>;
var<workgroup> output: array<f32, HEAD_DIM>;
var<workgroup> scores: array<f32, THREADS>;
var<workgroup> shares: array<f32, THREADS>;

// Online over blocks of THREADS positions: an invocation is a position while the scores are made
// and an output dimension while the values are added.
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let head = group.x % HEADS;
  let t = group.x / HEADS;
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
