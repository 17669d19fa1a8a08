//: kernel: candidate weights scan
// Which bins top-k and top-p cut: tokens in bins before them are kept for certain, and their
// weights are added up for each slice of the vocabulary; tokens in those bins are listed for
// multinomial.wgsl. Where both cut, top-p's share is one of what top-k keeps, which is known only
// up to a bin: then the list begins with the first bin in which the cut can be, and ends with
// top-k's. A workgroup is a slice, as in histogram.wgsl. Grid: (SLICES, 1).
@group(0) @binding(0) var<uniform> ends: Ends;
@group(0) @binding(1) var<uniform> params: SamplingParams;
@group(0) @binding(2) var<storage, read> saved_logits: array<f32>;        // [V]
@group(0) @binding(3) var<storage, read> control: array<u32>;             // see sample.wgsl
@group(0) @binding(4) var<storage, read> found: array<Candidate>;         // [SLICES]
@group(0) @binding(5) var<storage, read> bins: array<u32>;  // [3, BINS], from histogram.wgsl
@group(0) @binding(6) var<storage, read_write> slices: array<vec4<u32>>;  // [SLICES + 2]: see below
// [V]: tokens, each slice's where the slice begins
@group(0) @binding(7) var<storage, read_write> list: array<u32>;

// The bin of a cut and the sum of those before it.
struct Cut {
  bin: u32,
  before: vec3<u32>,
}

var<workgroup> cut: Cut;
var<workgroup> listed: atomic<u32>;

fn sum_of(bin: u32) -> vec3<u32> {
  return vec3<u32>(bins[bin], bins[BINS + bin], bins[2u * BINS + bin]);
}

// Every invocation must call it. `before`: the sum of the bins before this invocation's.
fn find(before: vec3<u32>, index: u32, weighted: bool, count: u32, goal: vec2<u32>) -> Cut {
  let share = BINS / THREADS;
  var sum = before;
  for (var bin = index * share; bin < (index + 1u) * share; bin++) {
    let next = sum + sum_of(bin);
    if (is_cut(sum, next, weighted, count, goal)) {
      cut = Cut(bin, sum);
    }
    sum = next;
  }
  workgroupBarrier();
  let answer = cut;
  workgroupBarrier();
  return answer;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let best = likeliest();
  if (control[0] != 0u || best.token == NO_TOKEN) {
    return;
  }
  let share = BINS / THREADS;
  var mine = vec3<u32>();
  for (var bin = index * share; bin < (index + 1u) * share; bin++) {
    mine += sum_of(bin);
  }
  let before = scan(mine, index) - mine;
  let all = sums[THREADS - 1u];

  // Without a filter nothing is listed.
  let by_count = params.top_k > 0u && params.top_k < ends.vocab_size;
  var first = Cut(BINS, vec3<u32>());
  var last = 0u;
  var whole = all;
  if (by_count) {
    first = find(before, index, false, params.top_k, vec2<u32>());
    last = first.bin;
    whole = first.before;
  }
  if (params.top_p > 0u) {
    first = find(before, index, true, 0u, part(params.top_p, total(whole)));
    last = max(last, first.bin);
  }

  if (index == 0u) {
    atomicStore(&listed, 0u);
  }
  workgroupBarrier();
  let length = (ends.vocab_size + SLICES - 1u) / SLICES;
  let start = group.x * length;
  let end = min(start + length, ends.vocab_size);
  var certain = vec3<u32>();
  for (var i = start + index; i < end; i += THREADS) {
    let away = difference(best.logit, saved_logits[i]);
    let bin = bin_of(away);
    if (bin < first.bin) {
      let w = weight(away, params.scale);
      if (w >= params.least) {
        certain += tally(w);
      }
    } else if (bin <= last) {
      list[start + atomicAdd(&listed, 1u)] = i;
    }
  }
  let sum = scan(certain, index);
  if (index == THREADS - 1u) {
    // Tokens listed, and the weight of those that are certain.
    slices[group.x] = vec4<u32>(atomicLoad(&listed), sum.y, sum.z, 0u);
    if (group.x == 0u) {
      // The bins of the list, and all that is before them; the weight of all.
      slices[SLICES] = vec4<u32>(first.bin, last, first.before.x, first.before.y);
      slices[SLICES + 1u] = vec4<u32>(first.before.z, all.y, all.z, 0u);
    }
  }
}
