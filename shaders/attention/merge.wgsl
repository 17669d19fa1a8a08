//: kernel: step | step
// Puts the splits of a long context together (decode; matvec_team.wgsl does it where there are
// two): each split of mixer_step.wgsl or attention_long.wgsl has its own maximum, sum and output. A
// workgroup is one query head. Grid: (nh, 1).
@group(0) @binding(0) var<uniform> now: Step;
// [ attention | SSM ], splits [nh, splits, maximum total - - output (hd)]
@group(0) @binding(1) var<storage, read_write> mixed: array<vec4<f32>>;
//: if lora
// With adapters: A of o_proj as columns [heads' outputs, O_RANKS], and A o of each head, as
// mixer_step.wgsl leaves it where there is nothing to merge.
@group(0) @binding(2) var<storage, read> lora_a: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums_out: array<f32>;

override O_A: u32 = 0u;
override O_RANKS: u32 = 1u;
override HEADS_AT: u32 = 0u;
//: end

override SPLITS_OFFSET: u32;
override HEAD_DIM: u32;

const MOST_SPLITS: u32 = 256u;  // MAX_SPLITS in state.rs: an invocation each
const LOWEST: f32 = -3.0e38;

var<workgroup> shares: array<f32, MOST_SPLITS>;
var<workgroup> totals: array<f32, MOST_SPLITS>;
var<workgroup> tops: array<f32, MOST_SPLITS / 16u>;
var<workgroup> some: array<f32, MOST_SPLITS / 16u>;  // of the totals
var<workgroup> sums: array<vec4<f32>, MOST_SPLITS>;
//: if lora
var<workgroup> head: array<vec4<f32>, HEAD_DIM / 4u>;
//: end

// Output vec4 d of a split, the last one's again where there is none: its share is nothing.
fn output_at(first: u32, split: u32, d: u32) -> vec4<f32> {
  return mixed[first + min(split, now.splits - 1u) * (HEAD_DIM / 4u + 1u) + 1u + d];
}

fn share_of(split: u32) -> f32 {
  return select(0.0, shares[min(split, MOST_SPLITS - 1u)], split < now.splits);
}

@compute @workgroup_size(MOST_SPLITS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let quads = HEAD_DIM / 4u;
  let row = quads + 1u;
  let first = SPLITS_OFFSET / 4u + group.x * now.splits * row;
  let is_split = index < now.splits;
  let own = mixed[first + min(index, now.splits - 1u) * row];
  // Slices of the splits, so that more of them are on their way at once.
  let slices = MOST_SPLITS / quads;
  let slice = min(index / quads, slices - 1u);
  let d = index % quads;
  //: for i in 0..4
  let v_{i} = output_at(first, slice{+ i * slices}, d);
  //: end
  shares[index] = select(LOWEST, own.x, is_split);
  workgroupBarrier();
  if (index < MOST_SPLITS / 16u) {
    var top = shares[16u * index];
    //: for i in 1..16
    top = max(top, shares[16u * index{+ i}]);
    //: end
    tops[index] = top;
  }
  workgroupBarrier();
  var maximum = tops[0];
  //: for i in 1..16
  maximum = max(maximum, tops[{i}]);
  //: end
  let share = select(0.0, exp(own.x - maximum), is_split);
  shares[index] = share;
  totals[index] = share * own.y;
  workgroupBarrier();
  if (index < MOST_SPLITS / 16u) {
    var sum = totals[16u * index];
    //: for i in 1..16
    sum += totals[16u * index{+ i}];
    //: end
    some[index] = sum;
  }
  var sum = (share_of(slice) * v_0 + share_of(slice + slices) * v_1)
    + (share_of(slice + 2u * slices) * v_2 + share_of(slice + 3u * slices) * v_3);
  for (var i = slice + 4u * slices; i < now.splits; i += 4u * slices) {
    //: for k in 0..4
    let u_{k} = output_at(first, i{+ k * slices}, d);
    //: end
    sum += (share_of(i) * u_0 + share_of(i + slices) * u_1)
      + (share_of(i + 2u * slices) * u_2 + share_of(i + 3u * slices) * u_3);
  }
  sums[index] = sum;
  workgroupBarrier();
  if (index < quads) {
    var total = some[0];
    //: for i in 1..16
    total += some[{i}];
    //: end
    for (var j = 1u; j < slices; j++) {
      sum += sums[j * quads + index];
    }
    mixed[group.x * quads + index] = sum / total;
    //: if lora
    head[index] = sum / total;
    //: end
  }
  //: if lora
  if (now.splits == 2u) {
    // A comparison of stages merges two as well; each has left its own.
    return;
  }
  workgroupBarrier();
  for (var k = index; k < O_RANKS; k += MOST_SPLITS) {
    var t = 0.0;
    for (var q = 0u; q < quads; q++) {
      let at = O_A + (group.x * HEAD_DIM + 4u * q) * O_RANKS + k;
      t += dot(head[q], vec4<f32>(lora_a[at], lora_a[at + O_RANKS], lora_a[at + 2u * O_RANKS], lora_a[at + 3u * O_RANKS]));
    }
    sums_out[HEADS_AT + 4u * (group.x * O_RANKS + k)] = t;
  }
  //: end
}
