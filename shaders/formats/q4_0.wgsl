// Q4_0: value = d (q - 8). 4 words a strip, one half of scale.
const Q4_0: u32 = 2u;

fn load_q4_0(quants: u32, scales: u32, i: u32) -> Raw {
  return Raw(weights[quants / 4u + i], NOTHING, word_at((scales + i) / 2u));
}

fn strip_q4_0(raw: Raw, scales: u32, i: u32) -> Strip {
  let q = nibbles_of(raw.a);
  let d = half_of(raw.c, scales + i);
  let zero = vec4<f32>(8.0);
  return Strip(
    d * (q.a - zero), d * (q.b - zero), d * (q.c - zero), d * (q.d - zero),
    d * (q.e - zero), d * (q.f - zero), d * (q.g - zero), d * (q.h - zero),
  );
}

fn dot_q4_0(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_q4_0(raw, scales, i), v);
}
