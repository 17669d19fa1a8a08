//: kernel: step tokens matrix epilogue two_rows
// y = W x for a token at a time on a software adapter (decode): an invocation is two neighboring
// rows, since what costs a CPU most is to fetch x for each of its lanes. GPUs use matvec_team.wgsl.
// Grid: (row groups folded at 32768, folds, tokens).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let t = group.z;
  let first = first_row(group, index);
  // SwiGLU: parts 0 and 1 are gate and up, over the same rows and the same input.
  let parts = select(matrix.parts, 1u, EPILOGUE == SWIGLU);
  var sum = vec2<f32>(0.0);
  var second = vec2<f32>(0.0);
  for (var p = 0u; p < parts; p++) {
    let part = matrix.part[p];
    let two = rows_of(part, first);
    if (!any(two.inside)) {
      continue;
    }
    var part_sum = vec2<f32>(0.0);
    var part_second = vec2<f32>(0.0);
    for (var s = 0u; s < part.strips; s++) {
      let v = input_at(t * matrix.x_stride + part.x + 8u * s);
      part_sum += vec2<f32>(strip_dot(strip(part, two.row.x, s), v), strip_dot(strip(part, two.row.y, s), v));
      if (EPILOGUE == SWIGLU) {
        let up = matrix.part[1];
        part_second += vec2<f32>(strip_dot(strip(up, two.row.x, s), v), strip_dot(strip(up, two.row.y, s), v));
      }
    }
    sum += select(vec2<f32>(0.0), part.scale * part_sum, two.inside);
    if (EPILOGUE == SWIGLU) {
      second += select(vec2<f32>(0.0), matrix.part[1].scale * part_second, two.inside);
    }
  }
  if (t < tokens_in()) {
    finish_two(first, t, sum, second);
  }
}
