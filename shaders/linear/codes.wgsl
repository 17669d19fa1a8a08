// What several formats have in common: how codes of a few bits lie in words, and become floats.

// Word `i`; pieces load whole vec4s where their layout is aligned.
fn word_at(i: u32) -> u32 {
  return weights[i / 4u][i % 4u];
}

fn half_at(i: u32) -> f32 {
  return half_of(word_at(i / 2u), i);
}

// Half `i` of the plane, from the word that holds it.
fn half_of(word: u32, i: u32) -> f32 {
  let pair = unpack2x16float(word);
  return select(pair.x, pair.y, (i & 1u) == 1u);
}

fn halfword_at(i: u32) -> u32 {
  return (word_at(i / 2u) >> (16u * (i & 1u))) & 0xffffu;
}

fn signed_bytes_of(word: u32) -> vec4<i32> {
  return (vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}

// Four bytes hold values i..i+3 in their low nibbles and values i+16..i+19 in their high ones.
fn low_nibbles(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(15u);
}

fn high_nibbles(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(4u, 12u, 20u, 28u)) & vec4<u32>(15u);
}

// Codes become floats without a conversion, which costs a GPU as much as several additions: put
// into the top bits of the mantissa of 16 (64 for six bits), a code q is 16 + q (64 + q), exactly.
fn sixteens(mantissa: vec4<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>((mantissa & vec4<u32>(0x780000u)) | vec4<u32>(0x41800000u));
}

fn low_sixteens(word: u32) -> vec4<f32> {
  return sixteens(vec4<u32>(word << 19u, word << 11u, word << 3u, word >> 5u));
}

fn high_sixteens(word: u32) -> vec4<f32> {
  return sixteens(vec4<u32>(word << 15u, word << 7u, word >> 1u, word >> 9u));
}

fn low_codes(word: u32) -> vec4<f32> {
  return low_sixteens(word) - vec4<f32>(16.0);
}

fn high_codes(word: u32) -> vec4<f32> {
  return high_sixteens(word) - vec4<f32>(16.0);
}

// The 32 four-bit codes of a vec4.
fn nibbles_of(words: vec4<u32>) -> Strip {
  return Strip(
    low_codes(words.x), low_codes(words.y), low_codes(words.z), low_codes(words.w),
    high_codes(words.x), high_codes(words.y), high_codes(words.z), high_codes(words.w),
  );
}

// Bits v to v + 3 of a word.
fn bits_of(word: u32, v: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> (vec4<u32>(0u, 1u, 2u, 3u) + vec4<u32>(v))) & vec4<u32>(1u);
}

fn with_fifth(low: vec4<u32>, high: u32, v: u32) -> vec4<f32> {
  return vec4<f32>(low | (bits_of(high, v) << vec4<u32>(4u)));
}

// 32 five-bit codes: nibbles, and bit v of a word for value v.
fn five_bits_of(words: vec4<u32>, high: u32) -> Strip {
  return Strip(
    with_fifth(low_nibbles(words.x), high, 0u), with_fifth(low_nibbles(words.y), high, 4u),
    with_fifth(low_nibbles(words.z), high, 8u), with_fifth(low_nibbles(words.w), high, 12u),
    with_fifth(high_nibbles(words.x), high, 16u), with_fifth(high_nibbles(words.y), high, 20u),
    with_fifth(high_nibbles(words.z), high, 24u), with_fifth(high_nibbles(words.w), high, 28u),
  );
}

fn pairs_at(word: u32, n: u32) -> vec4<f32> {
  return vec4<f32>((vec4<u32>(word) >> (vec4<u32>(0u, 8u, 16u, 24u) + vec4<u32>(2u * n))) & vec4<u32>(3u));
}

// 32 two-bit codes: value v in word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4).
fn pairs_of(a: u32, b: u32) -> Strip {
  return Strip(
    pairs_at(a, 0u), pairs_at(a, 1u), pairs_at(a, 2u), pairs_at(a, 3u),
    pairs_at(b, 0u), pairs_at(b, 1u), pairs_at(b, 2u), pairs_at(b, 3u),
  );
}

// d s and dmin m of strip j of a block, from its vec4 of scales: Q4_K and Q5_K.
fn scale_and_least(unit: vec4<u32>, j: u32) -> vec2<f32> {
  // Bytes k, k + 4 and k + 8 of the twelve, with k = j % 4: the same byte of three words.
  let side = 8u * (j % 4u);
  let a = (unit.y >> side) & 255u;
  let b = (unit.z >> side) & 255u;
  let c = (unit.w >> side) & 255u;
  let s = select(a & 63u, (c & 15u) | ((a >> 6u) << 4u), j >= 4u);
  let m = select(b & 63u, (c >> 4u) | ((b >> 6u) << 4u), j >= 4u);
  return unpack2x16float(unit.x) * vec2<f32>(f32(s), f32(m));
}

// The steps of IQ4_NL and IQ4_XS: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113,
// a byte each.
fn step_of(q: u32) -> f32 {
  let low = select(0xbfad9881u, 0xf6eaddcfu, q >= 4u);
  let high = select(0x26190d01u, 0x71594535u, q >= 12u);
  let word = select(low, high, q >= 8u);
  return f32((bitcast<i32>(word) << (24u - 8u * (q % 4u))) >> 24u);
}

fn steps_of(q: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(step_of(q.x), step_of(q.y), step_of(q.z), step_of(q.w));
}

fn strip_of_steps(words: vec4<u32>, d: f32) -> Strip {
  return Strip(
    d * steps_of(low_nibbles(words.x)), d * steps_of(low_nibbles(words.y)),
    d * steps_of(low_nibbles(words.z)), d * steps_of(low_nibbles(words.w)),
    d * steps_of(high_nibbles(words.x)), d * steps_of(high_nibbles(words.y)),
    d * steps_of(high_nibbles(words.z)), d * steps_of(high_nibbles(words.w)),
  );
}
