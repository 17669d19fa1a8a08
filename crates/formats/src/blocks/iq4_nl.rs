//! IQ4_NL: 32 values: a half scale and 4-bit codes of uneven steps.

use crate::bits::{STEPS, half_at, halves_then_words};
use crate::quantise::{half, weights};
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
    dequantise,
    strip_words: 4,
    meta_halves: 1,
    unit_strips: 1,
    repack: halves_then_words,
    quantise: Some(quantise),
};

/// half d, 16 bytes of nibbles as Q4_0's. d·STEPS\[q\].
fn dequantise(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, byte) in block[2..18].iter().enumerate() {
        values[i] = d * STEPS[usize::from(byte & 15)];
        values[i + 16] = d * STEPS[usize::from(byte >> 4)];
    }
}

/// Codes of uneven steps with one scale.
fn quantise(values: &[f32], block: &mut [u8]) {
    let d = half(best_scale::<Uneven>(values, &weights(values)));
    block[..2].copy_from_slice(&d.to_le_bytes());
    uneven_nibbles(values, d.to_f32(), &mut block[2..18]);
}
