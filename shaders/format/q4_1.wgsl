// Q4_1: value = d q + m. 4 words a strip; 2 halves: d, m.
fn strip_q4_1(quants: u32, scales: u32, i: u32) -> Strip {
  let q = nibbles_of(weights[quants / 4u + i]);
  let pair = unpack2x16float(word_at(scales / 2u + i));
  return raised(scaled(q, pair.x), pair.y);
}

fn quarter_q4_1(quants: u32, scales: u32, i: u32, w: u32) -> Quarter {
  let pair = unpack2x16float(word_at(scales / 2u + i));
  return quarter_of_nibbles(word_at(quants + 4u * i + w), pair.x, pair.y);
}
