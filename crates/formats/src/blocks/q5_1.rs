//! Q5_1: 32 values: a half scale, a half minimum and 5-bit integers.

use half::f16;

use crate::bits::{fifth_bits, five_bits, half_at, halves_then_words};
use crate::quantize::{inverse, put_five_bits, step_and_least};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q5_1,
    name: "Q5_1",
    gguf_id: 7,
    block: 32,
    bytes: 24,
    halves: &[0, 2],
    dequantize,
    strip_words: 4,
    scale_halves: 4,
    unit_strips: 1,
    repack: halves_then_words::<4, 4>,
    quantize: Some(quantize),
};

/// half d, half m, 4 bytes of fifth bits, 16 bytes of nibbles. d·q + m.
fn dequantize(block: &[u8], values: &mut [f32]) {
    let (d, m, high) = (half_at(block, 0), half_at(block, 2), fifth_bits(&block[4..8]));
    for (i, value) in values.iter_mut().enumerate() {
        *value = d * five_bits(&block[8..24], high, i) + m;
    }
}

/// As Q4_1, to 5 bits.
fn quantize(values: &[f32], block: &mut [u8]) {
    let (d, m) = step_and_least(values, 31.0);
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(m).to_le_bytes());
    put_five_bits(values, |v| (((v - m) * id + 0.5) as u8).min(31), &mut block[4..24]);
}
