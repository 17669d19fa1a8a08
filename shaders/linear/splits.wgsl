// A prompt of few tokens has fewer tiles than a large GPU has room for: then several workgroups
// share the columns of one tile, and what each has summed waits in `split_sums` for
// `matmul_sum`, which puts it together in the same order in every run.
override SPLIT_WORKGROUPS: u32 = 1u;  // so many are wanted
override MOST_SPLITS: u32 = 1u;       // and no more than these for a tile

// Workgroups that share a tile, by how many tiles there are.
fn splits_of(row_tiles: u32, token_tiles: u32) -> u32 {
  return clamp(SPLIT_WORKGROUPS / max(row_tiles * token_tiles, 1u), 1u, MOST_SPLITS);
}
