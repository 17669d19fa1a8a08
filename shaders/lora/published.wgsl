// What adapters add to a row of a linear layer for one token, in shares of the invocations that
// have the row: each has one rank at a time. t = A x is there as a number, or as the digits of
// publish.wgsl, in which those who made x have left it.
override PUBLISHED: u32 = 0u;
override SHARE_RANKS: u32 = 0u;  // all ranks in t
override READ_SLOTS: u32 = 8u;   // SLOTS of publish.wgsl, when t was published
override ROW_SLOTS: u32 = 8u;    // times the most ranks of a row
// Of each projection that adapters change: rows of the output (where second sums have them, too, as
// first ones), ranks, the first in t, the first number of B [rows, ranks], and what it is added to:
// the plain sum, the sum under the norm, or the second sum. Those of the same rows follow each
// other.
//: for p in 0..4
override LORA_FIRST_{p}: u32 = 0u;  override LORA_ROWS_{p}: u32 = 0u;  override LORA_RANKS_{p}: u32 = 0u;  override LORA_T_{p}: u32 = 0u;  override LORA_B_{p}: u32 = 0u;  override LORA_SUM_{p}: u32 = 0u;
//: end

// t of each slot [slots, ranks of the workgroup's rows].
var<workgroup> t_slots: array<f32, ROW_SLOTS>;

// Ranks of all projections that change a row, and the first of them in t.
fn ranks_of(row: u32) -> vec2<u32> {
  var ranks = vec2<u32>(0u);
  //: for p in 0..4
  if (row >= LORA_FIRST_{p} && row - LORA_FIRST_{p} < LORA_ROWS_{p}) {
    ranks = vec2<u32>(ranks.x + LORA_RANKS_{p}, select(ranks.y, LORA_T_{p}, ranks.x == 0u));
  }
  //: end
  return ranks;
}

// Digits of four slots and ranks, on their way.
struct Digits {
  a: vec4<i32>,
  b: vec4<i32>,
  c: vec4<i32>,
  d: vec4<i32>,
}

// Number i of t_slots: its slot and rank.
fn digits_at(i: u32, ranks: vec2<u32>) -> vec4<i32> {
  let most = ROW_SLOTS / READ_SLOTS;
  if (i >= ROW_SLOTS || i % most >= ranks.x) {
    return vec4<i32>(0i);
  }
  return sums_in[i / most * SHARE_RANKS + ranks.y + i % most];
}

// All invocations of a workgroup load `ranks` of every slot. Where no row has so many, a constant
// says so, and nothing is kept for them.
fn digits_of(ranks: vec2<u32>, index: u32) -> Digits {
  var digits = Digits();
  //: for i, part in a b c d
  if (PUBLISHED == 1u && {i}u * THREADS < ROW_SLOTS) {
    digits.{part} = digits_at(index{+ i * THREADS}, ranks);
  }
  //: end
  return digits;
}

// The digits' number; beyond the last digit's it is infinite.
fn number_of(digits: vec4<i32>) -> f32 {
  let number = dot(vec4<f32>(digits), vec4<f32>(0x1p-52f, 0x1p-31f, 0x1p-10f, 0x1p11f));
  return select(number, f32(digits.w) * 0x1p126f, digits.w >= 1i << 29u);
}

// Stages them: before a barrier, after which t_of finds them.
fn stage(ranks: vec2<u32>, index: u32, digits: Digits) {
  if (PUBLISHED == 0u) {
    return;
  }
  //: for i, part in a b c d
  if (index{+ i * THREADS} < ROW_SLOTS) {
    t_slots[index{+ i * THREADS}] = number_of(digits.{part});
  }
  //: end
  for (var i = index + 4u * THREADS; i < ROW_SLOTS; i += THREADS) {
    t_slots[i] = number_of(digits_at(i, ranks));
  }
}

// t of rank k of the workgroup's rows.
fn t_of(k: u32, ranks: vec2<u32>) -> f32 {
  if (PUBLISHED == 0u) {
    return bitcast<f32>(sums_in[(ranks.y + k) / 4u][(ranks.y + k) % 4u]);
  }
  var t = 0.0;
  for (var slot = 0u; slot < READ_SLOTS; slot++) {
    t += t_slots[slot * (ROW_SLOTS / READ_SLOTS) + k];
  }
  return t;
}

struct Share {
  w: f32,    // of B in the row
  w_2: f32,  // and in another one of the same projections
  sum: u32,
}

// Loads share k of a row, of which it has more.
fn share_of(k: u32, row: u32, row_2: u32) -> Share {
  var rest = k;
  var found = false;
  var w = vec2<u32>(0u);
  var sum = 0u;
  //: for p in 0..4
  if (!found && row >= LORA_FIRST_{p} && row - LORA_FIRST_{p} < LORA_ROWS_{p}) {
    found = rest < LORA_RANKS_{p};
    w = LORA_B_{p} + LORA_RANKS_{p} * (vec2<u32>(row, row_2) - LORA_FIRST_{p}) + rest;
    sum = LORA_SUM_{p};
    rest -= LORA_RANKS_{p};
  }
  //: end
  if (!found) {
    return Share();
  }
  return Share(lora_b[w.x], lora_b[w.y], sum);
}

// Whether anything is added to that sum: what constants say costs nothing.
fn adds_to(sum: u32) -> bool {
  //: for p in 0..4
  if (LORA_ROWS_{p} > 0u && LORA_SUM_{p} == sum) {
    return true;
  }
  //: end
  return false;
}

// Plain, under the norm, second. `pair`: the second sum is of another row of the same projections.
fn added(share: Share, t: f32, pair: bool) -> vec4<f32> {
  let first = share.w * t;
  let second = select(select(0.0, first, share.sum == 2u), share.w_2 * t, pair);
  return vec4<f32>(
    select(0.0, first, adds_to(0u) && share.sum == 0u), select(0.0, first, adds_to(1u) && share.sum == 1u), second, 0.0,
  );
}
