// Of a block with these largest magnitudes. What is smaller than 1e-30 is kept as zero: its scale
// would have no reciprocal.
fn kv_scale(largest: vec4<f32>) -> f32 {
  let most = max(max(largest.x, largest.y), max(largest.z, largest.w));
  return select(0.0, (1.0 / 127.0) * most, most > 1e-30);
}

fn kv_quants(v: vec4<f32>, scale: f32) -> vec4<i32> {
  // A block of zeros has the scale zero.
  let inverse = select(0.0, 1.0 / scale, scale > 0.0);
  return vec4<i32>(round(clamp(inverse * v, vec4<f32>(-127.0), vec4<f32>(127.0))));
}

// What will be read back.
fn kv_rounded(v: vec4<f32>, scale: f32) -> vec4<f32> {
  return scale * vec4<f32>(kv_quants(v, scale));
}

// The first four of a block writes its scale, too.
fn kv_store(at: u32, v: vec4<f32>, scale: f32) {
  let bytes = vec4<u32>(kv_quants(v, scale)) & vec4<u32>(255u);
  kv[kv_word(at)] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
  if (at % KV_FOURS == 0u) {
    kv[kv_scale_word(at)] = bitcast<u32>(scale);
  }
}
