//! IQ4_NL: 32 values: a half scale and 4-bit codes of uneven steps.

use crate::bits::{IQ4_VALUES, half_at, halves_then_words};
use crate::quantize::{half, weights};
use crate::scaled::{Uneven, best_scale, uneven_nibbles};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::IQ4_NL,
    name: "IQ4_NL",
    gguf_id: 20,
    block: 32,
    bytes: 18,
    halves: &[0],
    dequantize,
    strip_words: 4,
    scale_halves: 1,
    unit_strips: 1,
    repack: halves_then_words::<1, 4>,
    quantize: Some(quantize),
};

/// half d, 16 bytes of nibbles as Q4_0's. d·IQ4_VALUES\[q\].
fn dequantize(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, byte) in block[2..18].iter().enumerate() {
        values[i] = d * IQ4_VALUES[usize::from(byte & 15)];
        values[i + 16] = d * IQ4_VALUES[usize::from(byte >> 4)];
    }
}

/// Codes of uneven steps with one scale.
fn quantize(values: &[f32], block: &mut [u8]) {
    let d = half(best_scale::<Uneven>(values, &weights(values)));
    block[..2].copy_from_slice(&d.to_le_bytes());
    uneven_nibbles(values, d.to_f32(), &mut block[2..18]);
}
