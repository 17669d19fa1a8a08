// IQ4_XS: value = d (s - 32) step(q), steps as IQ4_NL's, 6-bit s for each strip. 4 words a strip; 4
// halves a block of 8 strips: d, the upper pairs of s, the lower nibbles of s.
const IQ4_XS: u32 = 23u;

fn scale_iq4_xs(unit: u32, j: u32) -> f32 {
  let low = (halfword_at(unit + 2u + j / 4u) >> (4u * (j % 4u))) & 15u;
  let high = (halfword_at(unit + 1u) >> (2u * j)) & 3u;
  return half_at(unit) * (f32(low | (high << 4u)) - 32.0);
}

fn load_iq4_xs(quants: u32, scales: u32, i: u32) -> Raw {
  return Raw(weights[quants / 4u + i], NOTHING, bitcast<u32>(scale_iq4_xs(scales + 4u * (i / 8u), i % 8u)));
}

fn strip_iq4_xs(raw: Raw, scales: u32, i: u32) -> Strip {
  return strip_of_steps(raw.a, bitcast<f32>(raw.c));
}

fn dot_iq4_xs(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_iq4_xs(raw, scales, i), v);
}
