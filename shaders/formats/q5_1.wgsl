// Q5_1: value = d q + m. 4 words of low nibbles a strip; 4 halves: d, m, then 32 fifth bits, bit v
// for value v.
const Q5_1: u32 = 7u;

fn load_q5_1(quants: u32, scales: u32, i: u32) -> Raw {
  let unit = scales / 2u + 2u * i;
  return Raw(weights[quants / 4u + i], vec4<u32>(word_at(unit + 1u), 0u, 0u, 0u), word_at(unit));
}

fn strip_q5_1(raw: Raw, scales: u32, i: u32) -> Strip {
  let pair = unpack2x16float(raw.c);
  return raised(scaled(five_bits_of(raw.a, raw.b.x), pair.x), pair.y);
}

fn dot_q5_1(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_q5_1(raw, scales, i), v);
}
