//! Q6_K: 256 values in 16 groups: 6-bit integers, 8-bit scales.

use half::f16;

use crate::bits::{half_at, halves, nibbles_of, pairs_of};
use crate::quantize::{TINY, code, extreme, inverse};
use crate::{Format, FormatSpec};

/// Its row.
pub(crate) const SPEC: FormatSpec = FormatSpec {
    format: Format::Q6_K,
    name: "Q6_K",
    gguf_id: 14,
    block: 256,
    bytes: 210,
    halves: &[208],
    dequantize,
    strip_words: 6,
    scale_halves: 10,
    unit_strips: 8,
    repack,
    quantize: Some(quantize),
};

/// 128 bytes of low nibbles, 64 bytes of high pairs, 16 signed scales, half d. d·scale·(q - 32).
fn dequantize(block: &[u8], values: &mut [f32]) {
    let d = half_at(block, 208);
    for (j, group) in values.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(block[192 + j].cast_signed());
        for (l, value) in group.iter_mut().enumerate() {
            *value = scale * (f32::from(q6_k_code(block, 16 * j + l)) - 32.0);
        }
    }
}

/// The code (0 to 63) of value `i` of a Q6_K block: 4 low bits from `ql`, 2 high bits from `qh`.
fn q6_k_code(block: &[u8], i: usize) -> u8 {
    let (h, s, l) = (i / 128, i % 128 / 32, i % 32);
    let low = block[64 * h + 32 * (s % 2) + l] >> (4 * (s / 2)) & 15;
    let high = block[128 + 32 * h + l] >> (2 * s) & 3;
    low | high << 4
}

/// The scale for which `scale · round(x / scale)`, with codes -32 to 31, is nearest to a group of
/// 16 values, errors weighted by x². The sign of the scale is free: the extreme value becomes -32.
fn q6_scale(group: &[f32]) -> f32 {
    let extreme = extreme(group);
    if extreme.abs() < TINY {
        return 0.0;
    }
    // With codes fixed, the best scale is (Σ w·x·q) / (Σ w·q²), and it removes (Σ w·x·q)² / (Σ
    // w·q²) of the error.
    let (mut best, mut scale) = (0.0, 0.0);
    for step in [0.0, -9.0, -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    {
        let inverse = -(32.0 + 0.1 * step) / extreme;
        let (mut xq, mut qq) = (0.0f32, 0.0f32);
        for &x in group {
            let q = code(inverse * x, -32.0, 31.0);
            let w = x * x;
            xq += w * x * q;
            qq += w * q * q;
        }
        if qq > 0.0 && xq * xq > best * qq {
            scale = xq / qq;
            best = scale * xq;
        }
    }
    scale
}

/// Q6_K: for each two strips, 4 words of low nibbles of the one and of the other, then 2 words of
/// high pairs of each: all of it loads as aligned vec4s. Meta: 16 scale bytes, d, 0.
fn repack(block: &[u8], strips: &mut [u32], meta: &mut [u16]) {
    halves(&block[192..210], meta);
    meta[9] = 0;
    for (j, two) in strips.chunks_exact_mut(12).enumerate() {
        for k in 0..2 {
            // Strips 0 to 3 of a half of the block share bytes: two of them nibbles, all of them
            // pairs.
            let (half, strip) = (j / 2, 2 * (j % 2) + k);
            let (low, high) = (&block[64 * half + 32 * (strip % 2)..], &block[128 + 32 * half..]);
            nibbles_of(low, 4 * (strip / 2), &mut two[4 * k..4 * k + 4]);
            pairs_of(high, 2 * strip, &mut two[8 + 2 * k..10 + 2 * k]);
        }
    }
}

/// 16 group scales by search, stored in 8 bits relative to the largest; then codes for the scales
/// as stored.
fn quantize(values: &[f32], block: &mut [u8]) {
    block.fill(0);
    let mut scales = [0.0f32; 16];
    for (scale, group) in scales.iter_mut().zip(values.chunks_exact(16)) {
        *scale = q6_scale(group);
    }
    let largest = extreme(&scales);
    let inverse_d = if largest.abs() < TINY { 0.0 } else { -128.0 / largest };
    block[208..210].copy_from_slice(&f16::from_f32(inverse(inverse_d)).to_le_bytes());
    let d = half_at(block, 208);
    for j in 0..16 {
        let scale = code(inverse_d * scales[j], -128.0, 127.0);
        block[192 + j] = (scale as i8).cast_unsigned();
        let inverse = inverse(d * scale);
        for l in 0..16 {
            let i = 16 * j + l;
            let q = (code(values[i] * inverse, -32.0, 31.0) + 32.0) as u8;
            let (h, s, at) = (i / 128, i % 128 / 32, i % 32);
            block[64 * h + 32 * (s % 2) + at] |= (q & 15) << (4 * (s / 2));
            block[128 + 32 * h + at] |= (q >> 4) << (2 * s);
        }
    }
}
