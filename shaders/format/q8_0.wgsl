// Q8_0: value = d q. 8 words a strip (signed bytes), one half of scale.
fn four_q8_0(d: f32, word: u32) -> vec4<f32> {
  return d * vec4<f32>(signed_bytes_of(word));
}

fn strip_q8_0(quants: u32, scales: u32, i: u32) -> Strip {
  let q = quants / 4u + 2u * i;
  let a = weights[q];
  let b = weights[q + 1u];
  let d = half_at(scales + i);
  return Strip(
    four_q8_0(d, a.x), four_q8_0(d, a.y), four_q8_0(d, a.z), four_q8_0(d, a.w),
    four_q8_0(d, b.x), four_q8_0(d, b.y), four_q8_0(d, b.z), four_q8_0(d, b.w),
  );
}

fn quarter_q8_0(quants: u32, scales: u32, i: u32, w: u32) -> Quarter {
  let q = quants + 8u * i + w;
  let d = half_at(scales + i);
  return Quarter(four_q8_0(1.0, word_at(q)), four_q8_0(1.0, word_at(q + 4u)), vec2<f32>(d), vec2<f32>(0.0));
}
