//! TOY: 32 values: a half scale and a sign for each.

use half::f16;

use crate::bits::{half_at, halves_then_words};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::TOY,
    name: "TOY",
    gguf_id: 199,
    block: 32,
    bytes: 6,
    halves: &[0],
    dequantize,
    strip_words: 1,
    scale_halves: 1,
    unit_strips: 1,
    repack: halves_then_words::<1, 1>,
    quantize: Some(quantize),
};

/// half d, 4 bytes of signs, bit i for value i. d or -d.
fn dequantize(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, value) in values.iter_mut().enumerate() {
        *value = if block[2 + i / 8] >> (i % 8) & 1 == 1 { -d } else { d };
    }
}

/// The mean magnitude, and signs.
fn quantize(values: &[f32], block: &mut [u8]) {
    let mean = values.iter().map(|value| value.abs()).sum::<f32>() / values.len() as f32;
    block[..2].copy_from_slice(&f16::from_f32(mean).to_le_bytes());
    let signs = (0..32).fold(0_u32, |signs, i| signs | u32::from(values[i] < 0.0) << i);
    block[2..6].copy_from_slice(&signs.to_le_bytes());
}
