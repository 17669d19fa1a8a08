//! Q5_0: 32 values: a half scale and 5-bit integers.

use half::f16;

use crate::bits::{fifth_bits, five_bits, half_at, halves_then_words};
use crate::quantize::{extreme, inverse, put_five_bits};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q5_0,
    name: "Q5_0",
    gguf_id: 6,
    block: 32,
    bytes: 22,
    halves: &[0],
    dequantize,
    strip_words: 4,
    scale_halves: 3,
    unit_strips: 1,
    repack: halves_then_words::<3, 4>,
    quantize: Some(quantize),
};

/// half d, 4 bytes of fifth bits, 16 bytes of nibbles. d·(q - 16).
fn dequantize(block: &[u8], values: &mut [f32]) {
    let (d, high) = (half_at(block, 0), fifth_bits(&block[2..6]));
    for (i, value) in values.iter_mut().enumerate() {
        *value = d * (five_bits(&block[6..22], high, i) - 16.0);
    }
}

/// As Q4_0, to 5 bits: the extreme value becomes code 0, which stands for -16.
fn quantize(values: &[f32], block: &mut [u8]) {
    let d = extreme(values) / -16.0;
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    put_five_bits(values, |v| ((v * id + 16.5) as u8).min(31), &mut block[2..22]);
}
