//: kernel: step columns
// The SSM heads token by token (prefill on software adapters, which compute one thing after the
// other anyway). One invocation a row of a head's state:
//   S_t = exp(delta A) S_{t-1} + delta x_t B_t^T ;  y_t = S_t C_t + D x_t ;  o_t = y_t silu(z_t)
// Grid: (ceil(d / THREADS), 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> proj: array<f32>;  // [T, PROJ_STRIDE], see prepare.wgsl
@group(0) @binding(2) var<storage, read> ready: array<f32>;  // [T, READY_STRIDE], see prepare.wgsl
@group(0) @binding(3) var<storage, read> mamba: array<f32>;                  // see prepare.wgsl
// [conv_dim, K], see prepare.wgsl
@group(0) @binding(4) var<storage, read_write> conv_state: array<f32>;
@group(0) @binding(5) var<storage, read_write> ssm_state: array<vec4<f32>>;  // [H, P, N / 4]
// [T, MIXED_STRIDE]: attention | SSM at SSM_OFFSET
@group(0) @binding(6) var<storage, read_write> mixed: array<f32>;

override THREADS: u32 = 32u;
override READY_STRIDE: u32;
override MIXED_STRIDE: u32;
override SSM_OFFSET: u32;
override Q_DIM: u32;      // nh hd
override D_SSM: u32;
override CONV_DIM: u32;   // d + 2 G N
override SSM_HEADS: u32;  // H
override P: u32;          // mamba_d_head
override N: u32;          // mamba_d_state
override G: u32;          // mamba_n_groups

fn ready_4(i: u32) -> vec4<f32> {
  return vec4<f32>(ready[i], ready[i + 1u], ready[i + 2u], ready[i + 3u]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  // After an end token the states stay as they are.
  let halted = ready[Q_DIM + CONV_DIM + 2u * SSM_HEADS] != 0.0;
  if (!halted) {
    for (var channel = id.x; channel < CONV_DIM; channel += groups.x * THREADS) {
      keep_columns(channel);
    }
  }
  let channel = id.x;
  if (channel >= D_SSM) {
    return;
  }
  let head = channel / P;
  let group = head / (SSM_HEADS / G);
  let skip = mamba[CONV_DIM * (D_CONV + 1u) + 2u * SSM_HEADS + head];
  let state = channel * (N / 4u);
  for (var t = 0u; t < now.tokens; t++) {
    let at = t * READY_STRIDE + Q_DIM;
    let b = at + D_SSM + group * N;
    let c = b + G * N;
    let x = ready[at + channel];
    let decay = ready[at + CONV_DIM + SSM_HEADS + head];
    let weighted = ready[at + CONV_DIM + head] * x;
    var sum = 0.0;
    for (var n = 0u; n < N / 4u; n++) {
      let s = decay * ssm_state[state + n] + weighted * ready_4(b + 4u * n);
      if (!halted) {
        ssm_state[state + n] = s;
      }
      sum += dot(s, ready_4(c + 4u * n));
    }
    let y = sum + skip * x;
    let z = proj[t * PROJ_STRIDE + COLUMNS - D_SSM + channel];
    mixed[t * MIXED_STRIDE + SSM_OFFSET + channel] = y * z / (1.0 + exp(-z));
  }
}
