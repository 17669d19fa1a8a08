// Q6_K: value = d s (q - 32), s signed for each 16 values. 6 words a strip: four with the low nibbles, two with the upper
// two bits (value v in word 4 + v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4)). 10 halves a block of 8 strips: sixteen
// scales, d, nothing.
fn strip_q6_k(quants: u32, scales: u32, i: u32) -> Strip {
  let q = quants + 6u * i;
  let unit = scales + 10u * (i / 8u);
  let pair = signed_bytes_of(halfword_at(unit + i % 8u));
  let d = half_at(unit + 8u);
  let first = d * f32(pair.x);
  let second = d * f32(pair.y);
  let upper = vec2<u32>(weights[q + 4u], weights[q + 5u]);
  var w: Strip;
  for (var n = 0u; n < 4u; n++) {
    let word = weights[q + n];
    let shift = vec4<u32>(0u, 8u, 16u, 24u) + vec4<u32>(2u * n);
    let low = low_nibbles(word) | (((vec4<u32>(upper.x) >> shift) & vec4<u32>(3u)) << vec4<u32>(4u));
    let high = high_nibbles(word) | (((vec4<u32>(upper.y) >> shift) & vec4<u32>(3u)) << vec4<u32>(4u));
    w[n] = first * (vec4<f32>(low) - vec4<f32>(32.0));
    w[n + 4u] = second * (vec4<f32>(high) - vec4<f32>(32.0));
  }
  return w;
}
