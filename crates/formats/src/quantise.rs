//! Values to the simple blocks. They give the bytes of the field's reference quantiser.
//!
//! Values are finite here: whoever quantises a tensor checks that and can name the tensor.

use half::{bf16, f16};

/// Any number of values.
pub(super) fn f32(values: &[f32], bytes: &mut [u8]) {
    for (b, value) in bytes.chunks_exact_mut(4).zip(values) {
        b.copy_from_slice(&value.to_le_bytes());
    }
}

/// Any number of values, to nearest, ties to even.
pub(super) fn f16(values: &[f32], bytes: &mut [u8]) {
    for (b, value) in bytes.chunks_exact_mut(2).zip(values) {
        b.copy_from_slice(&f16::from_f32(*value).to_le_bytes());
    }
}

/// Any number of values, to nearest, ties to even.
pub(super) fn bf16(values: &[f32], bytes: &mut [u8]) {
    for (b, value) in bytes.chunks_exact_mut(2).zip(values) {
        b.copy_from_slice(&bf16::from_f32(*value).to_le_bytes());
    }
}

/// The value of largest magnitude, with its sign; the first of equals.
pub(super) fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |best: f32, &v| if v.abs() > best.abs() { v } else { best })
}

/// 1/d, or 0 where there is nothing to divide.
pub(super) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The extreme value becomes code 0, which stands for -8: the range is used to its end on the side that needs it.
pub(super) fn q4_0(values: &[f32], block: &mut [u8]) {
    let d = extreme(values) / -8.0;
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let code = |v: f32| ((v * id + 8.5) as u8).min(15);
    for (i, byte) in block[2..18].iter_mut().enumerate() {
        *byte = code(values[i]) | code(values[i + 16]) << 4;
    }
}

/// The least value becomes code 0, the greatest code 15.
pub(super) fn q4_1(values: &[f32], block: &mut [u8]) {
    let (d, m) = step_and_least(values, 15.0);
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(m).to_le_bytes());
    let code = |v: f32| (((v - m) * id + 0.5) as u8).min(15);
    for (i, byte) in block[4..20].iter_mut().enumerate() {
        *byte = code(values[i]) | code(values[i + 16]) << 4;
    }
}

/// As Q4_0, to 5 bits: the extreme value becomes code 0, which stands for -16.
pub(super) fn q5_0(values: &[f32], block: &mut [u8]) {
    let d = extreme(values) / -16.0;
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    five_bits(values, |v| ((v * id + 16.5) as u8).min(31), &mut block[2..22]);
}

/// As Q4_1, to 5 bits.
pub(super) fn q5_1(values: &[f32], block: &mut [u8]) {
    let (d, m) = step_and_least(values, 31.0);
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(m).to_le_bytes());
    five_bits(values, |v| (((v - m) * id + 0.5) as u8).min(31), &mut block[4..24]);
}

/// The step from the least value to the greatest in `most` steps, and the least value.
fn step_and_least(values: &[f32], most: f32) -> (f32, f32) {
    let low = values.iter().copied().fold(f32::MAX, f32::min);
    let high = values.iter().copied().fold(f32::MIN, f32::max);
    ((high - low) / most, low)
}

/// A word of fifth bits, then 16 bytes of nibbles.
fn five_bits(values: &[f32], code: impl Fn(f32) -> u8, bytes: &mut [u8]) {
    let mut high = 0u32;
    for i in 0..16 {
        let (a, b) = (code(values[i]), code(values[i + 16]));
        bytes[4 + i] = a & 15 | (b & 15) << 4;
        high |= u32::from(a >> 4) << i | u32::from(b >> 4) << (i + 16);
    }
    bytes[..4].copy_from_slice(&high.to_le_bytes());
}

/// The extreme value becomes 127 or -127.
pub(super) fn q8_0(values: &[f32], block: &mut [u8]) {
    let d = extreme(values).abs() / 127.0;
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (byte, value) in block[2..34].iter_mut().zip(values) {
        *byte = ((value * id).round() as i8).cast_unsigned();
    }
}
