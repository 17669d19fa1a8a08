// Q5_1: value = d q + m. 4 words of low nibbles a strip; 4 halves: d, m, then 32 fifth bits, bit v for value v.
fn strip_q5_1(quants: u32, scales: u32, i: u32) -> Strip {
  let unit = scales / 2u + 2u * i;
  let pair = unpack2x16float(word_at(unit));
  return raised(scaled(five_bits_of(weights[quants / 4u + i], word_at(unit + 1u)), pair.x), pair.y);
}

fn quarter_q5_1(quants: u32, scales: u32, i: u32, w: u32) -> Quarter {
  let unit = scales / 2u + 2u * i;
  let pair = unpack2x16float(word_at(unit));
  return quarter_of_five_bits(word_at(quants + 4u * i + w), word_at(unit + 1u), w, pair.x, pair.y);
}
