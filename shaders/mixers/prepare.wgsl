//: kernel: step kv_append
// Between project_in and the mixers, element by element: RoPE on q and k, k and v appended to the
// cache, the causal convolution with SiLU on x, B and C, softplus on dt. One invocation an element
// (a pair of q, four of k and v). Grid: (ceil(elements / THREADS), T).
//
// proj row:  [ q | k | v | z | x | B | C | dt ]
// ready row:
// [ q after RoPE | x, B, C after convolution and SiLU | delta (H) | exp(delta A) (H)
// | 1 after an end token ]
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<storage, read> proj: array<f32>;         // [T, PROJ_STRIDE]
// [T, hd / 2]: cos, sin, made in f64 on the host
@group(0) @binding(2) var<storage, read> rope: array<vec2<f32>>;
// [conv_dim, K]: a ring, the column of position p at p % K, before the convolution
@group(0) @binding(3) var<storage, read> conv_state: array<f32>;
// conv1d.weight [conv_dim, K] | conv1d.bias [conv_dim] | dt_bias [H] | A [H] | D [H]
@group(0) @binding(4) var<storage, read> mamba: array<f32>;
@group(0) @binding(5) var<storage, read_write> ready: array<f32>;  // [T, READY_STRIDE]
@group(0) @binding(6) var<uniform> pages: array<vec4<u32>, 512>;   // see kv.wgsl
// [0]: 1 after an end token, see sample.wgsl
@group(0) @binding(7) var<storage, read> control: array<u32>;
@group(1) @binding(0) var<storage, read_write> kv: array<KvWord>;  // see kv.wgsl

override THREADS: u32 = 64u;
override PROJ_STRIDE: u32;
override READY_STRIDE: u32;
override Q_DIM: u32;      // nh hd
override HEAD_DIM: u32;
override D_SSM: u32;
override CONV_DIM: u32;   // d + 2 G N
override D_CONV: u32;     // K
override SSM_HEADS: u32;  // H

// The pair (i, i + hd / 2) of a head, turned by the token's angle.
fn rotate(a: f32, b: f32, t: u32, i: u32) -> vec2<f32> {
  let turn = rope[t * (HEAD_DIM / 2u) + i];
  return vec2<f32>(a * turn.x - b * turn.y, b * turn.x + a * turn.y);
}

// Value i of k after RoPE.
fn rotated_key(t: u32, i: u32) -> f32 {
  let pairs = HEAD_DIM / 2u;
  let pair = i % pairs;
  let at = t * PROJ_STRIDE + Q_DIM + i / HEAD_DIM * HEAD_DIM + pair;
  let turned = rotate(proj[at], proj[at + pairs], t, pair);
  return select(turned.x, turned.y, i % HEAD_DIM >= pairs);
}

// Four i of a token's keys after RoPE, and of its values.
fn key_4(t: u32, i: u32) -> vec4<f32> {
  return vec4<f32>(rotated_key(t, 4u * i), rotated_key(t, 4u * i + 1u), rotated_key(t, 4u * i + 2u), rotated_key(t, 4u * i + 3u));
}

fn value_4(t: u32, i: u32) -> vec4<f32> {
  let v = t * PROJ_STRIDE + Q_DIM + KV_DIM + 4u * i;
  return vec4<f32>(proj[v], proj[v + 1u], proj[v + 2u], proj[v + 3u]);
}

// The largest magnitudes in the block of four i, each four of which finds them for itself.
fn largest_key(t: u32, i: u32) -> vec4<f32> {
  var largest = vec4<f32>(0.0);
  for (var j = 0u; j < KV_FOURS; j++) {
    largest = max(largest, abs(key_4(t, i / KV_FOURS * KV_FOURS + j)));
  }
  return largest;
}

fn largest_value(t: u32, i: u32) -> vec4<f32> {
  var largest = vec4<f32>(0.0);
  for (var j = 0u; j < KV_FOURS; j++) {
    largest = max(largest, abs(value_4(t, i / KV_FOURS * KV_FOURS + j)));
  }
  return largest;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let t = group.y;
  let from_row = t * PROJ_STRIDE;
  let to_row = t * READY_STRIDE;
  let position = now.position + t;
  let pairs = HEAD_DIM / 2u;
  var i = group.x * THREADS + index;

  if (i < Q_DIM / 2u) {
    let at = i / pairs * HEAD_DIM + i % pairs;
    let turned = rotate(proj[from_row + at], proj[from_row + at + pairs], t, i % pairs);
    ready[to_row + at] = turned.x;
    ready[to_row + at + pairs] = turned.y;
    return;
  }
  i -= Q_DIM / 2u;
  if (i < KV_DIM / 4u) {
    let at = row_of(page_of(position), position % PAGE);
    kv_store(at + i, key_4(t, i), kv_scale(largest_key(t, i)));
    return;
  }
  i -= KV_DIM / 4u;
  if (i < KV_DIM / 4u) {
    let at = row_of(page_of(position), PAGE + position % PAGE);
    kv_store(at + i, value_4(t, i), kv_scale(largest_value(t, i)));
    return;
  }
  i -= KV_DIM / 4u;
  if (i < CONV_DIM) {
    let column = Q_DIM + 2u * KV_DIM + D_SSM + i;
    var sum = mamba[CONV_DIM * D_CONV + i];
    for (var j = 0u; j < D_CONV; j++) {
      // Tap j multiplies the column of D_CONV - 1 - j tokens ago: in this step, or in the state
      // from before it.
      let source = t + j;
      var c = 0.0;
      if (source < D_CONV - 1u) {
        c = conv_state[i * D_CONV + (now.position + source + 1u) % D_CONV];
      } else {
        c = proj[(source - (D_CONV - 1u)) * PROJ_STRIDE + column];
      }
      sum += mamba[i * D_CONV + j] * c;
    }
    ready[to_row + Q_DIM + i] = sum / (1.0 + exp(-sum));
    return;
  }
  i -= CONV_DIM;
  if (i < SSM_HEADS) {
    let dt_bias = CONV_DIM * (D_CONV + 1u);
    let v = proj[from_row + Q_DIM + 2u * KV_DIM + D_SSM + CONV_DIM + i] + mamba[dt_bias + i];
    // softplus; above 20 it is v itself in f32.
    let delta = select(log(1.0 + exp(min(v, 20.0))), v, v > 20.0);
    ready[to_row + Q_DIM + CONV_DIM + i] = delta;
    ready[to_row + Q_DIM + CONV_DIM + SSM_HEADS + i] = exp(delta * mamba[dt_bias + SSM_HEADS + i]);
  }
  if (i == SSM_HEADS) {
    // For the SSM heads.
    ready[to_row + Q_DIM + CONV_DIM + 2u * SSM_HEADS] = f32(control[0]);
  }
}
