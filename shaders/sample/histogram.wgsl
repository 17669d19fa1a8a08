//: kernel: candidate weights
// How many tokens there are in each bin of differences from the likeliest, and what they weigh. A
// workgroup is a slice of the vocabulary: neighboring tokens. Grid: (SLICES, 1).
@group(0) @binding(0) var<uniform> ends: Ends;
@group(0) @binding(1) var<uniform> params: SamplingParams;
@group(0) @binding(2) var<storage, read> saved_logits: array<f32>;  // [V], from candidates.wgsl
@group(0) @binding(3) var<storage, read> control: array<u32>;       // see sample.wgsl
@group(0) @binding(4) var<storage, read> found: array<Candidate>;  // [SLICES], from candidates.wgsl
// [3, BINS], zeros at first
@group(0) @binding(5) var<storage, read_write> bins: array<atomic<u32>>;

override THREADS: u32 = 256u;
override SLICES: u32 = 64u;

var<workgroup> mine: array<atomic<u32>, 3072>;  // [3, BINS]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let best = likeliest();
  if (control[0] != 0u || best.token == NO_TOKEN) {
    return;
  }
  for (var i = index; i < 3u * BINS; i += THREADS) {
    atomicStore(&mine[i], 0u);
  }
  workgroupBarrier();
  let length = (ends.vocab_size + SLICES - 1u) / SLICES;
  let end = min((group.x + 1u) * length, ends.vocab_size);
  for (var i = group.x * length + index; i < end; i += THREADS) {
    let away = difference(best.logit, saved_logits[i]);
    let bin = bin_of(away);
    let one = tally(weight(away, params.scale));
    atomicAdd(&mine[bin], one.x);
    atomicAdd(&mine[BINS + bin], one.y);
    atomicAdd(&mine[2u * BINS + bin], one.z);
  }
  workgroupBarrier();
  for (var i = index; i < 3u * BINS; i += THREADS) {
    let sum = atomicLoad(&mine[i]);
    if (sum > 0u) {
      atomicAdd(&bins[i], sum);
    }
  }
}
