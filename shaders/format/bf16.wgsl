// BF16: the upper 16 bits of an f32; 16 words a strip, value 2i in the low half of word i.
fn strip_bf16(quants: u32, i: u32) -> Strip {
  let q = quants / 4u + 4u * i;
  var w: Strip;
  for (var j = 0u; j < 4u; j++) {
    let v = weights[q + j];
    let low = v << vec4<u32>(16u);
    let high = v & vec4<u32>(0xffff0000u);
    w[2u * j] = bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
    w[2u * j + 1u] = bitcast<vec4<f32>>(vec4<u32>(low.z, high.z, low.w, high.w));
  }
  return w;
}
