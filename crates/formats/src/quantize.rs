//! What quantizers have in common. They give the bytes of the field's reference quantizer, or
//! nearer ones.
//!
//! Values are finite here: whoever quantizes a tensor checks that and can name the tensor.

use half::f16;

/// The value of largest magnitude, with its sign; the first of equals.
pub(crate) fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |best: f32, &v| if v.abs() > best.abs() { v } else { best })
}

/// 1/d, or 0 where there is nothing to divide.
pub(crate) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The step from the least value to the greatest in `most` steps, and the least value.
pub(crate) fn step_and_least(values: &[f32], most: f32) -> (f32, f32) {
    let low = values.iter().copied().fold(f32::MAX, f32::min);
    let high = values.iter().copied().fold(f32::MIN, f32::max);
    ((high - low) / most, low)
}

/// A word of fifth bits, then 16 bytes of nibbles.
pub(crate) fn put_five_bits(values: &[f32], code: impl Fn(f32) -> u8, bytes: &mut [u8]) {
    let mut high = 0u32;
    for i in 0..16 {
        let (a, b) = (code(values[i]), code(values[i + 16]));
        bytes[4 + i] = a & 15 | (b & 15) << 4;
        high |= u32::from(a >> 4) << i | u32::from(b >> 4) << (i + 16);
    }
    bytes[..4].copy_from_slice(&high.to_le_bytes());
}

/// Below this a group is taken for zero.
pub(crate) const TINY: f32 = 1e-15;

/// To the nearest integer, ties to even, inside `low..=high`.
pub(crate) fn code(x: f32, low: f32, high: f32) -> f32 {
    // In this sum the last bit of an f32 is worth 1; a call to a library's rounding would take most
    // of the time here.
    const ROUND: f32 = 12_582_912.0;
    (x.clamp(low, high) + ROUND) - ROUND
}

/// A half that is finite.
pub(crate) fn half(x: f32) -> f16 {
    f16::from_f32(x.clamp(-65_504.0, 65_504.0))
}

/// Rounds of fitting the halves to the codes; more than a few change nothing.
pub(crate) const ROUNDS: usize = 4;

/// Weights of the errors of a block's values.
pub(crate) fn weights(values: &[f32]) -> Vec<f32> {
    let mean_square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
    let base = mean_square.sqrt();
    values.iter().map(|x| base + x.abs()).collect()
}
