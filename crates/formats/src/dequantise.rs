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

/// half d, half m, 16 bytes of nibbles as Q4_0's. d·q + m.
pub(super) fn q4_1(block: &[u8], values: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, byte) in block[4..20].iter().enumerate() {
        values[i] = d * f32::from(byte & 15) + m;
        values[i + 16] = d * f32::from(byte >> 4) + m;
    }
}

/// The fifth bits of 32 values, bit i for value i.
fn fifth_bits(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The 5-bit code of value `i`: a nibble as in Q4_0, and bit i of `high`.
fn five_bits(nibbles: &[u8], high: u32, i: usize) -> f32 {
    let nibble = nibbles[i % 16] >> (4 * (i / 16)) & 15;
    f32::from(nibble | ((high >> i & 1) as u8) << 4)
}

/// half d, 4 bytes of fifth bits, 16 bytes of nibbles. d·(q - 16).
pub(super) fn q5_0(block: &[u8], values: &mut [f32]) {
    let (d, high) = (half_at(block, 0), fifth_bits(&block[2..6]));
    for (i, value) in values.iter_mut().enumerate() {
        *value = d * (five_bits(&block[6..22], high, i) - 16.0);
    }
}

/// half d, half m, 4 bytes of fifth bits, 16 bytes of nibbles. d·q + m.
pub(super) fn q5_1(block: &[u8], values: &mut [f32]) {
    let (d, m, high) = (half_at(block, 0), half_at(block, 2), fifth_bits(&block[4..8]));
    for (i, value) in values.iter_mut().enumerate() {
        *value = d * five_bits(&block[8..24], high, i) + m;
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

/// As Q4_K, with 32 bytes of fifth bits after the scales: bit j of byte l is that of value l of group j.
pub(super) fn q5_k(block: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (j, group) in values.chunks_exact_mut(32).enumerate() {
        let (scale, min) = q4_k_scale_min(&block[4..16], j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (l, value) in group.iter_mut().enumerate() {
            *value = scale * f32::from(q5_k_code(block, 32 * j + l)) - min;
        }
    }
}

/// The code (0 to 31) of value `i` of a Q5_K block.
pub(super) fn q5_k_code(block: &[u8], i: usize) -> u8 {
    let (j, l) = (i / 32, i % 32);
    let nibble = block[48 + 32 * (j / 2) + l] >> (4 * (j % 2)) & 15;
    nibble | (block[16 + l] >> j & 1) << 4
}

/// The two low bits of value `i` of a Q2_K or Q3_K block, from its 64 bytes `qs`.
pub(super) fn two_bits(qs: &[u8], i: usize) -> u8 {
    qs[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3
}

/// 16 bytes of scales (low nibble) and minima (high), 64 bytes of pairs, half d, half dmin. d·scale·q - dmin·min.
pub(super) fn q2_k(block: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (j, group) in values.chunks_exact_mut(16).enumerate() {
        let (scale, min) = (d * f32::from(block[j] & 15), dmin * f32::from(block[j] >> 4));
        for (l, value) in group.iter_mut().enumerate() {
            *value = scale * f32::from(two_bits(&block[16..80], 16 * j + l)) - min;
        }
    }
}

/// Scale (-32 to 31) of group `j` of a Q3_K block, from its 12 scale bytes.
fn q3_k_scale(sc: &[u8], j: usize) -> f32 {
    let low = sc[j % 8] >> (4 * (j / 8)) & 15;
    let high = sc[8 + j % 4] >> (2 * (j / 4)) & 3;
    f32::from(low | high << 4) - 32.0
}

/// The code (0 to 7) of value `i` of a Q3_K block.
pub(super) fn q3_k_code(block: &[u8], i: usize) -> u8 {
    two_bits(&block[32..96], i) | (block[i % 32] >> (i / 32) & 1) << 2
}

/// 32 bytes of third bits, 64 bytes of pairs, 12 scale bytes, half d. d·scale·(q - 4).
pub(super) fn q3_k(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 108);
    for (j, group) in values.chunks_exact_mut(16).enumerate() {
        let scale = d * q3_k_scale(&block[96..108], j);
        for (l, value) in group.iter_mut().enumerate() {
            *value = scale * (f32::from(q3_k_code(block, 16 * j + l)) - 4.0);
        }
    }
}

/// What the codes of IQ4_NL and IQ4_XS stand for.
pub(super) const STEPS: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// half d, 16 bytes of nibbles as Q4_0's. d·STEPS\[q\].
pub(super) fn iq4_nl(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, byte) in block[2..18].iter().enumerate() {
        values[i] = d * STEPS[usize::from(byte & 15)];
        values[i + 16] = d * STEPS[usize::from(byte >> 4)];
    }
}

/// half d, 2 bytes with the high pairs of the scales, 4 bytes with their low nibbles, 128 bytes of nibbles.
/// d·(scale - 32)·STEPS\[q\].
pub(super) fn iq4_xs(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (j, group) in values.chunks_exact_mut(32).enumerate() {
        let scale = block[4 + j / 2] >> (4 * (j % 2)) & 15 | ((high >> (2 * j) & 3) as u8) << 4;
        let scale = d * (f32::from(scale) - 32.0);
        for (i, byte) in block[8 + 16 * j..24 + 16 * j].iter().enumerate() {
            group[i] = scale * STEPS[usize::from(byte & 15)];
            group[i + 16] = scale * STEPS[usize::from(byte >> 4)];
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
