// Q6_K: value = d s (q - 32), s signed for each 16 values. Two strips are three vec4s: the low nibbles of each, then two
// words for each with the upper two bits (value v in word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4)). 10 halves a block of
// 8 strips: sixteen scales, d, nothing.
fn four_q6_k(d: f32, low: vec4<u32>, upper: u32, n: u32) -> vec4<f32> {
  let shift = vec4<u32>(0u, 8u, 16u, 24u) + vec4<u32>(2u * n);
  let q = low | (((vec4<u32>(upper) >> shift) & vec4<u32>(3u)) << vec4<u32>(4u));
  return d * (vec4<f32>(q) - vec4<f32>(32.0));
}

fn strip_q6_k(quants: u32, scales: u32, i: u32) -> Strip {
  let q = quants / 4u + 3u * (i / 2u);
  let words = weights[q + i % 2u];
  let uppers = weights[q + 2u];
  let upper = select(uppers.xy, uppers.zw, i % 2u == 1u);
  let unit = scales + 10u * (i / 8u);
  let pair = signed_bytes_of(halfword_at(unit + i % 8u));
  let d = half_at(unit + 8u);
  let s = d * f32(pair.x);
  let t = d * f32(pair.y);
  return Strip(
    four_q6_k(s, low_nibbles(words.x), upper.x, 0u), four_q6_k(s, low_nibbles(words.y), upper.x, 1u),
    four_q6_k(s, low_nibbles(words.z), upper.x, 2u), four_q6_k(s, low_nibbles(words.w), upper.x, 3u),
    four_q6_k(t, high_nibbles(words.x), upper.y, 0u), four_q6_k(t, high_nibbles(words.y), upper.y, 1u),
    four_q6_k(t, high_nibbles(words.z), upper.y, 2u), four_q6_k(t, high_nibbles(words.w), upper.y, 3u),
  );
}

// The two bits at 0, 8, 16 and 24 of a word, at bit 21.
fn pairs_up(word: u32) -> vec4<u32> {
  return vec4<u32>(word << 21u, word << 13u, word << 5u, word >> 3u) & vec4<u32>(3u << 21u);
}

fn quarter_q6_k(quants: u32, scales: u32, i: u32, w: u32) -> Quarter {
  let q = quants + 12u * (i / 2u);
  let word = word_at(q + 4u * (i % 2u) + w);
  let upper = q + 8u + 2u * (i % 2u);
  let unit = scales + 10u * (i / 8u);
  let pair = signed_bytes_of(halfword_at(unit + i % 8u));
  let s = half_at(unit + 8u) * vec2<f32>(f32(pair.x), f32(pair.y));
  // A code in the top six bits of a mantissa is 1 + q / 64: no conversion.
  let low = vec4<u32>(word << 17u, word << 9u, word << 1u, word >> 7u);
  let high = vec4<u32>(word << 13u, word << 5u, word >> 3u, word >> 11u);
  return Quarter(
    with_exponent((low & vec4<u32>(15u << 17u)) | pairs_up(word_at(upper) >> (2u * w))),
    with_exponent((high & vec4<u32>(15u << 17u)) | pairs_up(word_at(upper + 1u) >> (2u * w))),
    64.0 * s, -96.0 * s,
  );
}
