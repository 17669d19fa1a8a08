// Writing to the cache of kv.wgsl.

// What will be read back: in f16, rounded to nearest, ties to even, on every device (how pack2x16float rounds is its own affair),
// and at most the largest finite f16.
fn kv_rounded(v: vec4<f32>) -> vec4<f32> {
  if (KV_F16 == 0u) {
    return v;
  }
  let bits = bitcast<vec4<u32>>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
  let half = vec4<u32>(0xfffu) + ((bits >> vec4<u32>(13u)) & vec4<u32>(1u));
  let rounded = bitcast<vec4<f32>>((bits + half) & vec4<u32>(0xffffe000u));
  return vec4<f32>(unpack2x16float(pack2x16float(rounded.xy)), unpack2x16float(pack2x16float(rounded.zw)));
}

// `v` is rounded already.
fn kv_store(at: u32, v: vec4<f32>) {
  if (KV_F16 == 1u) {
    kv[at] = vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
  } else {
    kv[2u * at] = bitcast<vec2<u32>>(v.xy);
    kv[2u * at + 1u] = bitcast<vec2<u32>>(v.zw);
  }
}
