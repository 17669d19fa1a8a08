//: kernel, sums: step lora
// t = A x: LANES invocations share a row of A, for one token or for four. In decode on a GPU with
// the norm of x on the way, and with two splits of attention put together, as in matvec_team.wgsl.
// Grid: (row groups, tokens / 4).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> lora: Lora;
@group(0) @binding(2) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;         // [T, x_stride]
@group(0) @binding(4) var<storage, read> norm: array<vec4<f32>>;      // weight of the norm; anything where there is none
@group(0) @binding(5) var<storage, read_write> t: array<f32>;         // [T, 4 rank]

const NEVER: u32 = 0xffffffffu;
override NORM_STRIP: u32 = NEVER;       // parts whose input begins at this strip of 32 are normalized
override NORM_WIDTH: u32 = 1u;
override NORM_EPS: f32 = 0.0;
override SCALED: u32 = 1u;              // 0: whoever reads t applies the norm's scale
// Where attention's splits begin in x, in vec4s; see mixer_step.wgsl. Vec4s of all heads, and of
// one.
override SPLITS_OFFSET: u32 = NEVER;
override ATTENTION: u32 = 0u;
override HEAD: u32 = 1u;

// Vec4 `column` of the only token's input.
fn input(column: u32) -> vec4<f32> {
  if (SPLITS_OFFSET == NEVER || column >= ATTENTION || now.splits != 2u) {
    return x[column];
  }
  let first = SPLITS_OFFSET + column / HEAD * 2u * (HEAD + 1u);
  let second = first + HEAD + 1u;
  let one = x[first];
  let two = x[second];
  let top = max(one.x, two.x);
  let one_share = exp(one.x - top);
  let two_share = exp(two.x - top);
  let sum = one_share * x[first + 1u + column % HEAD] + two_share * x[second + 1u + column % HEAD];
  return sum / (one_share * one.y + two_share * two.y);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let all = 4u * lora.rank;
  let row = group.x * (THREADS / LANES) + index / LANES;
  let inside = min(row, all - 1u);
  var part = lora.part[0];
  for (var p = 1u; p < lora.parts; p++) {
    if (inside >= 4u * lora.part[p].t) {
      part = lora.part[p];
    }
  }
  let first = part.a + (inside - 4u * part.t) * part.cols;
  let under_norm = NORM_STRIP != NEVER && part.x >= 8u * NORM_STRIP;
  let token = 4u * group.y;
  let four = four_from(token, now.tokens) * lora.x_stride + part.x;
  var sums = vec4<f32>(0.0);
  for (var c = index % LANES; c < part.cols; c += LANES) {
    let w = a[first + c];
    if (MANY == 1u) {
      sums += vec4<f32>(dot(w, x[four.x + c]), dot(w, x[four.y + c]), dot(w, x[four.z + c]), dot(w, x[four.w + c]));
    } else {
      var v = input(part.x + c);
      if (under_norm) {
        sums.w += dot(v, v);
        v *= norm[part.x + c - 8u * NORM_STRIP];
      }
      sums.x += dot(w, v);
    }
  }
  sums = reduce(sums, index);
  if (index % LANES != 0u || row >= all) {
    return;
  }
  if (MANY == 0u) {
    let scaled = SCALED == 1u && under_norm;
    t[row] = select(1.0, inverseSqrt(sums.w / f32(NORM_WIDTH) + NORM_EPS), scaled) * sums.x;
    return;
  }
  t[token * all + row] = sums.x;
  if (token + 1u < now.tokens) {
    t[(token + 1u) * all + row] = sums.y;
  }
  if (token + 2u < now.tokens) {
    t[(token + 2u) * all + row] = sums.z;
  }
  if (token + 3u < now.tokens) {
    t[(token + 3u) * all + row] = sums.w;
  }
}
