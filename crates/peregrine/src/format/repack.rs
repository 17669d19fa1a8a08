//! One unit of a row, from a file's block to the GPU's strips. The layouts are a contract with `shaders/format`.

use super::dequantise::q6_k_code;

/// Four bytes to a word, little-endian; missing bytes are zero.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

/// F32, F16, BF16: the bytes as they are, the end of a row padded with zeros.
pub(super) fn words(unit: &[u8], strips: &mut [u32], _meta: &mut [u16]) {
    strips.fill(0);
    for (to, from) in strips.iter_mut().zip(unit.chunks(4)) {
        *to = word(from);
    }
}

/// Q4_0, Q8_0: the scale to plane M, the quants as they are.
pub(super) fn scale_then_words(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    meta[0] = u16::from_le_bytes([block[0], block[1]]);
    for (to, from) in strips.iter_mut().zip(block[2..].chunks_exact(4)) {
        *to = word(from);
    }
}

/// 32 four-bit codes to four words: byte i is value i in the low nibble, value i + 16 in the high one.
fn nibbles(code: impl Fn(usize) -> u8, strip: &mut [u32]) {
    for (w, word) in strip.iter_mut().enumerate() {
        *word = (0..4).fold(0, |acc, b| {
            let i = 4 * w + b;
            acc | u32::from(code(i) | code(i + 16) << 4) << (8 * b)
        });
    }
}

/// 16-bit words of a block, from byte pairs.
fn halves(bytes: &[u8], meta: &mut [u16]) {
    for (to, from) in meta.iter_mut().zip(bytes.chunks_exact(2)) {
        *to = u16::from_le_bytes([from[0], from[1]]);
    }
}

/// Q4_K: 8 strips of nibbles like Q4_0's; meta: d, dmin, the 12 scale bytes.
pub(super) fn q4_k(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[..16], meta);
    for (j, strip) in strips.chunks_exact_mut(4).enumerate() {
        let qs = &block[16 + 32 * (j / 2)..];
        nibbles(|i| qs[i] >> (4 * (j % 2)) & 15, strip);
    }
}

/// Q6_K: for each two strips, 4 words of low nibbles of the one and of the other, then 2 words of high pairs of each: all of it
/// loads as aligned vec4s. Meta: 16 scale bytes, d, 0.
pub(super) fn q6_k(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[192..210], meta);
    meta[9] = 0;
    for (j, two) in strips.chunks_exact_mut(12).enumerate() {
        for k in 0..2 {
            let code = |i: usize| q6_k_code(block, 64 * j + 32 * k + i);
            nibbles(|i| code(i) & 15, &mut two[4 * k..4 * k + 4]);
            let high = &mut two[8 + 2 * k..10 + 2 * k];
            high.fill(0);
            for v in 0..32 {
                let r = v % 16;
                high[v / 16] |= u32::from(code(v) >> 4) << (8 * (r % 4) + 2 * (r / 4));
            }
        }
    }
}
