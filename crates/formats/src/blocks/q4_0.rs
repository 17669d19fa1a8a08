//! Q4_0: 32 values: a half scale and 4-bit integers.

use half::f16;

use crate::bits::{half_at, halves_then_words};
use crate::quantize::{extreme, inverse};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q4_0,
    name: "Q4_0",
    gguf_id: 2,
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

/// half d, 16 bytes: the low nibble of byte i is value i, the high nibble value i + 16. d·(q - 8).
fn dequantize(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, byte) in block[2..18].iter().enumerate() {
        values[i] = d * (f32::from(byte & 15) - 8.0);
        values[i + 16] = d * (f32::from(byte >> 4) - 8.0);
    }
}

/// The extreme value becomes code 0, which stands for -8: the range is used to its end on the side
/// that needs it.
fn quantize(values: &[f32], block: &mut [u8]) {
    let d = extreme(values) / -8.0;
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let code = |v: f32| ((v * id + 8.5) as u8).min(15);
    for (i, byte) in block[2..18].iter_mut().enumerate() {
        *byte = code(values[i]) | code(values[i + 16]) << 4;
    }
}
