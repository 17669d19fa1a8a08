// BF16: the upper 16 bits of an f32; 16 words a strip, value 2i in the low half of word i.
const BF16: u32 = 30u;

fn four_bf16(a: u32, b: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(a << 16u, a & 0xffff0000u, b << 16u, b & 0xffff0000u));
}

fn load_bf16(quants: u32, scales: u32, i: u32) -> Raw {
  return late(quants / 4u + 4u * i);
}

fn strip_bf16(raw: Raw, scales: u32, i: u32) -> Strip {
  let q = raw.c;
  let a = weights[q];
  let b = weights[q + 1u];
  let c = weights[q + 2u];
  let d = weights[q + 3u];
  return Strip(
    four_bf16(a.x, a.y), four_bf16(a.z, a.w), four_bf16(b.x, b.y), four_bf16(b.z, b.w),
    four_bf16(c.x, c.y), four_bf16(c.z, c.w), four_bf16(d.x, d.y), four_bf16(d.z, d.w),
  );
}

fn dot_bf16(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_bf16(raw, scales, i), v);
}
