//: kernel: step | step
// Puts the splits of a long context together (decode; matvec_team.wgsl does it where there are
// two): each split of mixer_step.wgsl has its own maximum, sum and output. A workgroup is one query
// head. Grid: (nh, 1).
@group(0) @binding(0) var<uniform> now: Step;
// [ attention | SSM ], splits [nh, splits, maximum total - - output (hd)]
@group(0) @binding(1) var<storage, read_write> mixed: array<f32>;
//: if lora
// With adapters: A of o_proj as columns [heads' outputs, O_RANKS], and A o of each head, as
// mixer_step.wgsl leaves it where there is nothing to merge.
@group(0) @binding(2) var<storage, read> lora_a: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums_out: array<f32>;

override O_A: u32 = 0u;
override O_RANKS: u32 = 1u;
override HEADS_AT: u32 = 0u;
//: end

override THREADS: u32 = 64u;
override SPLITS_OFFSET: u32;
override HEAD_DIM: u32;

const MOST_SPLITS: u32 = 128u;  // MAX_SPLITS in state.rs

var<workgroup> shares: array<f32, MOST_SPLITS>;
var<workgroup> totals: array<f32, MOST_SPLITS>;
var<workgroup> sums: array<f32, THREADS>;
//: if lora
var<workgroup> head: array<f32, HEAD_DIM>;
//: end

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = HEAD_DIM + 4u;
  let first = SPLITS_OFFSET + group.x * now.splits * row;
  for (var i = index; i < now.splits; i += THREADS) {
    shares[i] = mixed[first + i * row];
    totals[i] = mixed[first + i * row + 1u];
  }
  workgroupBarrier();
  var maximum = shares[0];
  for (var i = 1u; i < now.splits; i++) {
    maximum = max(maximum, shares[i]);
  }
  workgroupBarrier();
  for (var i = index; i < now.splits; i += THREADS) {
    shares[i] = exp(shares[i] - maximum);
  }
  workgroupBarrier();
  // Slices of the splits, so that more of them are on their way at once.
  let width = min(HEAD_DIM, THREADS);
  let slices = THREADS / width;
  let slice = index / width;
  for (var begin = 0u; begin < HEAD_DIM; begin += width) {
    let d = begin + index % width;
    var sum = 0.0;
    for (var i = slice; i < now.splits && d < HEAD_DIM; i += slices) {
      sum += shares[i] * mixed[first + i * row + 4u + d];
    }
    sums[index] = sum;
    workgroupBarrier();
    if (slice == 0u && d < HEAD_DIM) {
      var total = 0.0;
      for (var i = 0u; i < now.splits; i++) {
        total += shares[i] * totals[i];
      }
      for (var j = 1u; j < slices; j++) {
        sum += sums[j * width + index];
      }
      mixed[group.x * HEAD_DIM + d] = sum / total;
      //: if lora
      head[d] = sum / total;
      //: end
    }
    workgroupBarrier();
  }
  //: if lora
  if (now.splits == 2u) {
    // A comparison of stages merges two as well; each has left its own.
    return;
  }
  for (var k = index; k < O_RANKS; k += THREADS) {
    var sum = 0.0;
    for (var d = 0u; d < HEAD_DIM; d++) {
      sum += lora_a[O_A + (group.x * HEAD_DIM + d) * O_RANKS + k] * head[d];
    }
    sums_out[HEADS_AT + 4u * (group.x * O_RANKS + k)] = sum;
  }
  //: end
}
