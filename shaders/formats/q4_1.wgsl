// Q4_1: value = d q + m. 4 words a strip; 2 halves: d, m.
fn load_q4_1(quants: u32, scales: u32, i: u32) -> Raw {
  return Raw(weights[quants / 4u + i], NOTHING, word_at(scales / 2u + i));
}

fn strip_q4_1(raw: Raw) -> Strip {
  let pair = unpack2x16float(raw.c);
  return raised(scaled(nibbles_of(raw.a), pair.x), pair.y);
}
