// A token becomes the next step's input. An end token halts the steps that are already on their
// way.
fn store_token(sampled: u32, failed: bool) {
  // The id must stay inside the vocabulary whatever happens.
  let token = select(sampled, 0u, failed);
  var is_end = failed;
  for (var i = 0u; i < ends.count; i++) {
    is_end = is_end || ends.id[i / 4u][i % 4u] == token;
  }
  ids[0] = token;
  control[0] = u32(is_end);
  control[1] = token;
  control[2] = u32(failed);
}
