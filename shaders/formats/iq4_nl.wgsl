// IQ4_NL: value = d step(q), sixteen uneven steps. 4 words a strip, one half of scale.
const IQ4_NL: u32 = 20u;

fn load_iq4_nl(quants: u32, scales: u32, i: u32) -> Raw {
  return Raw(weights[quants / 4u + i], NOTHING, word_at((scales + i) / 2u));
}

fn strip_iq4_nl(raw: Raw, scales: u32, i: u32) -> Strip {
  return strip_of_steps(raw.a, half_of(raw.c, scales + i));
}

fn dot_iq4_nl(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_iq4_nl(raw, scales, i), v);
}
