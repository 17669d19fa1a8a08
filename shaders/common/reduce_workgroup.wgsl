// Sums over LANES neighboring invocations through workgroup memory: works on every device. LANES is
// a power of two that divides THREADS. With LANES = 1 there is nothing to add and no barrier.
override THREADS: u32 = 64u;
override LANES: u32 = 1u;

var<workgroup> scratch: array<vec4<f32>, THREADS>;

// Every invocation of the workgroup must call it; every lane gets the sum.
fn reduce(value: vec4<f32>, index: u32) -> vec4<f32> {
  if (LANES == 1u) {
    return value;
  }
  let lane = index % LANES;
  workgroupBarrier();
  scratch[index] = value;
  for (var reach = LANES / 2u; reach > 0u; reach = reach / 2u) {
    workgroupBarrier();
    if (lane < reach) {
      scratch[index] += scratch[index + reach];
    }
  }
  workgroupBarrier();
  return scratch[index - lane];
}

// The same over those of LANES invocations whose index leaves the same remainder by `apart`, a
// power of two.
fn reduce_apart(value: vec4<f32>, index: u32, apart: u32) -> vec4<f32> {
  let lane = index % LANES;
  workgroupBarrier();
  scratch[index] = value;
  for (var reach = LANES / 2u; reach >= apart; reach = reach / 2u) {
    workgroupBarrier();
    if (lane < reach) {
      scratch[index] += scratch[index + reach];
    }
  }
  workgroupBarrier();
  return scratch[index - lane + lane % apart];
}
