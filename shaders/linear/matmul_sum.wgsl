//: kernel: step tokens epilogue splits
// Y of tiles whose columns several workgroups have shared: the sum of their sums.
// Grid: (ceil(rows / 64), T, 1).
@group(0) @binding(0) var<uniform> now: Step;
// [splits, T, ROWS]; SwiGLU: [splits, T, 2 ROWS]
@group(0) @binding(1) var<storage, read> split_sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [T, STRIDE]

override ROWS: u32 = 1u;       // of the slab
override FIRST_ROW: u32 = 0u;  // of the slab
override STRIDE: u32 = 1u;     // of y
override ROW_TILES: u32 = 1u;
override TILE_TOKENS: u32 = 64u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = 64u * group.x + index;
  let token = group.y;
  if (row >= ROWS) {
    return;
  }
  let tokens = tokens_in();
  let splits = splits_of(ROW_TILES, (tokens + TILE_TOKENS - 1u) / TILE_TOKENS);
  let width = select(ROWS, 2u * ROWS, EPILOGUE == SWIGLU);
  var sum = 0.0;
  var second = 0.0;
  for (var k = 0u; k < splits; k++) {
    let at = (k * tokens + token) * width + row;
    sum += split_sums[at];
    if (EPILOGUE == SWIGLU) {
      second += split_sums[at + ROWS];
    }
  }
  let to = token * STRIDE + FIRST_ROW + row;
  finish(to, sum, second, standing(to));
}
