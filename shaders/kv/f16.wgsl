// Keys and values in f16: four of them are two words.
alias KvWord = vec2<u32>;
const KV_FOURS: u32 = 1u;
const KV_IN_F16: bool = true;  // whether f16 holds whatever is read

fn kv_4(at: u32) -> vec4<f32> {
  let words = kv[at];
  return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}

// Value i of the row that begins at `at`.
fn kv_1(at: u32, i: u32) -> f32 {
  return unpack2x16float(kv[at + i / 4u][(i / 2u) % 2u])[i % 2u];
}
