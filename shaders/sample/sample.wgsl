//: kernel: candidate next_token
// The likeliest token (greedy decoding) becomes the next step's input without leaving the GPU.
// After an end token, steps that are already on their way leave states and control as they are. One
// workgroup, one invocation a candidate.
@group(0) @binding(0) var<uniform> ends: Ends;
@group(0) @binding(1) var<storage, read> found: array<Candidate>;  // [SLICES], from candidates.wgsl
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;    // [T]; [0] becomes the token
// [0]: 1 after an end token, [1]: the token, [2]: 1 after a NaN
@group(0) @binding(3) var<storage, read_write> control: array<u32>;

override SLICES: u32 = 64u;

var<workgroup> best: array<Candidate, SLICES>;

@compute @workgroup_size(SLICES)
fn main(@builtin(local_invocation_index) index: u32) {
  let halted = control[0] != 0u;
  best[index] = found[index];
  for (var reach = SLICES / 2u; reach > 0u; reach = reach / 2u) {
    workgroupBarrier();
    if (index < reach) {
      best[index] = better(best[index], best[index + reach]);
    }
  }
  if (halted || index != 0u) {
    return;
  }
  // No finite logit at all is as wrong as a NaN.
  store_token(best[0].token, best[0].wrong != 0u || best[0].token == NO_TOKEN);
}
