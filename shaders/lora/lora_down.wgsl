//: kernel, sums: step lora
// t = A x. For many tokens FOURS times four ranks and four tokens are a workgroup, whose x is read
// once: THREADS / FOURS invocations share four ranks; grid: (ranks / (4 FOURS), ceil(T / 4)). For
// one token LANES invocations share a rank; in decode on a GPU with the norm of x on the way, and
// with two splits of attention put together, as in matvec_team.wgsl; grid: (rank groups).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> lora: Lora;
@group(0) @binding(2) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;  // [T, x_stride]
// weight of the norm; anything where there is none
@group(0) @binding(4) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> t: array<f32>;  // [T, 4 rank]

const NEVER: u32 = 0xffffffffu;
override NORM_STRIP: u32 = NEVER;  // parts whose input begins at this strip of 32 are normalized
override NORM_WIDTH: u32 = 1u;
override NORM_EPS: f32 = 0.0;
override SCALED: u32 = 1u;         // 0: whoever reads t applies the norm's scale
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

override FOURS: u32 = 1u;

// What LANES invocations have summed of each of four ranks, for four tokens.
var<workgroup> partial: array<vec4<f32>, 4u * (THREADS / LANES)>;

// The part that these four ranks are of.
fn part_of(four: u32) -> LoraPart {
  var part = lora.part[0];
  for (var p = 1u; p < lora.parts; p++) {
    if (four >= lora.part[p].t) {
      part = lora.part[p];
    }
  }
  return part;
}

fn many(group: vec3<u32>, index: u32) {
  let token = 4u * group.y;
  let each = THREADS / FOURS;
  let four = FOURS * group.x + index / each;
  let part = part_of(min(four, lora.rank - 1u));
  let first = part.a + 4u * (min(four, lora.rank - 1u) - part.t) * part.cols;
  let at = four_from(token, now.tokens) * lora.x_stride + part.x;
  //: for r in 0..4
  var sum_{r} = vec4<f32>(0.0);
  //: end
  for (var c = index % each; c < part.cols; c += each) {
    let x_0 = x[at.x + c];
    let x_1 = x[at.y + c];
    let x_2 = x[at.z + c];
    let x_3 = x[at.w + c];
    //: for r in 0..4
    let w_{r} = a[first + {r}u * part.cols + c];
    sum_{r} += vec4<f32>(dot(w_{r}, x_0), dot(w_{r}, x_1), dot(w_{r}, x_2), dot(w_{r}, x_3));
    //: end
  }
  //: for r in 0..4
  sum_{r} = reduce(sum_{r}, index);
  //: end
  if (index % LANES == 0u) {
    let place = 4u * (index / LANES);
    //: for r in 0..4
    partial[place{+ r}] = sum_{r};
    //: end
  }
  workgroupBarrier();
  if (four >= lora.rank) {
    return;
  }
  let first_lanes = index / each * (each / LANES);
  for (var i = index % each; i < 16u; i += each) {
    let r = i % 4u;
    let j = i / 4u;
    var sum = 0.0;
    for (var k = 0u; k < each / LANES; k++) {
      sum += partial[4u * (first_lanes + k) + r][j];
    }
    if (token + j < now.tokens) {
      t[4u * ((token + j) * lora.rank + four) + r] = sum;
    }
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  if (MANY == 1u) {
    many(group, index);
    return;
  }
  let all = 4u * lora.rank;
  let row = group.x * (THREADS / LANES) + index / LANES;
  let inside = min(row, all - 1u);
  let part = part_of(inside / 4u);
  let first = part.a + (inside - 4u * part.t) * part.cols;
  let under_norm = NORM_STRIP != NEVER && part.x >= 8u * NORM_STRIP;
  var sums = vec4<f32>(0.0);
  for (var c = index % LANES; c < part.cols; c += LANES) {
    var v = input(part.x + c);
    if (under_norm) {
      sums.w += dot(v, v);
      v *= norm[part.x + c - 8u * NORM_STRIP];
    }
    sums.x += dot(a[first + c], v);
  }
  sums = reduce(sums, index);
  if (index % LANES == 0u && row < all) {
    let scaled = SCALED == 1u && under_norm;
    t[row] = select(1.0, inverseSqrt(sums.w / f32(NORM_WIDTH) + NORM_EPS), scaled) * sums.x;
  }
}
