//! Q8_0: 32 values: a half scale and 8-bit integers.

use half::f16;

use crate::bits::{half_at, halves_then_words};
use crate::quantize::{extreme, inverse};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q8_0,
    name: "Q8_0",
    gguf_id: 8,
    block: 32,
    bytes: 34,
    halves: &[0],
    dequantize,
    strip_words: 8,
    scale_halves: 1,
    unit_strips: 1,
    repack: halves_then_words::<1, 8>,
    quantize: Some(quantize),
};

/// half d, 32 signed bytes. d·q.
fn dequantize(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (value, byte) in values.iter_mut().zip(&block[2..34]) {
        *value = d * f32::from(byte.cast_signed());
    }
}

/// The extreme value becomes 127 or -127.
fn quantize(values: &[f32], block: &mut [u8]) {
    let d = extreme(values).abs() / 127.0;
    let id = inverse(d);
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (byte, value) in block[2..34].iter_mut().zip(values) {
        *byte = ((value * id).round() as i8).cast_unsigned();
    }
}
