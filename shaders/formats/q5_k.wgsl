// Q5_K: value = d s q - dmin m, with 6-bit s and m for each strip. 4 words of low nibbles a strip;
// 24 halves (three vec4s) a block of 8 strips: d, dmin, twelve bytes with the scales as Q4_K's,
// then for each strip a word of fifth bits.
const Q5_K: u32 = 13u;

fn load_q5_k(quants: u32, scales: u32, i: u32) -> Raw {
  let block = scales / 8u + 3u * (i / 8u);
  return Raw(weights[quants / 4u + i], weights[block], word_at(4u * block + 4u + i % 8u));
}

fn strip_q5_k(raw: Raw, scales: u32, i: u32) -> Strip {
  let pair = scale_and_least(raw.b, i % 8u);
  let least = vec4<f32>(pair.y);
  let q = five_bits_of(raw.a, raw.c);
  let d = pair.x;
  return Strip(
    d * q.a - least, d * q.b - least, d * q.c - least, d * q.d - least,
    d * q.e - least, d * q.f - least, d * q.g - least, d * q.h - least,
  );
}

fn dot_q5_k(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_q5_k(raw, scales, i), v);
}
