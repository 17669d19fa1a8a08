// What ssd_states_cooperative and ssd_output_cooperative share. They compute what ssd_states and
// ssd_output do, see ssd.wgsl, with cooperative matrices: factors are rounded to f16, products and
// sums are f32. Decays are at most one and stand in the factors. For heads of whole tiles: P and N
// multiples of 64. All that lies in `ready` is read by fours.
override READY_STRIDE: u32;
override Q_DIM: u32;      // nh hd
override D_SSM: u32;
override CONV_DIM: u32;   // d + 2 G N
override D_CONV: u32;     // K
override SSM_HEADS: u32;  // H
override P: u32;          // mamba_d_head
override N: u32;          // mamba_d_state
override G: u32;          // mamba_n_groups

const CHUNK: u32 = 64u;
// vec4s from row to row of a tile of 64 columns: 16 and two, so that rows begin in different banks
const ROW: u32 = 18u;

// Where x, B and C of a token begin in `ready`, in fours; behind the last token those of the last.
fn x_of(t: u32) -> u32 {
  return (min(t, now.tokens - 1u) * READY_STRIDE + Q_DIM) / 4u;
}

fn b_of(t: u32, group: u32) -> u32 {
  return x_of(t) + (D_SSM + group * N) / 4u;
}

fn c_of(t: u32, group: u32) -> u32 {
  return b_of(t, group) + G * N / 4u;
}

// Zero behind the last token, so that nothing follows from it.
fn delta_of(t: u32, head: u32) -> f32 {
  let i = CONV_DIM + head;
  return select(0.0, ready[x_of(t) + i / 4u][i % 4u], t < now.tokens);
}
