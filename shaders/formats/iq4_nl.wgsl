// IQ4_NL: value = d step(q), sixteen uneven steps. 4 words a strip, one half of scale.

// -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, a byte each.
fn step_of(q: u32) -> f32 {
  let low = select(0xbfad9881u, 0xf6eaddcfu, q >= 4u);
  let high = select(0x26190d01u, 0x71594535u, q >= 12u);
  let word = select(low, high, q >= 8u);
  return f32((bitcast<i32>(word) << (24u - 8u * (q % 4u))) >> 24u);
}

fn steps_of(q: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(step_of(q.x), step_of(q.y), step_of(q.z), step_of(q.w));
}

fn strip_of_steps(words: vec4<u32>, d: f32) -> Strip {
  return Strip(
    d * steps_of(low_nibbles(words.x)), d * steps_of(low_nibbles(words.y)),
    d * steps_of(low_nibbles(words.z)), d * steps_of(low_nibbles(words.w)),
    d * steps_of(high_nibbles(words.x)), d * steps_of(high_nibbles(words.y)),
    d * steps_of(high_nibbles(words.z)), d * steps_of(high_nibbles(words.w)),
  );
}

fn load_iq4_nl(quants: u32, scales: u32, i: u32) -> Raw {
  return Raw(weights[quants / 4u + i], NOTHING, word_at((scales + i) / 2u));
}

fn strip_iq4_nl(raw: Raw, scales: u32, i: u32) -> Strip {
  return strip_of_steps(raw.a, half_of(raw.c, scales + i));
}
