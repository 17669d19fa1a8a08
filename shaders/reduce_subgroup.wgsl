// Sums over LANES neighbouring invocations by subgroup shuffles. LANES is a power of two, at most the smallest subgroup size
// the adapter may choose, and divides THREADS: so the lanes of a sum always share a subgroup.
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

// Four sums at once over LANES >= 4 invocations: lane i gets component i % 4. Neighbours trade halves first, so that six shuffles
// do what twenty would.
fn reduce_4(value: vec4<f32>, index: u32) -> f32 {
  let odd = (index & 1u) == 1u;
  let pair = select(value.xz, value.yw, odd) + subgroupShuffleXor(select(value.yw, value.xz, odd), 1u);
  let upper = (index & 2u) == 2u;
  var sum = select(pair.x, pair.y, upper) + subgroupShuffleXor(select(pair.y, pair.x, upper), 2u);
  for (var mask = LANES / 2u; mask > 2u; mask = mask / 2u) {
    sum += subgroupShuffleXor(sum, mask);
  }
  return sum;
}
