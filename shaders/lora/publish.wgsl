// Sums over workgroups that are the same in every order, for t = A x of adapters: who makes a few
// values of x adds what they make of t, so that nobody has to read all of x once more.
//
// A sum is SLOTS of them, one for each remainder of the workgroup's number: so few add to the same
// place that they do not wait long for each other. Each is a whole number of 2^-52, in four digits
// of 21 bits: they have room for what 1024 workgroups add, and lose nothing of a value from 2^-28
// to 2^30. Of smaller ones what is below 2^-52 is lost; larger ones, infinities and NaN become
// infinite.
const DIGIT_BITS: u32 = 21u;
const DIGIT: u32 = (1u << DIGIT_BITS) - 1u;
const LOWEST_EXPONENT: u32 = 98u;   // of 2^-29: its 24 bits end at 2^-52
const HIGHEST_EXPONENT: u32 = 156u; // of 2^29

override SLOTS: u32 = 8u;
override SUM_RANKS: u32 = 0u;  // of the layer that reads x; 0: it has no adapters

fn add_digits(at: u32, digits: u32, negative: bool) {
  if (digits != 0u) {
    atomicAdd(&sums_out[at], select(i32(digits), -i32(digits), negative));
  }
}

// Adds to sum k of a workgroup's slot.
fn publish(group: u32, k: u32, value: f32) {
  let at = 4u * (group % SLOTS * SUM_RANKS + k);
  let bits = bitcast<u32>(value);
  let exponent = (bits >> 23u) & 255u;
  if (exponent > HIGHEST_EXPONENT) {
    // Beyond all that finite values add to the last digit.
    atomicMax(&sums_out[at + 3u], 1i << 30u);
    return;
  }
  let below = LOWEST_EXPONENT - min(exponent, LOWEST_EXPONENT);
  let whole = ((bits & 0x7fffffu) | select(0x800000u, 0u, exponent == 0u)) >> min(below, 31u);
  let place = max(exponent, LOWEST_EXPONENT) - LOWEST_EXPONENT;
  let shift = place % DIGIT_BITS;
  let first = at + place / DIGIT_BITS;
  let negative = (bits >> 31u) == 1u;
  add_digits(first, (whole << shift) & DIGIT, negative);
  add_digits(first + 1u, (whole >> (DIGIT_BITS - shift)) & DIGIT, negative);
  add_digits(first + 2u, select(0u, whole >> (2u * DIGIT_BITS - max(shift, 11u)), shift > 18u), negative);
}
