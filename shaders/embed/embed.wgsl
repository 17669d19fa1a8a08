//: kernel: step matrix
// h[t] = embedding_multiplier E[id_t]. One invocation a strip of 32 values; a slab writes only the
// tokens whose row it holds. Grid: (ceil(D / 32 / THREADS), T).
@group(0) @binding(0) var<uniform> now: Step;
@group(0) @binding(1) var<uniform> matrix: Matrix;           // E [V, D]
@group(0) @binding(2) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> ids: array<u32>;    // [T]
@group(0) @binding(4) var<storage, read_write> h: array<vec4<f32>>;  // [T, y_stride / 4]

override THREADS: u32 = 64u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let s = group.x * THREADS + index;
  let t = group.y;
  let part = matrix.part[0];
  let row = ids[t];
  if (t >= now.tokens || s >= part.strips || row < part.first_row || row - part.first_row >= part.rows) {
    return;
  }
  let w = scaled(strip(part, row - part.first_row, s), part.scale);
  let y = t * (matrix.y_stride / 4u) + 8u * s;
  h[y] = w.a;
  h[y + 1u] = w.b;
  h[y + 2u] = w.c;
  h[y + 3u] = w.d;
  h[y + 4u] = w.e;
  h[y + 5u] = w.f;
  h[y + 6u] = w.g;
  h[y + 7u] = w.h;
}
