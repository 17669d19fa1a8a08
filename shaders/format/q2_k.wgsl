// Q2_K: value = d s q - dmin m, with 4-bit s and m for each 16 values. 2 words a strip (value v in word v / 16, at bit
// 8 (v % 4) + 2 (v % 16 / 4)); 10 halves a block of 8 strips: sixteen bytes of s and m, d, dmin.
fn strip_q2_k(quants: u32, scales: u32, i: u32) -> Strip {
  let q = quants + 2u * i;
  let unit = scales + 10u * (i / 8u);
  let pair = halfword_at(unit + i % 8u);
  let d = half_at(unit + 8u);
  let dmin = half_at(unit + 9u);
  let s = d * f32(pair & 15u);
  let m = vec4<f32>(dmin * f32((pair >> 4u) & 15u));
  let t = d * f32((pair >> 8u) & 15u);
  let n = vec4<f32>(dmin * f32(pair >> 12u));
  let w = pairs_of(word_at(q), word_at(q + 1u));
  return Strip(s * w.a - m, s * w.b - m, s * w.c - m, s * w.d - m, t * w.e - n, t * w.f - n, t * w.g - n, t * w.h - n);
}

fn quarter_q2_k(quants: u32, scales: u32, i: u32, w: u32) -> Quarter {
  let q = quants + 2u * i;
  let unit = scales + 10u * (i / 8u);
  let pair = halfword_at(unit + i % 8u);
  let d = half_at(unit + 8u);
  let dmin = half_at(unit + 9u);
  let s = vec2<f32>(f32(pair & 15u), f32((pair >> 8u) & 15u));
  let m = vec2<f32>(f32((pair >> 4u) & 15u), f32(pair >> 12u));
  return Quarter(pairs_at(word_at(q), w), pairs_at(word_at(q + 1u), w), d * s, -dmin * m);
}
