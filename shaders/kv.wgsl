// Where keys and values lie: in pages of PAGE positions that sequences share, and `pages` says which are whose.
// Page p of a layer: keys [PAGE, nkv hd], values [PAGE, nkv hd], f16 (two in a word) or f32. Four neighbours of a row are read
// and written at a time: `at` counts such fours. A block of positions that begins at a multiple of its length lies in one page.
override KV_F16: u32;
override KV_DIM: u32;     // nkv hd

const PAGE: u32 = 128u;

// The page of a position.
fn page_of(position: u32) -> u32 {
  let page = position / PAGE;
  return pages[page / 4u][page % 4u];
}

// The first four of the keys of row `row` of a page. Its values lie PAGE rows behind.
fn row_of(page: u32, row: u32) -> u32 {
  return (page * 2u * PAGE + row) * (KV_DIM / 4u);
}

fn kv_4(at: u32) -> vec4<f32> {
  if (KV_F16 == 1u) {
    let words = kv[at];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
  }
  let a = kv[2u * at];
  let b = kv[2u * at + 1u];
  return vec4<f32>(bitcast<f32>(a.x), bitcast<f32>(a.y), bitcast<f32>(b.x), bitcast<f32>(b.y));
}

// Value i of the row that begins at `at`.
fn kv_1(at: u32, i: u32) -> f32 {
  if (KV_F16 == 1u) {
    return unpack2x16float(kv[at + i / 4u][(i / 2u) % 2u])[i % 2u];
  }
  return bitcast<f32>(kv[2u * at + i / 2u][i % 2u]);
}
