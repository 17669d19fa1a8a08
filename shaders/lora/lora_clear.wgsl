//: kernel
// Before a token with adapters: the sums that publish.wgsl adds to begin at zero.
// Grid: (ceil(length of the longer / THREADS), 1).
@group(0) @binding(0) var<storage, read_write> first: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> second: array<vec4<u32>>;

override THREADS: u32 = 256u;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < arrayLength(&first)) {
    first[id.x] = vec4<u32>(0u);
  }
  if (id.x < arrayLength(&second)) {
    second[id.x] = vec4<u32>(0u);
  }
}
