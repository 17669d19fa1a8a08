// F16: 16 words a strip, value 2i in the low half of word i.
const F16: u32 = 1u;

fn four_f16(a: u32, b: u32) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(a), unpack2x16float(b));
}

fn load_f16(quants: u32, scales: u32, i: u32) -> Raw {
  return late(quants / 4u + 4u * i);
}

fn strip_f16(raw: Raw, scales: u32, i: u32) -> Strip {
  let q = raw.c;
  let a = weights[q];
  let b = weights[q + 1u];
  let c = weights[q + 2u];
  let d = weights[q + 3u];
  return Strip(
    four_f16(a.x, a.y), four_f16(a.z, a.w), four_f16(b.x, b.y), four_f16(b.z, b.w),
    four_f16(c.x, c.y), four_f16(c.z, c.w), four_f16(d.x, d.y), four_f16(d.z, d.w),
  );
}

fn dot_f16(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  return strip_dot(strip_f16(raw, scales, i), v);
}
