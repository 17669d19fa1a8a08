// Q4_K: value = d s q - dmin m, with 6-bit s and m for each strip. 4 words a strip; 8 halves (a
// vec4) a block of 8 strips: d, dmin, and twelve bytes with the scales.
const Q4_K: u32 = 12u;

// A strip times v, with the scales applied to sums: sum w v = d (sum (16 + q) v - 16 sum v) - least
// sum v.
fn dot_q4_k(raw: Raw, scales: u32, i: u32, v: Strip) -> f32 {
  let pair = scale_and_least(raw.b, i % 8u);
  let w = raw.a;
  let low = fma(low_sixteens(w.x), v.a, low_sixteens(w.y) * v.b) + fma(low_sixteens(w.z), v.c, low_sixteens(w.w) * v.d);
  let high = fma(high_sixteens(w.x), v.e, high_sixteens(w.y) * v.f) + fma(high_sixteens(w.z), v.g, high_sixteens(w.w) * v.h);
  let codes = sum_of(low + high);
  let ones = sum_of(((v.a + v.b) + (v.c + v.d)) + ((v.e + v.f) + (v.g + v.h)));
  return pair.x * (codes - 16.0 * ones) - pair.y * ones;
}

fn load_q4_k(quants: u32, scales: u32, i: u32) -> Raw {
  return Raw(weights[quants / 4u + i], weights[scales / 8u + i / 8u], 0u);
}

fn strip_q4_k(raw: Raw, scales: u32, i: u32) -> Strip {
  let pair = scale_and_least(raw.b, i % 8u);
  let d = pair.x;
  let least = vec4<f32>(pair.y);
  let q = nibbles_of(raw.a);
  return Strip(
    d * q.a - least, d * q.b - least, d * q.c - least, d * q.d - least,
    d * q.e - least, d * q.f - least, d * q.g - least, d * q.h - least,
  );
}
