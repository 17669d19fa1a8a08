// Q4_0: value = d (q - 8). 4 words a strip, one half of scale.
fn strip_q4_0(quants: u32, scales: u32, i: u32) -> Strip {
  let words = weights[quants / 4u + i];
  let d = half_at(scales + i);
  let eight = vec4<f32>(8.0);
  var w: Strip;
  for (var j = 0u; j < 4u; j++) {
    w[j] = d * (vec4<f32>(low_nibbles(words[j])) - eight);
    w[j + 4u] = d * (vec4<f32>(high_nibbles(words[j])) - eight);
  }
  return w;
}
