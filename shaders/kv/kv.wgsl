// Where keys and values lie: in pages of PAGE positions that sequences share, and `pages` says
// which are whose.
// Page p of a layer: keys [PAGE, nkv hd], values [PAGE, nkv hd]. Four neighbors of a row are read
// and written at a time: `at` counts such fours. How they are kept is one of the pieces in kv/:
// KvWord, kv_4, kv_1, and KV_FOURS, the fours that share a scale. A block of positions that begins
// at a multiple of its length lies in one page.
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
