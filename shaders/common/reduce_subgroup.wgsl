// Sums over LANES neighboring invocations by subgroup shuffles. LANES is a power of two, at most
// the smallest subgroup size the adapter may choose, and divides THREADS: so the lanes of a sum
// always share a subgroup.
override THREADS: u32 = 64u;
override LANES: u32 = 1u;

// Every invocation of the workgroup must call it; every lane gets the sum.
fn reduce(value: vec4<f32>, index: u32) -> vec4<f32> {
  var sum = value;
  for (var mask = LANES / 2u; mask > 0u; mask = mask / 2u) {
    sum += subgroupShuffleXor(sum, mask);
  }
  return sum;
}

// The same over those of LANES invocations whose index leaves the same remainder by `apart`, a
// power of two.
fn reduce_apart(value: vec4<f32>, index: u32, apart: u32) -> vec4<f32> {
  var sum = value;
  for (var mask = LANES / 2u; mask >= apart; mask = mask / 2u) {
    sum += subgroupShuffleXor(sum, mask);
  }
  return sum;
}
