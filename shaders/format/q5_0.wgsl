// Q5_0: value = d (q - 16). 4 words of low nibbles a strip; 3 halves: d, then 32 fifth bits, bit v for value v.
fn strip_q5_0(quants: u32, scales: u32, i: u32) -> Strip {
  let unit = scales + 3u * i;
  let high = halfword_at(unit + 1u) | (halfword_at(unit + 2u) << 16u);
  return scaled(raised(five_bits_of(weights[quants / 4u + i], high), -16.0), half_at(unit));
}

fn quarter_q5_0(quants: u32, scales: u32, i: u32, w: u32) -> Quarter {
  let unit = scales + 3u * i;
  let high = halfword_at(unit + 1u) | (halfword_at(unit + 2u) << 16u);
  let d = half_at(unit);
  return quarter_of_five_bits(word_at(quants + 4u * i + w), high, w, d, -16.0 * d);
}
