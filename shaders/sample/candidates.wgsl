//: kernel: candidate
// The likeliest token of each slice of the vocabulary, for sample.wgsl. Its logits are kept for the
// host, unless the step was halted by an end token before it. A workgroup is a slice. Grid:
// (SLICES, 1).
@group(0) @binding(0) var<uniform> ends: Ends;
@group(0) @binding(1) var<storage, read> logits: array<f32>;             // [V]
// [V]: the logits of the last step that counted
@group(0) @binding(2) var<storage, read_write> saved_logits: array<f32>;
@group(0) @binding(3) var<storage, read> control: array<u32>;            // see sample.wgsl
@group(0) @binding(4) var<storage, read_write> found: array<Candidate>;  // [SLICES]
// [3, 1024], made zeros for histogram.wgsl
@group(0) @binding(5) var<storage, read_write> bins: array<u32>;

override THREADS: u32 = 256u;
override SLICES: u32 = 64u;

var<workgroup> best: array<Candidate, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let halted = control[0] != 0u;
  var mine = Candidate(0.0, NO_TOKEN, 0u, 0u);
  for (var i = group.x * THREADS + index; i < ends.vocab_size; i += SLICES * THREADS) {
    let logit = logits[i];
    if (!halted) {
      saved_logits[i] = logit;
    }
    // By its bits, since a NaN fails every comparison and a compiler may assume that there is none.
    let bits = bitcast<u32>(logit);
    if ((bits & 0x7fffffffu) < 0x7f800000u) {
      mine = better(mine, Candidate(logit, i, 0u, 0u));
    } else {
      mine.wrong = 1u;  // a NaN or an infinity
    }
  }
  for (var i = group.x * THREADS + index; i < 3072u; i += SLICES * THREADS) {
    bins[i] = 0u;
  }
  best[index] = mine;
  for (var reach = THREADS / 2u; reach > 0u; reach = reach / 2u) {
    workgroupBarrier();
    if (index < reach) {
      best[index] = better(best[index], best[index + reach]);
    }
  }
  if (index == 0u) {
    found[group.x] = best[0];
  }
}
