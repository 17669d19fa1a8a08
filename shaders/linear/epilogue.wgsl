// What happens with a finished row: stored, added to the residual stream, or (two sums, gate and
// up) put through SwiGLU.
const STORE: u32 = 0u;
const ADD: u32 = 1u;
const SWIGLU: u32 = 2u;

override EPILOGUE: u32 = 0u;

//: if lora
// What a row becomes. `before`: what stood there, as the kernel loaded it; only ADD wants it.
fn finished(sum: f32, second: f32, before: f32) -> f32 {
  switch (EPILOGUE) {
    case ADD: { return before + sum; }
    case SWIGLU: { return sum / (1.0 + exp(-sum)) * second; }
    default: { return sum; }
  }
}

fn finish(i: u32, sum: f32, second: f32, before: f32) {
  y[i] = finished(sum, second, before);
}
//: else
// `i`: where in y; `before`: what stood there, as the kernel loaded it; only ADD wants it.
fn finish(i: u32, sum: f32, second: f32, before: f32) {
  switch (EPILOGUE) {
    case ADD: { y[i] = before + sum; }
    case SWIGLU: { y[i] = sum / (1.0 + exp(-sum)) * second; }
    default: { y[i] = sum; }
  }
}
//: end

fn standing(i: u32) -> f32 {
  if (EPILOGUE != ADD) {
    return 0.0;
  }
  return y[i];
}
