// Y = X W^T for many tokens (prefill): as matvec.wgsl, but each strip of weights, once decoded, meets eight tokens.
// Grid: (row groups folded at 32768, folds, ceil(tokens / 8)).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;         // [T, y_stride]

fn input_at(i: u32) -> Strip {
  return Strip(x[i], x[i + 1u], x[i + 2u], x[i + 3u], x[i + 4u], x[i + 5u], x[i + 6u], x[i + 7u]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let lane = index % LANES;
  let tokens = tokens_in();
  let t = 8u * group.z;
  let inside = (group.x + group.y * 32768u) * (THREADS / LANES) + index / LANES;
  let row = matrix.first_row + inside;
  // A short last group reads its last token again and drops the copies.
  let last = tokens - 1u;
  let token_0 = min(vec4<u32>(t, t + 1u, t + 2u, t + 3u), vec4<u32>(last)) * matrix.x_stride;
  let token_4 = min(vec4<u32>(t + 4u, t + 5u, t + 6u, t + 7u), vec4<u32>(last)) * matrix.x_stride;
  var sum_0 = vec4<f32>(0.0);     // tokens t..t+3
  var sum_4 = vec4<f32>(0.0);     // tokens t+4..t+7
  var second_0 = vec4<f32>(0.0);  // the second sum (up, of SwiGLU)
  var second_4 = vec4<f32>(0.0);
  for (var p = 0u; p < matrix.parts; p++) {
    let part = matrix.part[p];
    if (row < part.first_row || row - part.first_row >= part.rows) {
      continue;
    }
    var part_0 = vec4<f32>(0.0);
    var part_4 = vec4<f32>(0.0);
    for (var s = lane; s < part.strips; s += LANES) {
      let w = strip(part, row - part.first_row, s);
      let at_0 = token_0 + vec4<u32>(part.x + 8u * s);
      let at_4 = token_4 + vec4<u32>(part.x + 8u * s);
      part_0 += vec4<f32>(
        strip_dot(w, input_at(at_0.x)), strip_dot(w, input_at(at_0.y)), strip_dot(w, input_at(at_0.z)), strip_dot(w, input_at(at_0.w)),
      );
      part_4 += vec4<f32>(
        strip_dot(w, input_at(at_4.x)), strip_dot(w, input_at(at_4.y)), strip_dot(w, input_at(at_4.z)), strip_dot(w, input_at(at_4.w)),
      );
    }
    if ((part.kind >> 8u) == 0u) {
      sum_0 += part.scale * part_0;
      sum_4 += part.scale * part_4;
    } else {
      second_0 += part.scale * part_0;
      second_4 += part.scale * part_4;
    }
  }
  sum_0 = reduce(sum_0, index);
  sum_4 = reduce(sum_4, index);
  if (EPILOGUE == SWIGLU) {
    second_0 = reduce(second_0, index);
    second_4 = reduce(second_4, index);
  }
  if (lane != 0u || inside >= matrix.rows) {
    return;
  }
  for (var j = 0u; j < 4u; j++) {
    if (t + j < tokens) {
      finish(row, t + j, sum_0[j], second_0[j], standing(row, t + j));
    }
    if (t + 4u + j < tokens) {
      finish(row, t + 4u + j, sum_4[j], second_4[j], standing(row, t + 4u + j));
    }
  }
}
