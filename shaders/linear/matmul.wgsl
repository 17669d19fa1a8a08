//: kernel: step tokens matrix epilogue two_rows
// Y = X W^T for many tokens on a software adapter (prefill): as matvec.wgsl, but strips of weights,
// once decoded, meet eight tokens. Grid: (row groups folded at 32768, folds, ceil(tokens / 8)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]

// Two rows of a token, from their strips a and b.
fn two_dots(a: Strip, b: Strip, at: u32) -> vec2<f32> {
  let v = input_at(at);
  return vec2<f32>(strip_dot(a, v), strip_dot(b, v));
}

fn finish_token(first: u32, t: u32, sum: vec2<f32>, second: vec2<f32>) {
  if (t < tokens_in()) {
    finish_two(first, t, sum, second);
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let t = 8u * group.z;
  let first = first_row(group, index);
  // A short last group reads its last token again and drops the copies.
  let last = vec4<u32>(tokens_in() - 1u);
  let near = min(vec4<u32>(t, t + 1u, t + 2u, t + 3u), last) * matrix.x_stride;
  let far = min(vec4<u32>(t + 4u, t + 5u, t + 6u, t + 7u), last) * matrix.x_stride;
  // The two rows of two tokens each; `up` is the second sum, of SwiGLU.
  var sum_0 = vec4<f32>(0.0);
  var sum_2 = vec4<f32>(0.0);
  var sum_4 = vec4<f32>(0.0);
  var sum_6 = vec4<f32>(0.0);
  var up_0 = vec4<f32>(0.0);
  var up_2 = vec4<f32>(0.0);
  var up_4 = vec4<f32>(0.0);
  var up_6 = vec4<f32>(0.0);
  for (var p = 0u; p < matrix.parts; p++) {
    let part = matrix.part[p];
    let two = rows_of(part, first);
    if (!any(two.inside)) {
      continue;
    }
    var part_0 = vec4<f32>(0.0);
    var part_2 = vec4<f32>(0.0);
    var part_4 = vec4<f32>(0.0);
    var part_6 = vec4<f32>(0.0);
    for (var s = 0u; s < part.strips; s++) {
      let a = strip(part, two.row.x, s);
      let b = strip(part, two.row.y, s);
      let at = part.x + 8u * s;
      part_0 += vec4<f32>(two_dots(a, b, near.x + at), two_dots(a, b, near.y + at));
      part_2 += vec4<f32>(two_dots(a, b, near.z + at), two_dots(a, b, near.w + at));
      part_4 += vec4<f32>(two_dots(a, b, far.x + at), two_dots(a, b, far.y + at));
      part_6 += vec4<f32>(two_dots(a, b, far.z + at), two_dots(a, b, far.w + at));
    }
    let scale = part.scale * select(vec4<f32>(0.0), vec4<f32>(1.0), two.inside.xyxy);
    if ((part.kind >> 8u) == 0u) {
      sum_0 += scale * part_0;
      sum_2 += scale * part_2;
      sum_4 += scale * part_4;
      sum_6 += scale * part_6;
    } else {
      up_0 += scale * part_0;
      up_2 += scale * part_2;
      up_4 += scale * part_4;
      up_6 += scale * part_6;
    }
  }
  finish_token(first, t, sum_0.xy, up_0.xy);
  finish_token(first, t + 1u, sum_0.zw, up_0.zw);
  finish_token(first, t + 2u, sum_2.xy, up_2.xy);
  finish_token(first, t + 3u, sum_2.zw, up_2.zw);
  finish_token(first, t + 4u, sum_4.xy, up_4.xy);
  finish_token(first, t + 5u, sum_4.zw, up_4.zw);
  finish_token(first, t + 6u, sum_6.xy, up_6.xy);
  finish_token(first, t + 7u, sum_6.zw, up_6.zw);
}
