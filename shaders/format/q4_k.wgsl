// Q4_K: value = d s q - dmin m, with 6-bit s and m for each strip. 4 words a strip; 8 halves a block of 8 strips:
// d, dmin, and twelve bytes with the scales.
fn strip_q4_k(quants: u32, scales: u32, i: u32) -> Strip {
  let q = quants + 4u * i;
  let unit = scales + 8u * (i / 8u);
  let j = i % 8u;
  let k = j % 4u;
  // Byte b of the twelve is in half 2 + b / 2: bytes k, k + 4 and k + 8 sit at the same side of their halves.
  let side = 8u * (k & 1u);
  let a = (halfword_at(unit + 2u + k / 2u) >> side) & 255u;
  let b = (halfword_at(unit + 4u + k / 2u) >> side) & 255u;
  let c = (halfword_at(unit + 6u + k / 2u) >> side) & 255u;
  let s = select(a & 63u, (c & 15u) | ((a >> 6u) << 4u), j >= 4u);
  let m = select(b & 63u, (c >> 4u) | ((b >> 6u) << 4u), j >= 4u);
  let d = half_at(unit) * f32(s);
  let least = vec4<f32>(half_at(unit + 1u) * f32(m));
  var w: Strip;
  for (var n = 0u; n < 4u; n++) {
    let word = weights[q + n];
    w[n] = d * vec4<f32>(low_nibbles(word)) - least;
    w[n + 4u] = d * vec4<f32>(high_nibbles(word)) - least;
  }
  return w;
}
