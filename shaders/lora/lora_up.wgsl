//: kernel: step lora
// y += B t, or y = silu(gate + B_gate t) (up + B_up t): an invocation is a row, for one token or
// for four. Grid: (row groups, tokens / 4).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> lora: Lora;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> t: array<vec4<f32>>;  // [T, rank]
// [T, gate | up], each `rows`; anything where y is added to
@group(0) @binding(4) var<storage, read> base: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;  // [T, y_stride]

override THREADS: u32 = 64u;
// 1: the second half of the rows is `up`, which y does not have.
override SWIGLU: u32 = 0u;

// What the adapters add to a row at four tokens (or in x at one), whose rows of t begin at `four`.
fn added(row: u32, four: vec4<u32>) -> vec4<f32> {
  var sum = vec4<f32>(0.0);
  for (var p = 0u; p < lora.parts; p++) {
    let part = lora.part[p];
    if (row < part.first_row || row - part.first_row >= part.rows) {
      continue;
    }
    let first = part.b + (row - part.first_row) * part.rank;
    for (var k = 0u; k < part.rank; k++) {
      let w = b[first + k];
      let at = four + part.t + k;
      if (MANY == 1u) {
        sum += vec4<f32>(dot(w, t[at.x]), dot(w, t[at.y]), dot(w, t[at.z]), dot(w, t[at.w]));
      } else {
        sum.x += dot(w, t[at.x]);
      }
    }
  }
  return sum;
}

fn finish(token: u32, row: u32, first: f32, second: f32) {
  let i = token * lora.y_stride + row;
  if (SWIGLU == 0u) {
    y[i] += first;
    return;
  }
  let at = 2u * lora.rows * token + row;
  let gate = base[at] + first;
  y[i] = gate / (1.0 + exp(-gate)) * (base[at + lora.rows] + second);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = group.x * THREADS + index;
  if (row >= lora.rows) {
    return;
  }
  let token = 4u * group.y;
  let four = four_from(token, now.tokens) * lora.rank;
  let first = added(row, four);
  var second = vec4<f32>(0.0);
  if (SWIGLU == 1u) {
    second = added(lora.rows + row, four);
  }
  finish(token, row, first.x, second.x);
  if (MANY == 0u) {
    return;
  }
  if (token + 1u < now.tokens) {
    finish(token + 1u, row, first.y, second.y);
  }
  if (token + 2u < now.tokens) {
    finish(token + 2u, row, first.z, second.z);
  }
  if (token + 3u < now.tokens) {
    finish(token + 3u, row, first.w, second.w);
  }
}
