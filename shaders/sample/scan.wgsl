// Running sums over the invocations of a workgroup, the own value included. Every invocation must
// call it; afterwards sums[THREADS - 1] is the sum of all, until the next call.
override THREADS: u32 = 256u;
override SLICES: u32 = 64u;

var<workgroup> sums: array<vec3<u32>, THREADS>;

fn scan(value: vec3<u32>, index: u32) -> vec3<u32> {
  var sum = value;
  workgroupBarrier();
  sums[index] = sum;
  for (var reach = 1u; reach < THREADS; reach = reach * 2u) {
    workgroupBarrier();
    if (index >= reach) {
      sum += sums[index - reach];
    }
    workgroupBarrier();
    sums[index] = sum;
  }
  workgroupBarrier();
  return sum;
}
