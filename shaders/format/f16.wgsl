// F16: 16 words a strip, value 2i in the low half of word i.
fn strip_f16(quants: u32, i: u32) -> Strip {
  let q = quants + 16u * i;
  var w: Strip;
  for (var j = 0u; j < 8u; j++) {
    let k = q + 2u * j;
    w[j] = vec4<f32>(unpack2x16float(weights[k]), unpack2x16float(weights[k + 1u]));
  }
  return w;
}
