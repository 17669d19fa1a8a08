// Each value by itself: no scale.
fn kv_scale(largest: vec4<f32>) -> f32 {
  return 0.0;
}

// What will be read back: all of it.
fn kv_rounded(v: vec4<f32>, scale: f32) -> vec4<f32> {
  return v;
}

fn kv_store(at: u32, v: vec4<f32>, scale: f32) {
  kv[at] = v;
}
