//! IQ4_XS: 256 values in 8 groups: 4-bit codes of uneven steps, 6-bit scales.

use crate::bits::{IQ4_VALUES, half_at, halves_then_words};
use crate::scaled::{Scaled, Uneven, scaled, uneven_nibbles};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::IQ4_XS,
    name: "IQ4_XS",
    gguf_id: 23,
    block: 256,
    bytes: 136,
    halves: &[0],
    dequantize,
    strip_words: 4,
    scale_halves: 4,
    unit_strips: 8,
    repack: halves_then_words::<4, 32>,
    quantize: Some(quantize),
};

/// half d, 2 bytes with the high pairs of the scales, 4 bytes with their low nibbles, 128 bytes of
/// nibbles. d·(scale - 32)·IQ4_VALUES\[q\].
fn dequantize(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (j, group) in values.chunks_exact_mut(32).enumerate() {
        let scale = block[4 + j / 2] >> (4 * (j % 2)) & 15 | ((high >> (2 * j) & 3) as u8) << 4;
        let scale = d * (f32::from(scale) - 32.0);
        for (i, byte) in block[8 + 16 * j..24 + 16 * j].iter().enumerate() {
            group[i] = scale * IQ4_VALUES[usize::from(byte & 15)];
            group[i + 16] = scale * IQ4_VALUES[usize::from(byte >> 4)];
        }
    }
}

/// Codes of uneven steps with 8 scales.
fn quantize(values: &[f32], block: &mut [u8]) {
    block.fill(0);
    let Scaled { d, scales } = scaled::<Uneven>(values, 32);
    block[..2].copy_from_slice(&d.to_le_bytes());
    let mut high = 0u16;
    for (j, (group, scale)) in values.chunks_exact(32).zip(scales).enumerate() {
        let stored = (scale + 32) as u8;
        high |= u16::from(stored >> 4) << (2 * j);
        block[4 + j / 2] |= (stored & 15) << (4 * (j % 2));
        uneven_nibbles(group, d.to_f32() * f32::from(scale), &mut block[8 + 16 * j..24 + 16 * j]);
    }
    block[2..4].copy_from_slice(&high.to_le_bytes());
}
