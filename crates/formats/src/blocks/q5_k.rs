//! Q5_K: 256 values in 8 groups: 5-bit integers, 6-bit scales and minima.

use crate::affine::q4_or_q5_k;
use crate::bits::{bit_of, half_at, halves, nibbles_of, q4_k_scale_min};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q5_K,
    name: "Q5_K",
    gguf_id: 13,
    block: 256,
    bytes: 176,
    halves: &[0, 2],
    dequantize,
    strip_words: 4,
    scale_halves: 24,
    unit_strips: 8,
    repack,
    quantize: Some(quantize),
};

/// As Q4_K, with 32 bytes of fifth bits after the scales: bit j of byte l is that of value l of
/// group j.
fn dequantize(block: &[u8], values: &mut [f32]) {
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
fn q5_k_code(block: &[u8], i: usize) -> u8 {
    let (j, l) = (i / 32, i % 32);
    let nibble = block[48 + 32 * (j / 2) + l] >> (4 * (j % 2)) & 15;
    nibble | (block[16 + l] >> j & 1) << 4
}

/// Q5_K: 8 strips of nibbles like Q4_0's; meta: d, dmin, the 12 scale bytes, then a word of fifth
/// bits for each strip.
fn repack(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[..16], meta);
    for (j, strip) in strips.chunks_exact_mut(4).enumerate() {
        nibbles_of(&block[48 + 32 * (j / 2)..], 4 * (j % 2), strip);
        let fifth = bit_of(&block[16..], j);
        meta[8 + 2 * j] = fifth as u16;
        meta[9 + 2 * j] = (fifth >> 16) as u16;
    }
}

/// Codes of 5 bits.
fn quantize(values: &[f32], block: &mut [u8]) {
    q4_or_q5_k(values, block, 31.0, -0.5, 15, |block, i, q| {
        block[48 + 32 * (i / 64) + i % 32] |= (q & 15) << (4 * (i / 32 % 2));
        block[16 + i % 32] |= (q >> 4) << (i / 32);
    });
}
