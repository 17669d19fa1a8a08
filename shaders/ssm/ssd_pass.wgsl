//: kernel: step columns
// From chunk to chunk: the state of each head before every chunk, and after the last; see ssd.wgsl.
// One invocation four states. Grid: (ceil(H P N / 4 / 64), 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> ready: array<f32>;  // [T, READY_STRIDE], see prepare.wgsl
// [chunks, H, 64], see ssd_states.wgsl
@group(0) @binding(2) var<storage, read> decays: array<f32>;
// [chunks, H, P, N / 4]: what a chunk adds; the state before it
@group(0) @binding(3) var<storage, read_write> states: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> ssm_state: array<vec4<f32>>;  // [H, P, N / 4]
@group(0) @binding(5) var<storage, read> proj: array<f32>;  // [T, PROJ_STRIDE], see prepare.wgsl
// [conv_dim, K], see prepare.wgsl
@group(0) @binding(6) var<storage, read_write> conv_state: array<f32>;

override Q_DIM: u32;      // nh hd
override CONV_DIM: u32;   // d + 2 G N
override SSM_HEADS: u32;  // H
override P: u32;          // mamba_d_head
override N: u32;          // mamba_d_state

const CHUNK: u32 = 64u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  // After an end token the states stay as they are.
  let halted = ready[Q_DIM + CONV_DIM + 2u * SSM_HEADS] != 0.0;
  if (!halted) {
    for (var channel = id.x; channel < CONV_DIM; channel += 64u * groups.x) {
      keep_columns(channel);
    }
  }
  let all = SSM_HEADS * P * (N / 4u);
  if (id.x >= all) {
    return;
  }
  let head = id.x / (P * (N / 4u));
  var state = ssm_state[id.x];
  let last = (now.tokens - 1u) / CHUNK;
  // What the next two chunks add is on its way; of the last one several times, before it is
  // overwritten.
  var added = states[id.x];
  var next = states[min(1u, last) * all + id.x];
  for (var chunk = 0u; chunk <= last; chunk++) {
    let after = states[min(chunk + 2u, last) * all + id.x];
    // Behind the last token a stays what it is.
    let decay = exp(decays[(chunk * SSM_HEADS + head) * CHUNK + CHUNK - 1u]);
    states[chunk * all + id.x] = state;
    state = decay * state + added;
    added = next;
    next = after;
  }
  if (!halted) {
    ssm_state[id.x] = state;
  }
}
