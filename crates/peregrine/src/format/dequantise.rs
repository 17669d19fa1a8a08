//! Blocks to values, in the order of operations of the field's reference, so that results are equal bit for bit.
//!
//! Layouts: a "half" is an IEEE f16; all numbers are little-endian.

use half::{bf16, f16};

/// The half at byte `at` of a block, as f32.
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Any number of singles.
pub(super) fn f32(bytes: &[u8], values: &mut [f32]) {
    for (value, b) in values.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
}

/// Any number of halves.
pub(super) fn f16(bytes: &[u8], values: &mut [f32]) {
    for (value, b) in values.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = f16::from_le_bytes([b[0], b[1]]).to_f32();
    }
}

/// Any number of bfloats.
pub(super) fn bf16(bytes: &[u8], values: &mut [f32]) {
    for (value, b) in values.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = bf16::from_le_bytes([b[0], b[1]]).to_f32();
    }
}

/// half d, 16 bytes: the low nibble of byte i is value i, the high nibble value i + 16. d·(q - 8).
pub(super) fn q4_0(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, byte) in block[2..18].iter().enumerate() {
        values[i] = d * (f32::from(byte & 15) - 8.0);
        values[i + 16] = d * (f32::from(byte >> 4) - 8.0);
    }
}

/// half d, 32 signed bytes. d·q.
pub(super) fn q8_0(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (value, byte) in values.iter_mut().zip(&block[2..34]) {
        *value = d * f32::from(byte.cast_signed());
    }
}

/// Scale and minimum (6 bits each) of group `j` of a Q4_K block, from its 12 scale bytes.
pub(super) fn q4_k_scale_min(sc: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (sc[j] & 63, sc[j + 4] & 63)
    } else {
        (sc[j + 4] & 15 | (sc[j - 4] >> 6) << 4, sc[j + 4] >> 4 | (sc[j] >> 6) << 4)
    }
}

/// half d, half dmin, 12 scale bytes, 128 bytes of nibbles: 32 bytes hold group 2p (low) and 2p + 1 (high).
/// d·scale·q - dmin·min.
pub(super) fn q4_k(block: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (sc, qs) = (&block[4..16], &block[16..144]);
    for (j, group) in values.chunks_exact_mut(32).enumerate() {
        let (scale, min) = q4_k_scale_min(sc, j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let shift = 4 * (j % 2);
        for (value, byte) in group.iter_mut().zip(&qs[32 * (j / 2)..]) {
            *value = scale * f32::from(byte >> shift & 15) - min;
        }
    }
}

/// The code (0 to 63) of value `i` of a Q6_K block: 4 low bits from `ql`, 2 high bits from `qh`.
pub(super) fn q6_k_code(block: &[u8], i: usize) -> u8 {
    let (h, s, l) = (i / 128, i % 128 / 32, i % 32);
    let low = block[64 * h + 32 * (s % 2) + l] >> (4 * (s / 2)) & 15;
    let high = block[128 + 32 * h + l] >> (2 * s) & 3;
    low | high << 4
}

/// 128 bytes of low nibbles, 64 bytes of high pairs, 16 signed scales, half d. d·scale·(q - 32).
pub(super) fn q6_k(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 208);
    for (j, group) in values.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(block[192 + j].cast_signed());
        for (l, value) in group.iter_mut().enumerate() {
            *value = scale * (f32::from(q6_k_code(block, 16 * j + l)) - 32.0);
        }
    }
}
