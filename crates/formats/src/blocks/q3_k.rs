//! Q3_K: 256 values in 16 groups: 3-bit integers, 6-bit scales.

use crate::bits::{bit_of, half_at, halves, pairs_of, two_bits};
use crate::quantize::{code, inverse};
use crate::scaled::{Levels, Scaled, scaled};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q3_K,
    name: "Q3_K",
    gguf_id: 11,
    block: 256,
    bytes: 110,
    halves: &[108],
    dequantize,
    strip_words: 3,
    scale_halves: 7,
    unit_strips: 8,
    repack,
    quantize: Some(quantize),
};

/// 32 bytes of third bits, 64 bytes of pairs, 12 scale bytes, half d. d·scale·(q - 4).
fn dequantize(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 108);
    for (j, group) in values.chunks_exact_mut(16).enumerate() {
        let scale = d * q3_k_scale(&block[96..108], j);
        for (l, value) in group.iter_mut().enumerate() {
            *value = scale * (f32::from(q3_k_code(block, 16 * j + l)) - 4.0);
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
fn q3_k_code(block: &[u8], i: usize) -> u8 {
    two_bits(&block[32..96], i) | (block[i % 32] >> (i / 32) & 1) << 2
}

/// Q3_K: 8 strips of pairs, each with a word of third bits; meta: 12 scale bytes, d.
fn repack(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[96..110], meta);
    for (j, strip) in strips.chunks_exact_mut(3).enumerate() {
        pairs_of(&block[32 + 32 * (j / 4)..], 2 * (j % 4), &mut strip[..2]);
        strip[2] = bit_of(block, j);
    }
}

/// Q3_K: -4 to 3.
struct Three;

impl Levels for Three {
    fn nearest(x: f32) -> u8 {
        (code(x, -4.0, 3.0) + 4.0) as u8
    }

    fn value(code: u8) -> f32 {
        f32::from(code) - 4.0
    }

    const ENDS: [f32; 2] = [-4.0, 3.0];
}

/// 3-bit codes with 16 scales.
fn quantize(values: &[f32], block: &mut [u8]) {
    block.fill(0);
    let Scaled { d, scales } = scaled::<Three>(values, 16);
    block[108..110].copy_from_slice(&d.to_le_bytes());
    for (j, scale) in scales.into_iter().enumerate() {
        let stored = (scale + 32) as u8;
        block[96 + j % 8] |= (stored & 15) << (4 * (j / 8));
        block[104 + j % 4] |= (stored >> 4) << (2 * (j / 4));
        let inverse = inverse(d.to_f32() * f32::from(scale));
        for (i, x) in values.iter().enumerate().skip(16 * j).take(16) {
            let q = Three::nearest(x * inverse);
            block[32 + 32 * (i / 128) + i % 32] |= (q & 3) << (2 * (i % 128 / 32));
            block[i % 32] |= (q >> 2) << (i / 32);
        }
    }
}
