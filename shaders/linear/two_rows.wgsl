// An invocation of matvec.wgsl or matmul.wgsl is two neighboring rows.
override THREADS: u32 = 16u;

struct TwoRows {
  row: vec2<u32>,      // counted inside the part
  inside: vec2<bool>,  // a row that is not is another one's copy, to be dropped
}

// The first of an invocation's rows, counted inside the slab.
fn first_row(group: vec3<u32>, index: u32) -> u32 {
  return 2u * ((group.x + group.y * 32768u) * THREADS + index);
}

fn rows_of(part: Part, first: u32) -> TwoRows {
  let inside_slab = vec2<u32>(first, first + 1u) < vec2<u32>(matrix.rows);
  let row = vec2<u32>(matrix.first_row) + vec2<u32>(first, first + 1u);
  let inside = inside_slab & (row >= vec2<u32>(part.first_row)) & (row - vec2<u32>(part.first_row) < vec2<u32>(part.rows));
  let inner = row - vec2<u32>(part.first_row);
  return TwoRows(select(inner.yx, inner, inside), inside);
}

fn input_at(i: u32) -> Strip {
  return Strip(x[i], x[i + 1u], x[i + 2u], x[i + 3u], x[i + 4u], x[i + 5u], x[i + 6u], x[i + 7u]);
}

fn finish_two(first: u32, t: u32, sum: vec2<f32>, second: vec2<f32>) {
  let i = t * matrix.y_stride + matrix.first_row + first;
  if (first < matrix.rows) {
    finish(i, sum.x, second.x, standing(i));
  }
  if (first + 1u < matrix.rows) {
    finish(i + 1u, sum.y, second.y, standing(i + 1u));
  }
}
