// Q5_0: value = d (q - 16). 4 words of low nibbles a strip; 3 halves: d, then 32 fifth bits, bit v
// for value v.
const Q5_0: u32 = 6u;

fn load_q5_0(quants: u32, scales: u32, i: u32) -> Raw {
  let unit = scales + 3u * i;
  let high = halfword_at(unit + 1u) | (halfword_at(unit + 2u) << 16u);
  return Raw(weights[quants / 4u + i], vec4<u32>(high, 0u, 0u, 0u), halfword_at(unit));
}

fn strip_q5_0(raw: Raw, scales: u32, i: u32) -> Strip {
  return scaled(raised(five_bits_of(raw.a, raw.b.x), -16.0), unpack2x16float(raw.c).x);
}

fn dot_q5_0(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_q5_0(raw, scales, i), v);
}
