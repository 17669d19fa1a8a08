//! Bits of a block: where numbers lie in a file's, and words of the GPU's strips.

use half::f16;

/// The half at byte `at` of a block, as f32.
pub(crate) fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The fifth bits of 32 values, bit i for value i.
pub(crate) fn fifth_bits(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The 5-bit code of value `i`: a nibble as in Q4_0, and bit i of `high`.
pub(crate) fn five_bits(nibbles: &[u8], high: u32, i: usize) -> f32 {
    let nibble = nibbles[i % 16] >> (4 * (i / 16)) & 15;
    f32::from(nibble | ((high >> i & 1) as u8) << 4)
}

/// Scale and minimum (6 bits each) of group `j` of a Q4_K block, from its 12 scale bytes.
pub(crate) fn q4_k_scale_min(sc: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (sc[j] & 63, sc[j + 4] & 63)
    } else {
        (sc[j + 4] & 15 | (sc[j - 4] >> 6) << 4, sc[j + 4] >> 4 | (sc[j] >> 6) << 4)
    }
}

/// The two low bits of value `i` of a Q2_K or Q3_K block, from its 64 bytes `qs`.
pub(crate) fn two_bits(qs: &[u8], i: usize) -> u8 {
    qs[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3
}

/// What the codes of IQ4_NL and IQ4_XS stand for.
pub(crate) const IQ4_VALUES: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Four bytes to a word, little-endian; missing bytes are zero.
pub(crate) fn word(bytes: &[u8]) -> u32 {
    match bytes.first_chunk() {
        Some(four) => u32::from_le_bytes(*four),
        None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte)),
    }
}

/// F32, F16, BF16: the bytes as they are, the end of a row padded with zeros.
pub(crate) fn words(unit: &[u8], strips: &mut [u32], _meta: &mut [u16]) {
    strips.fill(0);
    for (to, from) in strips.iter_mut().zip(unit.chunks(4)) {
        *to = word(from);
    }
}

/// 16-bit words of a block, from byte pairs.
pub(crate) fn halves(bytes: &[u8], meta: &mut [u16]) {
    for (to, from) in meta.iter_mut().zip(bytes.chunks_exact(2)) {
        *to = u16::from_le_bytes([from[0], from[1]]);
    }
}

/// The first bytes to plane S, the quants as they are.
pub(crate) fn halves_then_words(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[..2 * meta.len()], meta);
    for (to, from) in strips.iter_mut().zip(block[2 * meta.len()..].chunks_exact(4)) {
        *to = word(from);
    }
}

/// 32 two-bit codes to two words: value v in word v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4).
pub(crate) fn pairs(code: impl Fn(usize) -> u8, words: &mut [u32]) {
    words.fill(0);
    for v in 0..32 {
        let r = v % 16;
        words[v / 16] |= u32::from(code(v)) << (8 * (r % 4) + 2 * (r / 4));
    }
}

/// The same as [`pairs`], of codes of two bits.
pub(crate) fn pairs_of(bytes: &[u8], shift: usize, words: &mut [u32]) {
    let codes = |at: usize| word(&bytes[at..at + 4]) >> shift & 0x0303_0303;
    for (k, to) in words.iter_mut().enumerate() {
        *to = (0..4).fold(0, |all, m| all | codes(16 * k + 4 * m) << (2 * m));
    }
}

/// 32 four-bit codes to four words: byte i is value i in the low nibble, value i + 16 in the high
/// one.
pub(crate) fn nibbles(code: impl Fn(usize) -> u8, strip: &mut [u32]) {
    for (w, word) in strip.iter_mut().enumerate() {
        *word = (0..4).fold(0, |acc, b| {
            let i = 4 * w + b;
            acc | u32::from(code(i) | code(i + 16) << 4) << (8 * b)
        });
    }
}

/// As [`nibbles`], of 32 bytes with a code each from bit `shift` on: four at a time, since most of
/// a large model passes here.
pub(crate) fn nibbles_of(bytes: &[u8], shift: usize, strip: &mut [u32]) {
    let codes = |at: usize| word(&bytes[at..at + 4]) >> shift & 0x0f0f_0f0f;
    for (w, to) in strip.iter_mut().enumerate() {
        *to = codes(4 * w) | codes(16 + 4 * w) << 4;
    }
}
