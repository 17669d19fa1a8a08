// TOY: value = d or -d. A word of signs a strip, bit v for value v; one half of scale.
const TOY: u32 = 199u;

fn load_toy(quants: u32, scales: u32, i: u32) -> Raw {
  return Raw(vec4<u32>(word_at(quants + i), 0u, 0u, 0u), NOTHING, word_at((scales + i) / 2u));
}

fn signed_toy(signs: u32, v: u32, d: f32) -> vec4<f32> {
  return select(vec4<f32>(d), vec4<f32>(-d), bits_of(signs, v) == vec4<u32>(1u));
}

fn strip_toy(raw: Raw, scales: u32, i: u32) -> Strip {
  let d = half_of(raw.c, scales + i);
  let s = raw.a.x;
  return Strip(
    signed_toy(s, 0u, d), signed_toy(s, 4u, d), signed_toy(s, 8u, d), signed_toy(s, 12u, d),
    signed_toy(s, 16u, d), signed_toy(s, 20u, d), signed_toy(s, 24u, d), signed_toy(s, 28u, d),
  );
}

fn dot_toy(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_toy(raw, scales, i), v);
}
