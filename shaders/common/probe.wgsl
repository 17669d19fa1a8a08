//: kernel
// What a device can do at best: all of a buffer is read, in order, 16 bytes an invocation at a
// time; or, with a small buffer, a dispatch has nothing to do but to wait for the one before it.
// Grid: (groups, 1).
@group(0) @binding(0) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<u32>;  // [groups THREADS]

override THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(global_invocation_id) id: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  // The old value is read, so that dispatches depend on each other.
  var sum = vec4<u32>(sums[id.x], 0u, 0u, 0u);
  let stride = groups.x * THREADS;
  let length = arrayLength(&data);
  for (var i = id.x; i < length; i += stride) {
    sum += data[i];
  }
  sums[id.x] = sum.x ^ sum.y ^ sum.z ^ sum.w;
}
