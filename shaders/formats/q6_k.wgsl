// Q6_K: value = d s (q - 32), s signed for each 16 values. Two strips are three vec4s: the low
// nibbles of each, then two words for each with the upper two bits (value v in word v / 16, at bit
// 8 (v % 4) + 2 (v % 16 / 4)). 10 halves a block of 8 strips: sixteen scales, d, nothing.
const Q6_K: u32 = 14u;

// d (q - 32): `low` has the low nibbles at bit 17, `upper` the upper pairs at bit 21, of the
// mantissa of 64: see matrix.wgsl.
fn four_q6_k(d: f32, low: vec4<u32>, upper: vec4<u32>) -> vec4<f32> {
  let mantissa = (low & vec4<u32>(0x1e0000u)) | (upper & vec4<u32>(0x600000u)) | vec4<u32>(0x42800000u);
  return d * (bitcast<vec4<f32>>(mantissa) - vec4<f32>(96.0));
}

fn low_17(word: u32) -> vec4<u32> {
  return vec4<u32>(word << 17u, word << 9u, word << 1u, word >> 7u);
}

fn high_17(word: u32) -> vec4<u32> {
  return vec4<u32>(word << 13u, word << 5u, word >> 3u, word >> 11u);
}

// Pair n of each byte.
fn pairs_21(word: u32, n: u32) -> vec4<u32> {
  let pairs = word >> (2u * n);
  return vec4<u32>(pairs << 21u, pairs << 13u, pairs << 5u, pairs >> 3u);
}

// Four codes of six bits, one a byte, as 64 + q.
fn sixty_fours(codes: u32) -> vec4<f32> {
  let mantissa = vec4<u32>(codes << 17u, codes << 9u, codes << 1u, codes >> 7u) & vec4<u32>(0x7e0000u);
  return bitcast<vec4<f32>>(mantissa | vec4<u32>(0x42800000u));
}

fn low_six(word: u32, upper: u32, n: u32) -> vec4<f32> {
  return sixty_fours((word & 0x0f0f0f0fu) | (((upper >> (2u * n)) << 4u) & 0x30303030u));
}

fn high_six(word: u32, upper: u32, n: u32) -> vec4<f32> {
  return sixty_fours(((word >> 4u) & 0x0f0f0f0fu) | (((upper >> (2u * n)) << 4u) & 0x30303030u));
}

// The same times v, with the scales applied to sums: sum w v = d s (sum (64 + q) v - 96 sum v).
fn dot_q6_k(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  let w = raw.a;
  let upper = select(raw.b.xy, raw.b.zw, i % 2u == 1u);
  let s = vec2<f32>(signed_bytes_of(raw.c).xy);
  let d = unpack2x16float(raw.c).y;
  let low = fma(low_six(w.x, upper.x, 0u), v.a, low_six(w.y, upper.x, 1u) * v.b)
    + fma(low_six(w.z, upper.x, 2u), v.c, low_six(w.w, upper.x, 3u) * v.d);
  let high = fma(high_six(w.x, upper.y, 0u), v.e, high_six(w.y, upper.y, 1u) * v.f)
    + fma(high_six(w.z, upper.y, 2u), v.g, high_six(w.w, upper.y, 3u) * v.h);
  let low_ones = sum_of((v.a + v.b) + (v.c + v.d));
  let high_ones = sum_of((v.e + v.f) + (v.g + v.h));
  return d * (s.x * (sum_of(low) - 96.0 * low_ones) + s.y * (sum_of(high) - 96.0 * high_ones));
}

fn load_q6_k(quants: u32, scales: u32, i: u32) -> Raw {
  let q = quants / 4u + 3u * (i / 2u);
  let unit = scales + 10u * (i / 8u);
  return Raw(weights[q + i % 2u], weights[q + 2u], halfword_at(unit + i % 8u) | (halfword_at(unit + 8u) << 16u));
}

fn strip_q6_k(raw: Raw, scales: u32, i: u32) -> Strip {
  let words = raw.a;
  let upper = select(raw.b.xy, raw.b.zw, i % 2u == 1u);
  let pair = signed_bytes_of(raw.c);
  let d = unpack2x16float(raw.c).y;
  let s = d * f32(pair.x);
  let t = d * f32(pair.y);
  return Strip(
    four_q6_k(s, low_17(words.x), pairs_21(upper.x, 0u)), four_q6_k(s, low_17(words.y), pairs_21(upper.x, 1u)),
    four_q6_k(s, low_17(words.z), pairs_21(upper.x, 2u)), four_q6_k(s, low_17(words.w), pairs_21(upper.x, 3u)),
    four_q6_k(t, high_17(words.x), pairs_21(upper.y, 0u)), four_q6_k(t, high_17(words.y), pairs_21(upper.y, 1u)),
    four_q6_k(t, high_17(words.z), pairs_21(upper.y, 2u)), four_q6_k(t, high_17(words.w), pairs_21(upper.y, 3u)),
  );
}
