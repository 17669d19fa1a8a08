// Q4_1: value = d q + m. 4 words a strip; 2 halves: d, m.
const Q4_1: u32 = 3u;

fn load_q4_1(quants: u32, scales: u32, i: u32) -> Raw {
  return Raw(weights[quants / 4u + i], NOTHING, word_at(scales / 2u + i));
}

fn strip_q4_1(raw: Raw, scales: u32, i: u32) -> Strip {
  let pair = unpack2x16float(raw.c);
  return raised(scaled(nibbles_of(raw.a), pair.x), pair.y);
}

fn dot_q4_1(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_q4_1(raw, scales, i), v);
}
