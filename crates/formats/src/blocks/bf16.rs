//! BF16: the upper 16 bits of a single.

use half::bf16;

use crate::bits::words;
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::BF16,
    name: "BF16",
    gguf_id: 30,
    block: 1,
    bytes: 2,
    halves: &[],
    dequantize,
    strip_words: 16,
    scale_halves: 0,
    unit_strips: 1,
    repack: words,
    quantize: Some(quantize),
};

/// Any number of bfloats.
fn dequantize(bytes: &[u8], values: &mut [f32]) {
    for (value, b) in values.iter_mut().zip(bytes.chunks_exact(2)) {
        *value = bf16::from_le_bytes([b[0], b[1]]).to_f32();
    }
}

/// Any number of values, to nearest, ties to even.
fn quantize(values: &[f32], bytes: &mut [u8]) {
    for (b, value) in bytes.chunks_exact_mut(2).zip(values) {
        b.copy_from_slice(&bf16::from_f32(*value).to_le_bytes());
    }
}
