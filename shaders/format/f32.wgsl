// F32: 32 words a strip.
fn strip_f32(quants: u32, i: u32) -> Strip {
  let q = quants / 4u + 8u * i;
  var w: Strip;
  for (var j = 0u; j < 8u; j++) {
    w[j] = bitcast<vec4<f32>>(weights[q + j]);
  }
  return w;
}
