// Q8_0: value = d q. 8 words a strip (signed bytes), one half of scale.
fn strip_q8_0(quants: u32, scales: u32, i: u32) -> Strip {
  let q = quants + 8u * i;
  let d = half_at(scales + i);
  var w: Strip;
  for (var j = 0u; j < 8u; j++) {
    w[j] = d * vec4<f32>(signed_bytes_of(weights[q + j]));
  }
  return w;
}
