// Q8_0: value = d q. 8 words a strip (signed bytes), one half of scale.
fn strip_q8_0(quants: u32, scales: u32, i: u32) -> Strip {
  let q = quants / 4u + 2u * i;
  let d = half_at(scales + i);
  let a = weights[q];
  let b = weights[q + 1u];
  var w: Strip;
  for (var j = 0u; j < 4u; j++) {
    w[j] = d * vec4<f32>(signed_bytes_of(a[j]));
    w[j + 4u] = d * vec4<f32>(signed_bytes_of(b[j]));
  }
  return w;
}
