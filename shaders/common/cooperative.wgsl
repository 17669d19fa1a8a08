enable f16;
enable wgpu_cooperative_matrix;
// What kernels with cooperative matrices begin with; natively only, see GpuOptions::cooperative.

// Factors beyond f16's range are cut to it: an infinity would make NaN of a whole row.
fn halves(v: vec4<f32>) -> vec4<f16> {
  return vec4<f16>(clamp(v, vec4<f32>(-65504.0), vec4<f32>(65504.0)));
}
