// Q6_K: value = d s (q - 32), s signed for each 16 values. Two strips are three vec4s: the low nibbles of each, then two
// words for each with the upper two bits (value v in word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4)). 10 halves a block of
// 8 strips: sixteen scales, d, nothing.
fn four_q6_k(d: f32, low: vec4<u32>, upper: u32, n: u32) -> vec4<f32> {
  let shift = vec4<u32>(0u, 8u, 16u, 24u) + vec4<u32>(2u * n);
  let q = low | (((vec4<u32>(upper) >> shift) & vec4<u32>(3u)) << vec4<u32>(4u));
  return d * (vec4<f32>(q) - vec4<f32>(32.0));
}

fn load_q6_k(quants: u32, scales: u32, i: u32) -> Raw {
  let q = quants / 4u + 3u * (i / 2u);
  let unit = scales + 10u * (i / 8u);
  return Raw(weights[q + i % 2u], weights[q + 2u], halfword_at(unit + i % 8u) | (halfword_at(unit + 8u) << 16u));
}

fn strip_q6_k(raw: Raw, i: u32) -> Strip {
  let words = raw.a;
  let upper = select(raw.b.xy, raw.b.zw, i % 2u == 1u);
  let pair = signed_bytes_of(raw.c);
  let d = unpack2x16float(raw.c).y;
  let s = d * f32(pair.x);
  let t = d * f32(pair.y);
  return Strip(
    four_q6_k(s, low_nibbles(words.x), upper.x, 0u), four_q6_k(s, low_nibbles(words.y), upper.x, 1u),
    four_q6_k(s, low_nibbles(words.z), upper.x, 2u), four_q6_k(s, low_nibbles(words.w), upper.x, 3u),
    four_q6_k(t, high_nibbles(words.x), upper.y, 0u), four_q6_k(t, high_nibbles(words.y), upper.y, 1u),
    four_q6_k(t, high_nibbles(words.z), upper.y, 2u), four_q6_k(t, high_nibbles(words.w), upper.y, 3u),
  );
}
