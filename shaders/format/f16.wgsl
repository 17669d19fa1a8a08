// F16: 16 words a strip, value 2i in the low half of word i.
fn strip_f16(quants: u32, i: u32) -> Strip {
  let q = quants / 4u + 4u * i;
  var w: Strip;
  for (var j = 0u; j < 4u; j++) {
    let v = weights[q + j];
    w[2u * j] = vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y));
    w[2u * j + 1u] = vec4<f32>(unpack2x16float(v.z), unpack2x16float(v.w));
  }
  return w;
}
