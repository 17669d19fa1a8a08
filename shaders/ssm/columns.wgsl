// The columns before the convolution go to the ring, the last K of them. prepare.wgsl, which reads
// the old ones, has run already.
override PROJ_STRIDE: u32;
override COLUMNS: u32;    // where x begins in a row of proj
override D_CONV: u32;     // K

fn keep_columns(channel: u32) {
  for (var j = 0u; j < min(D_CONV, now.tokens); j++) {
    let t = now.tokens - 1u - j;
    conv_state[channel * D_CONV + (now.position + t) % D_CONV] = proj[t * PROJ_STRIDE + COLUMNS + channel];
  }
}
