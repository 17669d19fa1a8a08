//! Values to the simple blocks. Q8_0 and Q4_0 give the bytes of the field's reference quantiser.
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

/// The extreme value becomes 127 or -127.
pub(super) fn q8_0(values: &[f32], block: &mut [u8]) {
    let d = extreme(values).abs() / 127.0;
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (byte, value) in block[2..34].iter_mut().zip(values) {
        *byte = ((value * id).round() as i8).cast_unsigned();
    }
}
