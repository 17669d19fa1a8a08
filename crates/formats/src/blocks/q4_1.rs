//! Q4_1: 32 values: a half scale, a half minimum and 4-bit integers.

use half::f16;

use crate::bits::{half_at, halves_then_words};
use crate::quantize::{inverse, step_and_least};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q4_1,
    name: "Q4_1",
    gguf_id: 3,
    block: 32,
    bytes: 20,
    halves: &[0, 2],
    dequantize,
    strip_words: 4,
    scale_halves: 2,
    unit_strips: 1,
    repack: halves_then_words::<2, 4>,
    quantize: Some(quantize),
};

/// half d, half m, 16 bytes of nibbles as Q4_0's. d·q + m.
fn dequantize(block: &[u8], values: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, byte) in block[4..20].iter().enumerate() {
        values[i] = d * f32::from(byte & 15) + m;
        values[i + 16] = d * f32::from(byte >> 4) + m;
    }
}

/// The least value becomes code 0, the greatest code 15.
fn quantize(values: &[f32], block: &mut [u8]) {
    let (d, m) = step_and_least(values, 15.0);
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    block[2..4].copy_from_slice(&f16::from_f32(m).to_le_bytes());
    let code = |v: f32| (((v - m) * id + 0.5) as u8).min(15);
    for (i, byte) in block[4..20].iter_mut().enumerate() {
        *byte = code(values[i]) | code(values[i + 16]) << 4;
    }
}
