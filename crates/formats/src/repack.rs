//! One unit of a row, from a file's block to the GPU's strips. The layouts are a contract with `shaders/formats`.

use super::dequantise::{q3_k_code, q5_k_code, two_bits};

/// Four bytes to a word, little-endian; missing bytes are zero.
fn word(bytes: &[u8]) -> u32 {
    match bytes.first_chunk() {
        Some(four) => u32::from_le_bytes(*four),
        None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte)),
    }
}

/// F32, F16, BF16: the bytes as they are, the end of a row padded with zeros.
pub(super) fn words(unit: &[u8], strips: &mut [u32], _meta: &mut [u16]) {
    strips.fill(0);
    for (to, from) in strips.iter_mut().zip(unit.chunks(4)) {
        *to = word(from);
    }
}

/// The first bytes to plane M, the quants as they are.
fn halves_then_words(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[..2 * meta.len()], meta);
    for (to, from) in strips.iter_mut().zip(block[2 * meta.len()..].chunks_exact(4)) {
        *to = word(from);
    }
}

/// Q4_0, Q8_0, IQ4_NL; meta: the scale.
pub(super) fn scale_then_words(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves_then_words(block, strips, meta);
}

/// Q4_1; meta: d, m.
pub(super) fn q4_1(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves_then_words(block, strips, meta);
}

/// Q5_0; meta: d, then a word of fifth bits.
pub(super) fn q5_0(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves_then_words(block, strips, meta);
}

/// Q5_1; meta: d, m, then a word of fifth bits.
pub(super) fn q5_1(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves_then_words(block, strips, meta);
}

/// IQ4_XS: 8 strips of nibbles; meta: d, high pairs of the scales, low nibbles of the scales.
pub(super) fn iq4_xs(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves_then_words(block, strips, meta);
}

/// 32 two-bit codes to two words: value v in word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4).
fn pairs(code: impl Fn(usize) -> u8, words: &mut [u32]) {
    words.fill(0);
    for v in 0..32 {
        let r = v % 16;
        words[v / 16] |= u32::from(code(v)) << (8 * (r % 4) + 2 * (r / 4));
    }
}

/// Q2_K: 8 strips of pairs; meta: 16 bytes of scales and minima, d, dmin.
pub(super) fn q2_k(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[..16], meta);
    halves(&block[80..84], &mut meta[8..]);
    for (j, strip) in strips.chunks_exact_mut(2).enumerate() {
        pairs(|v| two_bits(&block[16..80], 32 * j + v), strip);
    }
}

/// Q3_K: 8 strips of pairs, each with a word of third bits; meta: 12 scale bytes, d.
pub(super) fn q3_k(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[96..110], meta);
    for (j, strip) in strips.chunks_exact_mut(3).enumerate() {
        let code = |v: usize| q3_k_code(block, 32 * j + v);
        pairs(|v| code(v) & 3, &mut strip[..2]);
        strip[2] = (0..32).fold(0, |word, v| word | u32::from(code(v) >> 2) << v);
    }
}

/// Q5_K: 8 strips of nibbles like Q4_0's; meta: d, dmin, the 12 scale bytes, then a word of fifth bits for each strip.
pub(super) fn q5_k(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[..16], meta);
    for (j, strip) in strips.chunks_exact_mut(4).enumerate() {
        let code = |v: usize| q5_k_code(block, 32 * j + v);
        nibbles(|v| code(v) & 15, strip);
        let fifth = (0..32).fold(0u32, |word, v| word | u32::from(code(v) >> 4) << v);
        meta[8 + 2 * j] = fifth as u16;
        meta[9 + 2 * j] = (fifth >> 16) as u16;
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
        nibbles_of(&block[16 + 32 * (j / 2)..], 4 * (j % 2), strip);
    }
}

/// As [`nibbles`], of 32 bytes with a code each from bit `shift` on: four at a time, since most of a large model passes here.
fn nibbles_of(bytes: &[u8], shift: usize, strip: &mut [u32]) {
    let codes = |at: usize| word(&bytes[at..at + 4]) >> shift & 0x0f0f_0f0f;
    for (w, to) in strip.iter_mut().enumerate() {
        *to = codes(4 * w) | codes(16 + 4 * w) << 4;
    }
}

/// The same as [`pairs`], of codes of two bits.
fn pairs_of(bytes: &[u8], shift: usize, words: &mut [u32]) {
    let codes = |at: usize| word(&bytes[at..at + 4]) >> shift & 0x0303_0303;
    for (k, to) in words.iter_mut().enumerate() {
        *to = (0..4).fold(0, |all, m| all | codes(16 * k + 4 * m) << (2 * m));
    }
}

/// Q6_K: for each two strips, 4 words of low nibbles of the one and of the other, then 2 words of high pairs of each: all of it
/// loads as aligned vec4s. Meta: 16 scale bytes, d, 0.
pub(super) fn q6_k(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[192..210], meta);
    meta[9] = 0;
    for (j, two) in strips.chunks_exact_mut(12).enumerate() {
        for k in 0..2 {
            // Strips 0 to 3 of a half of the block share bytes: two of them nibbles, all of them pairs.
            let (half, strip) = (j / 2, 2 * (j % 2) + k);
            let (low, high) = (&block[64 * half + 32 * (strip % 2)..], &block[128 + 32 * half..]);
            nibbles_of(low, 4 * (strip / 2), &mut two[4 * k..4 * k + 4]);
            pairs_of(high, 2 * strip, &mut two[8 + 2 * k..10 + 2 * k]);
        }
    }
}
