// Each value by itself: no scale.
fn kv_scale(largest: vec4<f32>) -> f32 {
  return 0.0;
}

// What will be read back: rounded to nearest, ties to even, on every device (how pack2x16float
// rounds is its own affair), and at most the largest finite f16.
fn kv_rounded(v: vec4<f32>, scale: f32) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
  let half = vec4<u32>(0xfffu) + ((bits >> vec4<u32>(13u)) & vec4<u32>(1u));
  let rounded = bitcast<vec4<f32>>((bits + half) & vec4<u32>(0xffffe000u));
  return vec4<f32>(unpack2x16float(pack2x16float(rounded.xy)), unpack2x16float(pack2x16float(rounded.zw)));
}

fn kv_store(at: u32, v: vec4<f32>, scale: f32) {
  let rounded = kv_rounded(v, scale);
  kv[at] = vec2<u32>(pack2x16float(rounded.xy), pack2x16float(rounded.zw));
}
