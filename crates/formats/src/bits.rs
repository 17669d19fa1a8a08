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
    let (whole, rest) = unit.as_chunks();
    let (full, padding) = strips.split_at_mut(whole.len());
    copy_words(whole, full);
    padding.fill(0);
    if let ([first, ..], [_, ..]) = (padding, rest) {
        *first = word(rest);
    }
}

fn copy_words(from: &[[u8; 4]], to: &mut [u32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = u32::from_le_bytes(*from);
    }
}

/// 16-bit words of a block, from byte pairs.
pub(crate) fn halves(bytes: &[u8], meta: &mut [u16]) {
    for (to, from) in meta.iter_mut().zip(bytes.as_chunks().0) {
        *to = u16::from_le_bytes(*from);
    }
}

/// The first halves to plane S, the words of quants as they are.
pub(crate) fn halves_then_words<const HALVES: usize, const WORDS: usize>(
    block: &[u8],
    strips: &mut [u32],
    meta: &mut [u16],
) {
    // Lengths that the compiler knows: blocks are short, and each would be a loop otherwise.
    let (scales, quants) = block.split_at(2 * HALVES);
    halves(scales, &mut meta[..HALVES]);
    copy_words(&quants.as_chunks().0[..WORDS], &mut strips[..WORDS]);
}

/// 32 codes of two bits, one in each of 32 bytes from bit `shift` on, to two words: value v in word
/// v / 16, at bit 8 (v % 4) + 2 (v % 16 / 4).
pub(crate) fn pairs_of(bytes: &[u8], shift: usize, words: &mut [u32]) {
    for (to, from) in words.iter_mut().zip(bytes[..32].as_chunks::<16>().0) {
        let codes = from.as_chunks().0.iter().map(|four| u32::from_le_bytes(*four) >> shift & 0x0303_0303);
        *to = codes.zip([0, 2, 4, 6]).fold(0, |all, (codes, place)| all | codes << place);
    }
}

/// 32 codes of four bits, one in each of 32 bytes from bit `shift` on, to four words: byte i is
/// value i in the low nibble, value i + 16 in the high one.
pub(crate) fn nibbles_of(bytes: &[u8], shift: usize, strip: &mut [u32]) {
    let codes = |four: &[u8; 4]| u32::from_le_bytes(*four) >> shift & 0x0f0f_0f0f;
    let (low, high) = bytes[..32].split_at(16);
    for (to, (low, high)) in strip.iter_mut().zip(low.as_chunks().0.iter().zip(high.as_chunks().0)) {
        *to = codes(low) | codes(high) << 4;
    }
}

/// Bit `which` of 32 bytes: that of byte i is bit i of the word.
pub(crate) fn bit_of(bytes: &[u8], which: usize) -> u32 {
    let eight = |bytes: &[u8; 8]| {
        let bits = u64::from_le_bytes(*bytes) >> which & 0x0101_0101_0101_0101;
        // Each of the eight to its place in the highest byte; no two sums of places meet there.
        (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    bytes[..32].as_chunks().0.iter().zip([0, 8, 16, 24]).fold(0, |word, (bytes, place)| word | eight(bytes) << place)
}
