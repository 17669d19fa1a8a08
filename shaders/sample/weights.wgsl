// Sampling at a temperature, in whole numbers: the twin of
// crates/peregrine/src/sampling/temperature.rs, which says what a difference and a weight are. Sums
// of whole numbers are the same in any order, so the host samples the same token.
struct SamplingParams {
  scale: f32,   // 65536 log2(e) / temperature
  top_k: u32,   // 0: off
  top_p: u32,   // in 1 / 2^32; 0: off
  least: u32,   // smallest weight that may be sampled
  random: u32,  // the point to walk to, in 1 / 2^32
  unused_0: u32,
  unused_1: u32,
  unused_2: u32,
}

const NEVER: u32 = 0x7f800000u;

// Differences fall into bins, 64 for each power of two from 2^-6 to 2^10, and the first and the
// last have what is beyond.
const BINS: u32 = 1024u;
const BIN_SHIFT: u32 = 17u;
const FIRST_BIN: u32 = 7744u;  // of 2^-6: its bits, shifted

fn bin_of(difference: u32) -> u32 {
  return clamp(difference >> BIN_SHIFT, FIRST_BIN, FIRST_BIN + BINS - 1u) - FIRST_BIN;
}

// The first difference of a bin; BINS: behind all.
fn bin_start(bin: u32) -> u32 {
  return select(select((FIRST_BIN + bin) << BIN_SHIFT, 0u, bin == 0u), NEVER + 1u, bin >= BINS);
}

// Numbers below 2^-126 count as 0, whatever the device makes of them.
fn plain(x: f32) -> f32 {
  return select(x, 0.0, (bitcast<u32>(x) & 0x7f800000u) == 0u);
}

// The bits of best - logit, which are ordered as the numbers are.
fn difference(best: f32, logit: f32) -> u32 {
  if ((bitcast<u32>(logit) & 0x7f800000u) == 0x7f800000u) {
    return NEVER;
  }
  return min(bitcast<u32>(plain(plain(best) - plain(logit))), NEVER);
}

fn weight(difference: u32, scale: f32) -> u32 {
  let steps = bitcast<f32>(difference) * scale;
  if (difference >= NEVER || steps >= 1900544.0) {
    return 0u;
  }
  let whole = u32(steps);
  let f = whole & 0xffffu;
  var power = 87u - ((f * 10u) >> 16u);
  power = 630u - ((f * power) >> 16u);
  power = 3638u - ((f * power) >> 16u);
  power = 15743u - ((f * power) >> 16u);
  power = 45426u - ((f * power) >> 16u);
  power = 65536u - ((f * power) >> 16u);
  return (((power << 13u) >> (whole >> 16u)) + 1u) >> 1u;
}

// A sum over tokens: how many, and their weights' lower 14 bits and upper bits apart, so that no
// sum needs more than 32 bits.
fn tally(weight: u32) -> vec3<u32> {
  return vec3<u32>(1u, weight & 0x3fffu, weight >> 14u);
}

// The weight of a sum in 64 bits: upper word, lower word.
fn total(sums: vec3<u32>) -> vec2<u32> {
  let lower = sums.y + (sums.z << 14u);
  return vec2<u32>((sums.z >> 18u) + u32(lower < sums.y), lower);
}

// a b in 64 bits.
fn product(a: u32, b: u32) -> vec2<u32> {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2<u32>((a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u), (other << 16u) | (low & 0xffffu));
}

// floor(share whole / 2^32)
fn part(share: u32, whole: vec2<u32>) -> vec2<u32> {
  let upper = product(share, whole.x);
  let lower = upper.y + product(share, whole.y).x;
  return vec2<u32>(upper.x + u32(lower < upper.y), lower);
}

fn at_least(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.x > b.x || (a.x == b.x && a.y >= b.y);
}

// Whether the order of the tokens is cut behind the sum `b`, and not behind the sum `a` before it:
// at `count` tokens, or at the weight `goal`, and always behind at least one.
fn is_cut(a: vec3<u32>, b: vec3<u32>, weighted: bool, count: u32, goal: vec2<u32>) -> bool {
  if (weighted) {
    return b.x > 0u && at_least(total(b), goal) && !(a.x > 0u && at_least(total(a), goal));
  }
  return b.x >= count && a.x < count;
}

// The likeliest of all tokens.
fn likeliest() -> Candidate {
  var best = found[0];
  for (var i = 1u; i < SLICES; i++) {
    best = better(best, found[i]);
  }
  return best;
}
