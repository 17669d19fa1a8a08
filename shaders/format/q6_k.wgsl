// Q6_K: value = d s (q - 32), s signed for each 16 values. Two strips are three vec4s: the low nibbles of each, then two
// words for each with the upper two bits (value v in word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4)). 10 halves a block of
// 8 strips: sixteen scales, d, nothing.
fn strip_q6_k(quants: u32, scales: u32, i: u32) -> Strip {
  let q = quants / 4u + 3u * (i / 2u);
  let words = weights[q + i % 2u];
  let uppers = weights[q + 2u];
  let upper = select(uppers.xy, uppers.zw, i % 2u == 1u);
  let unit = scales + 10u * (i / 8u);
  let pair = signed_bytes_of(halfword_at(unit + i % 8u));
  let d = half_at(unit + 8u);
  let first = d * f32(pair.x);
  let second = d * f32(pair.y);
  var w: Strip;
  for (var n = 0u; n < 4u; n++) {
    let shift = vec4<u32>(0u, 8u, 16u, 24u) + vec4<u32>(2u * n);
    let low = low_nibbles(words[n]) | (((vec4<u32>(upper.x) >> shift) & vec4<u32>(3u)) << vec4<u32>(4u));
    let high = high_nibbles(words[n]) | (((vec4<u32>(upper.y) >> shift) & vec4<u32>(3u)) << vec4<u32>(4u));
    w[n] = first * (vec4<f32>(low) - vec4<f32>(32.0));
    w[n + 4u] = second * (vec4<f32>(high) - vec4<f32>(32.0));
  }
  return w;
}
