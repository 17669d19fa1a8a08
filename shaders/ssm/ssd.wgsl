// State-space duality (Mamba-2, Dao and Gu 2024, section 6): a prompt's tokens in chunks of 64.
// Within a chunk the recurrence is a masked product like attention's, between chunks it is a
// recurrence of whole states:
//   y_i = sum over j <= i in the chunk of (C_i . B_j) exp(a_i - a_j) delta_j x_j  +  exp(a_i) S C_i
//   S' = exp(a_end) S + sum over j of exp(a_end - a_j) delta_j x_j B_j^T
// a_i is the sum of delta A up to token i in the chunk, S the state before it. ssd_states makes
// what each chunk adds and C . B, ssd_pass takes the states from chunk to chunk, ssd_output makes
// y. Here is what they share: products of tiles of 64 x 64.
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
const QUADS: u32 = 4u;    // vec4s of a row in a tile: 16 terms at a time
const ROW: u32 = 5u;      // and from row to row: so neighbors' rows begin in different banks

var<workgroup> row_tile: array<vec4<f32>, 64u * ROW>;
var<workgroup> column_tile: array<vec4<f32>, 64u * ROW>;

// 4 x 4 results of each of the 256 invocations: rows r, r + 16, r + 32, r + 48 of columns c (a),
// c + 16 (b), c + 32, c + 48, with r = index % 16 and c = index / 16.
struct Sums {
  a: vec4<f32>,
  b: vec4<f32>,
  c: vec4<f32>,
  d: vec4<f32>,
}

// Four terms of one column times those of four rows.
fn outer(c: vec4<f32>, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
  var s = fma(vec4<f32>(c.x), vec4<f32>(r0.x, r1.x, r2.x, r3.x), sum);
  s = fma(vec4<f32>(c.y), vec4<f32>(r0.y, r1.y, r2.y, r3.y), s);
  s = fma(vec4<f32>(c.z), vec4<f32>(r0.z, r1.z, r2.z, r3.z), s);
  return fma(vec4<f32>(c.w), vec4<f32>(r0.w, r1.w, r2.w, r3.w), s);
}

// Vec4 `of_row % 4` of row `of_row / 4` of the product, and the same of a column, come from this
// invocation: 16 terms of all.
fn bring(of_row: u32, row: vec4<f32>, of_column: u32, column: vec4<f32>) {
  workgroupBarrier();
  row_tile[of_row / QUADS * ROW + of_row % QUADS] = row;
  column_tile[of_column / QUADS * ROW + of_column % QUADS] = column;
  workgroupBarrier();
}

// Adds the products of the 16 terms. Loads for the next ones come before it, so that they are on
// their way meanwhile.
fn multiplied(index: u32, before: Sums) -> Sums {
  var sums = before;
  let r = index % 16u * ROW;
  let c = index / 16u * ROW;
  for (var j = 0u; j < QUADS; j++) {
    let r0 = row_tile[r + j];
    let r1 = row_tile[r + 16u * ROW + j];
    let r2 = row_tile[r + 32u * ROW + j];
    let r3 = row_tile[r + 48u * ROW + j];
    sums.a = outer(column_tile[c + j], r0, r1, r2, r3, sums.a);
    sums.b = outer(column_tile[c + 16u * ROW + j], r0, r1, r2, r3, sums.b);
    sums.c = outer(column_tile[c + 32u * ROW + j], r0, r1, r2, r3, sums.c);
    sums.d = outer(column_tile[c + 48u * ROW + j], r0, r1, r2, r3, sums.d);
  }
  return sums;
}

// The number that an invocation has where neighbors bring the same vec4 of neighboring rows,
// instead of one row's.
fn exchanged(index: u32) -> u32 {
  return 4u * (index % 64u) + index / 64u;
}

fn column_of(sums: Sums, i: u32) -> vec4<f32> {
  return select(select(sums.a, sums.b, i == 1u), select(sums.c, sums.d, i == 3u), i >= 2u);
}

// Where a token's x, B and C begin in `ready`.
fn x_of(t: u32) -> u32 {
  return t * READY_STRIDE + Q_DIM;
}

fn b_of(t: u32, group: u32) -> u32 {
  return x_of(t) + D_SSM + group * N;
}

fn c_of(t: u32, group: u32) -> u32 {
  return b_of(t, group) + G * N;
}

// Zero behind the last token, so that nothing follows from it.
fn delta_of(t: u32, head: u32) -> f32 {
  if (t >= now.tokens) {
    return 0.0;
  }
  return ready[x_of(t) + CONV_DIM + head];
}

// Value i of a row that begins at `at`, and the three behind it; zeros from N on.
fn state_4(at: u32, i: u32) -> vec4<f32> {
  if (i >= N) {
    return vec4<f32>(0.0);
  }
  return vec4<f32>(ready[at + i], ready[at + i + 1u], ready[at + i + 2u], ready[at + i + 3u]);
}

// delta at tokens t to t + 3.
fn delta_4(t: u32, head: u32) -> vec4<f32> {
  return vec4<f32>(delta_of(t, head), delta_of(t + 1u, head), delta_of(t + 2u, head), delta_of(t + 3u, head));
}

// x of a channel at tokens t to t + 3; zeros behind the last token and the last channel of the
// head.
fn x_4(t: u32, head: u32, p: u32) -> vec4<f32> {
  return across(t, Q_DIM + head * P + p, p < P);
}

// Value i of the rows of tokens t to t + 3; zeros behind the last token, and where there is no such
// value.
fn across(t: u32, i: u32, inside: bool) -> vec4<f32> {
  var values = vec4<f32>(0.0);
  if (inside) {
    for (var k = 0u; k < 4u; k++) {
      if (t + k < now.tokens) {
        values[k] = ready[(t + k) * READY_STRIDE + i];
      }
    }
  }
  return values;
}
