//: kernel: candidate
// What candidates.wgsl does, of the tokens that a mask allows. What is no number is looked for
// among the logits of all tokens; those that may not come are minus infinity for histogram.wgsl,
// threshold.wgsl and multinomial.wgsl, which give it no weight. A workgroup is a slice. The logits
// are a copy: between their step and the mask others may run steps of theirs.
// Grid: (SLICES, 1).
@group(0) @binding(0) var<uniform> ends: Ends;
// [V / 32]: bit t % 32 of word t / 32 is token t's
@group(0) @binding(1) var<storage, read> mask: array<u32>;
// [V]: as in candidates.wgsl, without the mask
@group(0) @binding(2) var<storage, read_write> saved_logits: array<f32>;
// [V]: bits of the logits; then of the same with the mask
@group(0) @binding(3) var<storage, read_write> masked: array<u32>;
@group(0) @binding(4) var<storage, read> control: array<u32>;            // see sample.wgsl
@group(0) @binding(5) var<storage, read_write> found: array<Candidate>;  // [SLICES]
// [3, 1024], made zeros for histogram.wgsl
@group(0) @binding(6) var<storage, read_write> bins: array<u32>;

override THREADS: u32 = 256u;
override SLICES: u32 = 64u;

var<workgroup> best: array<Candidate, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let halted = control[0] != 0u;
  var mine = Candidate(0.0, NO_TOKEN, 0u, 0u);
  for (var i = group.x * THREADS + index; i < ends.vocab_size; i += SLICES * THREADS) {
    let bits = masked[i];
    let logit = bitcast<f32>(bits);
    let allowed = ((mask[i / 32u] >> (i % 32u)) & 1u) != 0u;
    if (!halted) {
      saved_logits[i] = logit;
      // By its bits: WGSL has no constant that is an infinity.
      masked[i] = select(0xff800000u, bits, allowed);
    }
    if ((bits & 0x7fffffffu) >= 0x7f800000u) {
      mine.wrong = 1u;  // a NaN or an infinity
    } else if (allowed) {
      mine = better(mine, Candidate(logit, i, 0u, 0u));
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
