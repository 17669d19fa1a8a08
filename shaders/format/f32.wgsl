// F32: 32 words a strip.
fn strip_f32(quants: u32, i: u32) -> Strip {
  let q = quants + 32u * i;
  var w: Strip;
  for (var j = 0u; j < 8u; j++) {
    let k = q + 4u * j;
    w[j] = bitcast<vec4<f32>>(vec4<u32>(weights[k], weights[k + 1u], weights[k + 2u], weights[k + 3u]));
  }
  return w;
}
