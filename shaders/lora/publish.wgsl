// Sums over workgroups that are the same in every order, for t = A x of adapters: who makes a few
// values of x adds what they make of t, so that nobody has to read all of x once more.
//
// An f32 is a whole number of 24 bits times a power of two from 2^-149 to 2^104. A sum is sixteen
// digits of 18 bits, from 2^-149 up: each has room for what 8192 workgroups add to it, and nothing
// is rounded. Infinities and NaN become an infinity.
const DIGITS: u32 = 16u;
const DIGIT_BITS: u32 = 18u;
const DIGIT: u32 = (1u << DIGIT_BITS) - 1u;

fn add_digits(at: u32, digits: u32, negative: bool) {
  if (digits != 0u) {
    atomicAdd(&sums_out[at], select(i32(digits), -i32(digits), negative));
  }
}

// Adds to sum k.
fn publish(k: u32, value: f32) {
  let bits = bitcast<u32>(value);
  let exponent = (bits >> 23u) & 255u;
  if (exponent == 255u) {
    // Beyond all that finite values add to the last digit.
    atomicMax(&sums_out[DIGITS * k + DIGITS - 1u], 1i << 30u);
    return;
  }
  let mantissa = (bits & 0x7fffffu) | select(0x800000u, 0u, exponent == 0u);
  let place = max(exponent, 1u) - 1u;
  let shift = place % DIGIT_BITS;
  let at = DIGITS * k + place / DIGIT_BITS;
  let negative = (bits >> 31u) == 1u;
  add_digits(at, (mantissa << shift) & DIGIT, negative);
  add_digits(at + 1u, (mantissa >> (DIGIT_BITS - shift)) & DIGIT, negative);
  add_digits(at + 2u, select(0u, mantissa >> (2u * DIGIT_BITS - max(shift, 5u)), shift > 12u), negative);
}
