// What adapters add to a row of a linear layer for one token, in shares of the invocations that
// have the row: each has one rank at a time. t = A x is there as a number, or as those who made x
// have left it: the digits of publish.wgsl, and numbers of each of attention's heads.
override PUBLISHED: u32 = 0u;
override SHARE_RANKS: u32 = 0u;  // all ranks in t
override READ_SLOTS: u32 = 8u;   // SLOTS of publish.wgsl, when t was published
override ROW_RANKS: u32 = 4u;    // the most ranks of a row
// Of attention's heads, which have left A o of o_proj as numbers of each: how many there are, their
// ranks, which are the first of a row, and where they begin in sums_in [heads, ranks].
override HEADS: u32 = 0u;
override HEAD_RANKS: u32 = 0u;
override HEADS_AT: u32 = 0u;
override T_SHARES: u32 = 1u;     // slots, or heads if these are more, times ROW_RANKS
// Of each projection that adapters change: rows of the output (where second sums have them, too, as
// first ones), ranks, the first in t, the first number of B [rows, ranks], and what it is added to:
// the plain sum, the sum under the norm, or the second sum. Those of the same rows follow each
// other.
//: for p in 0..4
override LORA_FIRST_{p}: u32 = 0u;  override LORA_ROWS_{p}: u32 = 0u;  override LORA_RANKS_{p}: u32 = 0u;  override LORA_T_{p}: u32 = 0u;  override LORA_B_{p}: u32 = 0u;  override LORA_SUM_{p}: u32 = 0u;
//: end

// What each slot, or head, has of t [slots or heads, ROW_RANKS].
var<workgroup> t_shares: array<f32, T_SHARES>;

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

// What a rank has of a slot, on its way: four digits, the lowest first. Or of a head: a number, or
// two where the context has two splits, whose maxima and totals are there then, too.
struct Published {
  raw: vec4<i32>,
  ends: vec4<f32>,
}

// Number i of t_shares. What no row has is zero: a constant says so, and nothing is kept for it.
fn published_at(i: u32, ranks: vec2<u32>) -> Published {
  var published = Published();
  let k = i % ROW_RANKS;
  let share = i / ROW_RANKS;
  if (PUBLISHED == 0u || k >= ranks.x) {
    return published;
  }
  let is_head = k < HEAD_RANKS;
  if (share < select(READ_SLOTS, HEADS, is_head)) {
    published.raw = sums_in[select(share * SHARE_RANKS + ranks.y + k, HEADS_AT + share * HEAD_RANKS + k, is_head)];
    if (is_head && now.splits == 2u) {
      let split = SPLITS_OFFSET + 2u * share * (HEAD + 1u);
      published.ends = vec4<f32>(x[split].xy, x[split + HEAD + 1u].xy);
    }
  }
  return published;
}

// Its number. Beyond the last digit's it is infinite; of two splits each has its own maximum, and
// is not divided by a total.
fn number_of(p: Published, i: u32) -> f32 {
  if (i % ROW_RANKS < HEAD_RANKS) {
    let numbers = bitcast<vec4<f32>>(p.raw).xy;
    if (now.splits != 2u) {
      return numbers.x;
    }
    let top = max(p.ends.x, p.ends.z);
    let weights = vec2<f32>(exp(p.ends.x - top), exp(p.ends.z - top));
    return dot(weights, numbers) / dot(weights, p.ends.yw);
  }
  let number = dot(vec4<f32>(p.raw), vec4<f32>(0x1p-52f, 0x1p-31f, 0x1p-10f, 0x1p11f));
  return select(number, f32(p.raw.w) * 0x1p126f, p.raw.w >= 1i << 29u);
}

// Stages them, of which `published` and `second`, THREADS further on, are on their way: before a
// barrier, after which t_of finds them.
fn stage(ranks: vec2<u32>, index: u32, published: Published, second: Published) {
  if (PUBLISHED == 0u) {
    return;
  }
  if (index < T_SHARES) {
    t_shares[index] = number_of(published, index);
  }
  if (index + THREADS < T_SHARES) {
    t_shares[index + THREADS] = number_of(second, index + THREADS);
  }
  if (T_SHARES > 2u * THREADS) {
    for (var i = index + 2u * THREADS; i < T_SHARES; i += THREADS) {
      t_shares[i] = number_of(published_at(i, ranks), i);
    }
  }
}

// t of rank k of the workgroup's rows.
fn t_of(k: u32, ranks: vec2<u32>) -> f32 {
  if (PUBLISHED == 0u) {
    return bitcast<f32>(sums_in[(ranks.y + k) / 4u][(ranks.y + k) % 4u]);
  }
  var t = 0.0;
  if (k < HEAD_RANKS) {
    for (var head = 0u; head < HEADS; head++) {
      t += t_shares[head * ROW_RANKS + k];
    }
  } else {
    for (var slot = 0u; slot < READ_SLOTS; slot++) {
      t += t_shares[slot * ROW_RANKS + k];
    }
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
