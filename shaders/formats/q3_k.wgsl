// Q3_K: value = d (s - 32) (q - 4), with 6-bit s for each 16 values. 3 words a strip: two with the
// low pairs (as Q2_K's), one with the third bits, bit v for value v. 7 halves a block of 8 strips:
// twelve bytes with the scales, d.
const Q3_K: u32 = 11u;

fn scale_q3_k(unit: u32, j: u32) -> f32 {
  let low = (halfword_at(unit + (j % 8u) / 2u) >> (8u * (j % 2u) + 4u * (j / 8u))) & 15u;
  let high = (halfword_at(unit + 4u + (j % 4u) / 2u) >> (8u * (j % 2u) + 2u * (j / 4u))) & 3u;
  return f32(low | (high << 4u)) - 32.0;
}

fn load_q3_k(quants: u32, scales: u32, i: u32) -> Raw {
  let q = quants + 3u * i;
  let unit = scales + 7u * (i / 8u);
  let j = 2u * (i % 8u);
  let d = half_at(unit + 6u);
  let pair = vec2<u32>(bitcast<u32>(d * scale_q3_k(unit, j)), bitcast<u32>(d * scale_q3_k(unit, j + 1u)));
  return Raw(vec4<u32>(word_at(q), word_at(q + 1u), pair), NOTHING, word_at(q + 2u));
}

fn strip_q3_k(raw: Raw, scales: u32, i: u32) -> Strip {
  let s = bitcast<f32>(raw.a.z);
  let t = bitcast<f32>(raw.a.w);
  let w = pairs_of(raw.a.x, raw.a.y);
  let high = raw.c;
  return Strip(
    s * (w.a + centered(high, 0u)), s * (w.b + centered(high, 4u)), s * (w.c + centered(high, 8u)), s * (w.d + centered(high, 12u)),
    t * (w.e + centered(high, 16u)), t * (w.f + centered(high, 20u)), t * (w.g + centered(high, 24u)), t * (w.h + centered(high, 28u)),
  );
}

// 4 times the third bits of values v to v + 3, less 4.
fn centered(high: u32, v: u32) -> vec4<f32> {
  return 4.0 * vec4<f32>(bits_of(high, v)) - vec4<f32>(4.0);
}

fn dot_q3_k(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_q3_k(raw, scales, i), v);
}
