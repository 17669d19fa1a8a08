// Q4_0: value = d (q - 8). 4 words a strip, one half of scale.
fn strip_q4_0(quants: u32, scales: u32, i: u32) -> Strip {
  let q = nibbles_of(weights[quants / 4u + i]);
  let d = half_at(scales + i);
  let zero = vec4<f32>(8.0);
  return Strip(
    d * (q.a - zero), d * (q.b - zero), d * (q.c - zero), d * (q.d - zero),
    d * (q.e - zero), d * (q.f - zero), d * (q.g - zero), d * (q.h - zero),
  );
}

fn quarter_q4_0(quants: u32, scales: u32, i: u32, w: u32) -> Quarter {
  let d = half_at(scales + i);
  return quarter_of_nibbles(word_at(quants + 4u * i + w), d, -8.0 * d);
}
