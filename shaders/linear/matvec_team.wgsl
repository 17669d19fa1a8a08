//: kernel, sums: step matrix epilogue | step matrix epilogue_lora published publish
// y = W x for one token on a GPU (decode), with the RMSNorm of x on the way where there is one. A
// workgroup is a team that shares ROWS rows: an invocation multiplies one strip of one row, so that
// each loads its weights at once, as one vec4, and no scale is decoded twice. The input is staged
// in workgroup memory while the weights are on their way.
// Grid: (row groups folded at 32768, folds).
//
// The norm costs no dispatch: W (weight x / rms) = (W (weight x)) / rms, and the squares are summed
// while x is loaded.
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
// weight of the norm; anything where there is none
@group(0) @binding(3) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> now: Step;
//: if lora
// With adapters: what they add to y, and what they make of y where it is the next layer's input.
@group(0) @binding(5) var<storage, read> lora_b: array<f32>;  // see published.wgsl
@group(0) @binding(6) var<storage, read> sums_in: array<vec4<i32>>;
// of the layer that reads y, as columns [rows of y, SUM_RANKS]; then the norm's weight
@group(0) @binding(7) var<storage, read> lora_a: array<f32>;
@group(0) @binding(8) var<storage, read_write> sums_out: array<atomic<i32>>;  // see publish.wgsl

override NEXT_NORM: u32 = 0xffffffffu;  // where in lora_a the weight of the norm between begins
//: end

const NEVER: u32 = 0xffffffffu;
// What is the same in all layers is a constant and not in the matrix's table: reading a table is a
// step more in the chain.
// a power of two, at most LANES; more than 1 only where such groups of rows share their parts
override ROWS: u32 = 1u;
// 1: an invocation has a second row, ROWS further on, and the workgroup twice as many
override PAIRED: u32 = 0u;
override SPAN: u32 = 1u;       // strips of the input staged at a time
override SPANS: u32 = 1u;
override ROUNDS: u32 = 1u;     // strips of a span, over THREADS / ROWS, rounded up
override STRIPS: u32 = 1u;     // of a row
// where two parts stand beside each other: the strips of the first; the second's input follows
override BESIDE: u32 = NEVER;
override FIRST_ROW: u32 = 0u;  // Matrix.first_row and Matrix.rows
override ALL_ROWS: u32 = 0u;
// Part.first_row (NEVER for the second of a pair), quants, scales, kind and scale of each part.
//: for i in 0..8
override ROW_{i}: u32 = NEVER;  override QUANTS_{i}: u32 = 0u;  override SCALES_{i}: u32 = 0u;  override KIND_{i}: u32 = 0u;  override SCALE_{i}: f32 = 1.0;
//: end
override NORM_STRIP: u32 = NEVER;       // strips from here on are normalized, together
override NORM_WIDTH: u32 = 1u;          // values under the norm
override NORM_EPS: f32 = 0.0;
// Where attention's splits begin in x, in vec4s; see mixer_step.wgsl. Vec4s of all heads, and of
// one.
override SPLITS_OFFSET: u32 = NEVER;
override ATTENTION: u32 = 0u;
override HEAD: u32 = 1u;

// vec4 j of strip s of the span at 8 s + j ^ (s % 8): neighbors meet different banks.
var<workgroup> tile: array<vec4<f32>, 8u * SPAN>;
// What LANES invocations have summed for each of their ROWS rows: plain, under the norm, the second
// row (up, or the pair's), squares.
var<workgroup> partial: array<vec4<f32>, ROWS * (THREADS / LANES)>;

// The part that row `row` is in, where parts stand one below the other.
fn part_of(row: u32) -> u32 {
  return u32(row >= ROW_1) + u32(row >= ROW_2) + u32(row >= ROW_3) + u32(row >= ROW_4) + u32(row >= ROW_5) + u32(row >= ROW_6)
    + u32(row >= ROW_7);
}

fn part_at(p: u32) -> Part {
  let strips = select(STRIPS, select(BESIDE, STRIPS - BESIDE, p == 1u), BESIDE != NEVER);
  switch (p) {
    //: for i in 0..7
    case {i}u: { return Part(ROW_{i}, 0u, strips, 0u, QUANTS_{i}, SCALES_{i}, KIND_{i}, SCALE_{i}); }
    //: end
    default: { return Part(ROW_7, 0u, strips, 0u, QUANTS_7, SCALES_7, KIND_7, SCALE_7); }
  }
}

// A strip that is on its way, and what decodes it.
struct Loaded {
  raw: Raw,
  part: Part,
  row: u32,
  s: u32,
}

// Strip s of a row, counted over the parts that stand beside each other; `below`: the part it is in
// where they stand one below the other.
fn loaded(below: u32, row: u32, s: u32) -> Loaded {
  let is_beside = s >= BESIDE;
  let part = part_at(select(below, 1u, is_beside));
  let row_in = row - select(part.first_row, ROW_0, part.first_row == NEVER);
  let s_in = select(s, s - BESIDE, is_beside);
  return Loaded(load(part, row_in, s_in), part, row_in, s_in);
}

fn dot_of(w: Loaded, v: Strip) -> f32 {
  return w.part.scale * dot_with(w.raw, w.part, w.row, w.s, v);
}

// Vec4 `column` of the input. Attention over two splits of the context is put together here: a
// dispatch in between would take longer.
fn input(column: u32) -> vec4<f32> {
  if (SPLITS_OFFSET == NEVER || column >= ATTENTION || now.splits != 2u) {
    return x[column];
  }
  let first = SPLITS_OFFSET + column / HEAD * 2u * (HEAD + 1u);
  let second = first + HEAD + 1u;
  let a = x[first];
  let b = x[second];
  let a_output = x[first + 1u + column % HEAD];
  let b_output = x[second + 1u + column % HEAD];
  let top = max(a.x, b.x);
  let a_share = exp(a.x - top);
  let b_share = exp(b.x - top);
  return (a_share * a_output + b_share * b_output) / (a_share * a.y + b_share * b.y);
}

//: if lora
// What a rank's A has for the rows of a workgroup, where there are so many.
struct Columns {
  //: for j in 0..8
  a_{j}: f32,
  //: end
}

// Of rank k, for rows from `row` on, the last of which is `last`.
fn columns_of(k: u32, row: u32, last: u32) -> Columns {
  var columns = Columns();
  if (k < SUM_RANKS) {
    //: for j in 0..8
    if ({j}u < (1u + PAIRED) * ROWS) { columns.a_{j} = lora_a[min(row{+ j}, last) * SUM_RANKS + k]; }
    //: end
  }
  return columns;
}

// What the next layer multiplies a row of y with, but for the scale of the norm.
fn next_weight(row: u32) -> f32 {
  if (NEXT_NORM == NEVER) {
    return 1.0;
  }
  return lora_a[NEXT_NORM + row];
}

//: end
// What the workgroup has summed for its row r, the norm included; z: for the second row.
fn total_of(r: u32) -> vec4<f32> {
  var total = vec4<f32>(0.0);
  for (var i = 0u; i < THREADS / LANES; i++) {
    total += partial[ROWS * i + r];
  }
  if (NORM_STRIP != NEVER) {
    var squares = 0.0;
    for (var i = 0u; i < ROWS * (THREADS / LANES); i++) {
      squares += partial[i].w;
    }
    let scale = inverseSqrt(squares / f32(NORM_WIDTH) + NORM_EPS);
    total.x += scale * total.y;
    total.z *= scale;
  }
  return total;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let inside = (ROWS + PAIRED * ROWS) * (group.x + group.y * 32768u);
  if (inside >= ALL_ROWS) {
    return;
  }
  let r = index % ROWS;
  let local = index / ROWS;
  let first_row = FIRST_ROW + inside;
  let row = min(first_row + r, FIRST_ROW + ALL_ROWS - 1u);
  let below = part_of(row);
  // The second row: of SwiGLU, the same of up; both multiply what is read of the input once.
  let seconds = EPILOGUE == SWIGLU || PAIRED == 1u;
  let row_2 = select(min(row + ROWS, FIRST_ROW + ALL_ROWS - 1u), row, EPILOGUE == SWIGLU);
  let below_2 = select(below, 1u, EPILOGUE == SWIGLU);
  let writes = index < ROWS && inside + index < ALL_ROWS;
  let writes_2 = PAIRED == 1u && index < ROWS && inside + ROWS + index < ALL_ROWS;
  //: if lora
  // The first round of all is on its way while all else is; A comes behind the input, for whose
  // registers it waits.
  let last_row = FIRST_ROW + ALL_ROWS - 1u;
  let pair = EPILOGUE != SWIGLU && PAIRED == 1u;
  // The same in all rows of a workgroup.
  let ranks = ranks_of(first_row);
  let published = published_at(index, ranks);
  var more = Published();
  if (T_SHARES > THREADS) {
    more = published_at(index + THREADS, ranks);
  }
  var share = Share();
  if (local < ranks.x) {
    share = share_of(local, row, select(row, row_2, pair));
  }
  var columns = Columns();
  //: end
  // On its way while the weights are.
  var before = 0.0;
  var before_2 = 0.0;
  //: if lora
  var weight = 1.0;
  var weight_2 = 1.0;
  //: end
  if (writes) {
    before = standing(first_row + index);
    //: if lora
    weight = next_weight(row);
    //: end
  }
  if (writes_2) {
    before_2 = standing(first_row + ROWS + index);
    //: if lora
    weight_2 = next_weight(row_2);
    //: end
  }
  var sums = vec4<f32>(0.0);
  // The weights of two rounds are on their way while the input is staged, later those of the next
  // two while one is summed. A single span's go out before the loop: a driver sends them earlier.
  var w = Loaded();
  var w_2 = Loaded();
  if (SPANS == 1u) {
    w = loaded(below, row, min(local, STRIPS - 1u));
    if (seconds) {
      w_2 = loaded(below_2, row_2, min(local, STRIPS - 1u));
    }
  }
  for (var span = 0u; span < SPANS; span++) {
    let begin = span * SPAN;
    if (SPANS > 1u) {
      w = loaded(below, row, min(begin + local, STRIPS - 1u));
      if (seconds) {
        w_2 = loaded(below_2, row_2, min(begin + local, STRIPS - 1u));
      }
    }
    var next = Loaded();
    var next_2 = Loaded();
    if (ROUNDS > 1u) {
      let s = min(begin + local + THREADS / ROWS, STRIPS - 1u);
      next = loaded(below, row, s);
      if (seconds) {
        next_2 = loaded(below_2, row_2, s);
      }
    }
    if (span > 0u) {
      workgroupBarrier();
    }
    // So many rounds for everyone, which constants say: their loads are on their way together.
    var rounds = (8u * SPAN + THREADS - 1u) / THREADS;
    //: if lora
    // Not where each may put splits of attention together: all at once take so many registers,
    // beside those of the adapters, that fewer workgroups run at the same time.
    if (SPANS > 1u && SPLITS_OFFSET != NEVER) {
      rounds = (8u * SPAN + THREADS - 1u - index) / THREADS;
    }
    //: end
    for (var round = 0u; round < rounds; round++) {
      let i = index + round * THREADS;
      if (8u * SPAN % THREADS != 0u && i >= 8u * SPAN) {
        break;
      }
      let s = begin + i / 8u;
      let column = 8u * min(s, STRIPS - 1u) + i % 8u;
      var v = select(vec4<f32>(0.0), input(column), s < STRIPS);
      if (NORM_STRIP != NEVER) {
        let under_norm = s >= NORM_STRIP;
        sums.w += select(0.0, dot(v, v), under_norm);
        v *= select(vec4<f32>(1.0), norm[select(0u, column - 8u * NORM_STRIP, under_norm)], under_norm);
      }
      tile[i ^ (i / 8u % 8u)] = v;
    }
    //: if lora
    if (span == 0u) {
      stage(ranks, index, published, more);
      columns = columns_of(index, first_row, last_row);
    }
    //: end
    workgroupBarrier();
    for (var round = 0u; round < ROUNDS; round++) {
      let strip_in = round * (THREADS / ROWS) + local;
      let at = 8u * min(strip_in, SPAN - 1u);
      let k = at / 8u % 8u;
      let v = Strip(
        tile[at + k], tile[at + (1u ^ k)], tile[at + (2u ^ k)], tile[at + (3u ^ k)],
        tile[at + (4u ^ k)], tile[at + (5u ^ k)], tile[at + (6u ^ k)], tile[at + (7u ^ k)],
      );
      let is_in = strip_in < SPAN;
      let sum = select(0.0, dot_of(w, v), is_in);
      if (NORM_STRIP != NEVER && begin + strip_in >= NORM_STRIP) {
        sums.y += sum;
      } else {
        sums.x += sum;
      }
      let after = min(begin + strip_in + 2u * (THREADS / ROWS), STRIPS - 1u);
      if (seconds) {
        sums.z += select(0.0, dot_of(w_2, v), is_in);
        if (round + 1u < ROUNDS) {
          w_2 = next_2;
          if (round + 2u < ROUNDS) {
            next_2 = loaded(below_2, row_2, after);
          }
        }
      }
      if (round + 1u < ROUNDS) {
        w = next;
        if (round + 2u < ROUNDS) {
          next = loaded(below, row, after);
        }
      }
    }
  }
  //: if lora
  if (local < ranks.x) {
    sums += added(share, t_of(local, ranks), pair);
  }
  // Loops that constants rule out would be code all the same, which costs a dispatch time.
  if (ROW_RANKS > THREADS / ROWS) {
    for (var k = local + THREADS / ROWS; k < ranks.x; k += THREADS / ROWS) {
      sums += added(share_of(k, row, select(row, row_2, pair)), t_of(k, ranks), pair);
    }
  }
  //: end
  let all = reduce_apart(sums, index, ROWS);
  if (index % LANES < ROWS) {
    partial[index / LANES * ROWS + r] = all;
  }
  workgroupBarrier();
  //: if lora
  // What is published is staged where the input was. Whoever has no row only waits.
  if (index < ROWS) {
    let total = total_of(r);
    var value = 0.0;
    if (writes) {
      value = finished(total.x, total.z, before);
      y[first_row + index] = value;
    }
    tile[index] = vec4<f32>(weight * value);
    if (PAIRED == 1u) {
      value = 0.0;
      if (writes_2) {
        value = finished(total.z, 0.0, before_2);
        y[first_row + ROWS + index] = value;
      }
      tile[ROWS + index] = vec4<f32>(weight_2 * value);
    }
  }
  if (SUM_RANKS == 0u) {
    return;
  }
  workgroupBarrier();
  for (var k = index; k < SUM_RANKS; k += THREADS) {
    var a = columns;
    if (SUM_RANKS > THREADS && k != index) {
      a = columns_of(k, first_row, last_row);
    }
    var sum = 0.0;
    //: for j in 0..8
    if ({j}u < (1u + PAIRED) * ROWS) { sum += a.a_{j} * tile[{j}u].x; }
    //: end
    publish(group.x + group.y * 32768u, k, sum);
    if (SUM_RANKS <= THREADS) {
      break;
    }
  }
  //: else
  if (!writes) {
    return;
  }
  let total = total_of(r);
  finish(first_row + index, total.x, total.z, before);
  if (writes_2) {
    finish(first_row + ROWS + index, total.z, 0.0, before_2);
  }
  //: end
}
