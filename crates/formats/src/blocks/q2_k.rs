//! Q2_K: 256 values in 16 groups: 2-bit integers, 4-bit scales and minima.

use crate::affine::affine;
use crate::bits::{half_at, halves, pairs_of, two_bits};
use crate::quantize::{code, inverse};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q2_K,
    name: "Q2_K",
    gguf_id: 10,
    block: 256,
    bytes: 84,
    halves: &[80, 82],
    dequantize,
    strip_words: 2,
    scale_halves: 10,
    unit_strips: 8,
    repack,
    quantize: Some(quantize),
};

/// 16 bytes of scales (low nibble) and minima (high), 64 bytes of pairs, half d, half dmin.
/// d·scale·q - dmin·min.
fn dequantize(block: &[u8], values: &mut [f32]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (j, group) in values.chunks_exact_mut(16).enumerate() {
        let (scale, min) = (d * f32::from(block[j] & 15), dmin * f32::from(block[j] >> 4));
        for (l, value) in group.iter_mut().enumerate() {
            *value = scale * f32::from(two_bits(&block[16..80], 16 * j + l)) - min;
        }
    }
}

/// Q2_K: 8 strips of pairs; meta: 16 bytes of scales and minima, d, dmin.
fn repack(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[..16], meta);
    halves(&block[80..84], &mut meta[8..]);
    for (j, strip) in strips.chunks_exact_mut(2).enumerate() {
        pairs_of(&block[16 + 32 * (j / 4)..], 2 * (j % 4), strip);
    }
}

/// 2-bit codes with 16 scales and minima of 4 bits.
fn quantize(values: &[f32], block: &mut [u8]) {
    let found = affine(values, 16, 3.0, 15.0, (-0.8, 16));
    block.fill(0);
    block[80..82].copy_from_slice(&found.d.to_le_bytes());
    block[82..84].copy_from_slice(&found.dmin.to_le_bytes());
    let (d, dmin) = (found.d.to_f32(), found.dmin.to_f32());
    for (j, (scale, min)) in found.pairs.into_iter().enumerate() {
        block[j] = scale | min << 4;
        let (inverse, min) = (inverse(d * f32::from(scale)), dmin * f32::from(min));
        for (i, x) in values.iter().enumerate().skip(16 * j).take(16) {
            let q = code((x + min) * inverse, 0.0, 3.0) as u8;
            block[16 + 32 * (i / 128) + i % 32] |= q << (2 * (i % 128 / 32));
        }
    }
}
