//: kernel, sums: step
// A toy: the sum of four numbers of each token. Grid: (T, 1).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> x: array<f32>;            // [T, 4]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;      // [T]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let first = 4u * min(group.x, now.tokens - 1u);
  //: for i in 0..4
  let x_{i} = x[first{+ i}];
  //: end
  let mine = select(0.0, {for i in 0..4 join " + "}x_{i}{end}, index == 0u);
  let sum = reduce(vec4<f32>(mine, 0.0, 0.0, 0.0), index).x;
  if (index == 0u) {
    y[group.x] = sum;
  }
}
