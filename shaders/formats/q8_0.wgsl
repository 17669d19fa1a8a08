// Q8_0: value = d q. 8 words a strip (signed bytes), one half of scale.
const Q8_0: u32 = 8u;

fn four_q8_0(d: f32, word: u32) -> vec4<f32> {
  return d * vec4<f32>(signed_bytes_of(word));
}

fn load_q8_0(quants: u32, scales: u32, i: u32) -> Raw {
  let q = quants / 4u + 2u * i;
  return Raw(weights[q], weights[q + 1u], word_at((scales + i) / 2u));
}

fn strip_q8_0(raw: Raw, scales: u32, i: u32) -> Strip {
  let a = raw.a;
  let b = raw.b;
  let d = half_of(raw.c, scales + i);
  return Strip(
    four_q8_0(d, a.x), four_q8_0(d, a.y), four_q8_0(d, a.z), four_q8_0(d, a.w),
    four_q8_0(d, b.x), four_q8_0(d, b.y), four_q8_0(d, b.z), four_q8_0(d, b.w),
  );
}

fn dot_q8_0(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_q8_0(raw, scales, i), v);
}
