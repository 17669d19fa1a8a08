// Keys and values in 8 bits: blocks of 4 KV_FOURS neighbors of a head with one scale, a word for
// each four and the scale in f32 behind them. A value is its quant, -127 to 127, times the scale,
// which is a 127th of the block's largest magnitude.
alias KvWord = u32;
override KV_FOURS: u32;
const KV_IN_F16: bool = false;

// The word of a four; its block's scale is in the word `kv_scale_word`.
fn kv_word(at: u32) -> u32 {
  return at + at / KV_FOURS;
}

fn kv_scale_word(at: u32) -> u32 {
  return (at / KV_FOURS) * (KV_FOURS + 1u) + KV_FOURS;
}

fn kv_4(at: u32) -> vec4<f32> {
  let quants = (vec4<i32>(bitcast<i32>(kv[kv_word(at)])) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
  return bitcast<f32>(kv[kv_scale_word(at)]) * vec4<f32>(quants);
}

// Value i of the row that begins at `at`.
fn kv_1(at: u32, i: u32) -> f32 {
  let four = at + i / 4u;
  let quant = (bitcast<i32>(kv[kv_word(four)]) << (24u - 8u * (i % 4u))) >> 24u;
  return bitcast<f32>(kv[kv_scale_word(four)]) * f32(quant);
}
