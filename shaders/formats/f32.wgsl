// F32: 32 words a strip.
const F32: u32 = 0u;

fn four_f32(i: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(weights[i]);
}

fn load_f32(quants: u32, scales: u32, i: u32) -> Raw {
  return late(quants / 4u + 8u * i);
}

fn strip_f32(raw: Raw, scales: u32, i: u32) -> Strip {
  let q = raw.c;
  return Strip(
    four_f32(q), four_f32(q + 1u), four_f32(q + 2u), four_f32(q + 3u),
    four_f32(q + 4u), four_f32(q + 5u), four_f32(q + 6u), four_f32(q + 7u),
  );
}

fn dot_f32(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_f32(raw, scales, i), v);
}
