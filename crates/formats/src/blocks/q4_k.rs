//! Q4_K: 256 values in 8 groups: 4-bit integers, 6-bit scales and minima.

use crate::affine::q4_or_q5_k;
use crate::bits::{half_at, halves, nibbles_of, q4_k_scale_min};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q4_K,
    name: "Q4_K",
    gguf_id: 12,
    block: 256,
    bytes: 144,
    halves: &[0, 2],
    dequantize,
    strip_words: 4,
    scale_halves: 8,
    unit_strips: 8,
    repack,
    quantize: Some(quantize),
};

/// half d, half dmin, 12 scale bytes, 128 bytes of nibbles: 32 bytes hold group 2p (low) and 2p + 1
/// (high). d·scale·q - dmin·min.
fn dequantize(block: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let (sc, qs) = (&block[4..16], &block[16..144]);
    for (j, group) in values.chunks_exact_mut(32).enumerate() {
        let (scale, min) = q4_k_scale_min(sc, j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let shift = 4 * (j % 2);
        for (value, byte) in group.iter_mut().zip(&qs[32 * (j / 2)..]) {
            *value = scale * f32::from(byte >> shift & 15) - min;
        }
    }
}

/// Q4_K: 8 strips of nibbles like Q4_0's; meta: d, dmin, the 12 scale bytes.
fn repack(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[..16], meta);
    for (j, strip) in strips.chunks_exact_mut(4).enumerate() {
        nibbles_of(&block[16 + 32 * (j / 2)..], 4 * (j % 2), strip);
    }
}

/// Codes of 4 bits.
fn quantize(values: &[f32], block: &mut [u8]) {
    q4_or_q5_k(values, block, 15.0, -1.0, 20, |block, i, q| {
        block[16 + 32 * (i / 64) + i % 32] |= q << (4 * (i / 32 % 2));
    });
}
