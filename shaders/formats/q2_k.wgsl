// Q2_K: value = d s q - dmin m, with 4-bit s and m for each 16 values. 2 words a strip (value v in
// word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4)); 10 halves a block of 8 strips: sixteen bytes of
// s and m, d, dmin.
const Q2_K: u32 = 10u;

fn load_q2_k(quants: u32, scales: u32, i: u32) -> Raw {
  let q = quants + 2u * i;
  let unit = scales + 10u * (i / 8u);
  return Raw(vec4<u32>(word_at(q), word_at(q + 1u), halfword_at(unit + i % 8u), word_at(unit / 2u + 4u)), NOTHING, 0u);
}

fn strip_q2_k(raw: Raw, scales: u32, i: u32) -> Strip {
  let pair = raw.a.z;
  let d = unpack2x16float(raw.a.w).x;
  let dmin = unpack2x16float(raw.a.w).y;
  let s = d * f32(pair & 15u);
  let m = vec4<f32>(dmin * f32((pair >> 4u) & 15u));
  let t = d * f32((pair >> 8u) & 15u);
  let n = vec4<f32>(dmin * f32(pair >> 12u));
  let w = pairs_of(raw.a.x, raw.a.y);
  return Strip(s * w.a - m, s * w.b - m, s * w.c - m, s * w.d - m, t * w.e - n, t * w.f - n, t * w.g - n, t * w.h - n);
}

fn dot_q2_k(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_q2_k(raw, scales, i), v);
}
