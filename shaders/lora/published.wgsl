// What adapters add to a row of a linear layer for one token, in shares of the invocations that have
// the row: each has one rank at a time. t = A x is there as a number, or as the digits of
// publish.wgsl, in which those who made x have left it.
override PUBLISHED: u32 = 0u;
// Of each projection that adapters change: rows of the output (where second sums have them, too, as
// first ones), ranks, the first in t, the first number of B [rows, ranks], and what it is added to:
// the plain sum, the sum under the norm, or the second sum.
//: for p in 0..4
override LORA_FIRST_{p}: u32 = 0u;  override LORA_ROWS_{p}: u32 = 0u;  override LORA_RANKS_{p}: u32 = 0u;  override LORA_T_{p}: u32 = 0u;  override LORA_B_{p}: u32 = 0u;  override LORA_SUM_{p}: u32 = 0u;
//: end

struct Share {
  a: vec4<i32>,  // t, or its digits
  b: vec4<i32>,
  c: vec4<i32>,
  d: vec4<i32>,
  w: f32,        // of B in the row
  w_2: f32,      // and in another one of the same projections
  sum: u32,
}

// Ranks of all projections that change a row.
fn ranks_of(row: u32) -> u32 {
  var ranks = 0u;
  //: for p in 0..4
  ranks += select(0u, LORA_RANKS_{p}, row >= LORA_FIRST_{p} && row - LORA_FIRST_{p} < LORA_ROWS_{p});
  //: end
  return ranks;
}

// Loads share k of a row; nothing where there are fewer.
fn share_of(k: u32, row: u32, row_2: u32) -> Share {
  var rest = k;
  var found = false;
  var t = 0u;
  var w = vec2<u32>(0u);
  var sum = 0u;
  //: for p in 0..4
  if (!found && row >= LORA_FIRST_{p} && row - LORA_FIRST_{p} < LORA_ROWS_{p}) {
    found = rest < LORA_RANKS_{p};
    t = LORA_T_{p} + rest;
    w = LORA_B_{p} + LORA_RANKS_{p} * (vec2<u32>(row, row_2) - LORA_FIRST_{p}) + rest;
    sum = LORA_SUM_{p};
    rest -= LORA_RANKS_{p};
  }
  //: end
  if (!found) {
    return Share();
  }
  if (PUBLISHED == 0u) {
    let none = vec4<i32>(0i);
    return Share(vec4<i32>(sums_in[t / 4u][t % 4u]), none, none, none, lora_b[w.x], lora_b[w.y], sum);
  }
  return Share(sums_in[4u * t], sums_in[4u * t + 1u], sums_in[4u * t + 2u], sums_in[4u * t + 3u], lora_b[w.x], lora_b[w.y], sum);
}

// The digits' number. The lowest ones are put together 2^64 times as large: an f32 below 2^-126 may
// count as zero.
fn number_of(share: Share) -> f32 {
  let low = dot(vec4<f32>(share.a), vec4<f32>(0x1p-85f, 0x1p-67f, 0x1p-49f, 0x1p-31f));
  let middle = dot(vec4<f32>(share.b), vec4<f32>(0x1p-77f, 0x1p-59f, 0x1p-41f, 0x1p-23f))
    + dot(vec4<f32>(share.c), vec4<f32>(0x1p-5f, 0x1p13f, 0x1p31f, 0x1p49f));
  return 0x1p-64f * low + middle + dot(vec4<f32>(share.d), vec4<f32>(0x1p67f, 0x1p85f, 0x1p103f, 0x1p121f));
}

// Plain, under the norm, second. `pair`: the second sum is of another row of the same projections.
fn added(share: Share, pair: bool) -> vec3<f32> {
  var t = bitcast<f32>(share.a.x);
  if (PUBLISHED == 1u) {
    t = number_of(share);
  }
  let first = share.w * t;
  let second = select(select(0.0, first, share.sum == 2u), share.w_2 * t, pair);
  return vec3<f32>(select(0.0, first, share.sum == 0u), select(0.0, first, share.sum == 1u), second);
}
