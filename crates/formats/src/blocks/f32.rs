//! F32: IEEE single precision.

use crate::bits::words;
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::F32,
    name: "F32",
    gguf_id: 0,
    block: 1,
    bytes: 4,
    halves: &[],
    dequantize,
    strip_words: 32,
    scale_halves: 0,
    unit_strips: 1,
    repack: words,
    quantize: Some(quantize),
};

/// Any number of singles.
fn dequantize(bytes: &[u8], values: &mut [f32]) {
    for (value, b) in values.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    }
}

/// Any number of values.
fn quantize(values: &[f32], bytes: &mut [u8]) {
    for (b, value) in bytes.chunks_exact_mut(4).zip(values) {
        b.copy_from_slice(&value.to_le_bytes());
    }
}
