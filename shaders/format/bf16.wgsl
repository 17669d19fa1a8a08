// BF16: the upper 16 bits of an f32; 16 words a strip, value 2i in the low half of word i.
fn strip_bf16(quants: u32, i: u32) -> Strip {
  let q = quants + 16u * i;
  var w: Strip;
  for (var j = 0u; j < 8u; j++) {
    let a = weights[q + 2u * j];
    let b = weights[q + 2u * j + 1u];
    w[j] = bitcast<vec4<f32>>(vec4<u32>(a << 16u, a & 0xffff0000u, b << 16u, b & 0xffff0000u));
  }
  return w;
}
