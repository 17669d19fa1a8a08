// Q5_K: value = d s q - dmin m, with 6-bit s and m for each strip. 4 words of low nibbles a strip; 24 halves (three vec4s) a
// block of 8 strips: d, dmin, twelve bytes with the scales as Q4_K's, then for each strip a word of fifth bits.
fn strip_q5_k(quants: u32, scales: u32, i: u32) -> Strip {
  let j = i % 8u;
  let block = scales / 8u + 3u * (i / 8u);
  let unit = weights[block];
  let high = weights[block + 1u + j / 4u][j % 4u];
  let pair = scale_and_least(unit, j);
  let least = vec4<f32>(pair.y);
  let q = five_bits_of(weights[quants / 4u + i], high);
  let d = pair.x;
  return Strip(
    d * q.a - least, d * q.b - least, d * q.c - least, d * q.d - least,
    d * q.e - least, d * q.f - least, d * q.g - least, d * q.h - least,
  );
}

fn quarter_q5_k(quants: u32, scales: u32, i: u32, w: u32) -> Quarter {
  let j = i % 8u;
  let block = scales / 8u + 3u * (i / 8u);
  let pair = scale_and_least(weights[block], j);
  return quarter_of_five_bits(word_at(quants + 4u * i + w), weights[block + 1u + j / 4u][j % 4u], w, pair.x, -pair.y);
}
