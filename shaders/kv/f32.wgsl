// Keys and values in f32.
alias KvWord = vec4<f32>;
const KV_FOURS: u32 = 1u;
const KV_IN_F16: bool = false;

fn kv_4(at: u32) -> vec4<f32> {
  return kv[at];
}

// Value i of the row that begins at `at`.
fn kv_1(at: u32, i: u32) -> f32 {
  return kv[at + i / 4u][i % 4u];
}
