//! Values to the 256-value blocks, by search: for each group several scales are tried and the one with the least
//! weighted square error is kept, as the field's reference quantisers do.

use half::f16;

use super::dequantise::half_at;
use super::quantise::{extreme, inverse};
use super::quantise_fit::{Affine, affine};

/// Below this a group is taken for zero.
pub(super) const TINY: f32 = 1e-15;

/// To the nearest integer, ties to even, inside `low..=high`.
pub(super) fn code(x: f32, low: f32, high: f32) -> f32 {
    // In this sum the last bit of an f32 is worth 1; a call to a library's rounding would take most of the time here.
    const ROUND: f32 = 12_582_912.0;
    (x.clamp(low, high) + ROUND) - ROUND
}

/// The scale for which `scale · round(x / scale)`, with codes -32 to 31, is nearest to a group of 16 values, errors
/// weighted by x². The sign of the scale is free: the extreme value becomes -32.
fn q6_scale(group: &[f32]) -> f32 {
    let extreme = extreme(group);
    if extreme.abs() < TINY {
        return 0.0;
    }
    // With codes fixed, the best scale is (Σ w·x·q) / (Σ w·q²), and it removes (Σ w·x·q)² / (Σ w·q²) of the error.
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

/// 16 group scales by search, stored in 8 bits relative to the largest; then codes for the scales as stored.
pub(super) fn q6_k(values: &[f32], block: &mut [u8]) {
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

/// Scale and minimum (both >= 0) for which `scale · q - min`, q from 0 to `most`, is nearest to a group. Tried are
/// inverse scales from `most + first` on, `steps` times 0.1 further.
pub(super) fn scale_min(group: &[f32], most: f32, first: f32, steps: u32) -> (f32, f32) {
    let low = group.iter().copied().fold(0.0, f32::min);
    let high = group.iter().copied().fold(f32::MIN, f32::max);
    if high <= low {
        return (0.0, -low);
    }
    let mean_square = group.iter().map(|x| x * x).sum::<f32>() / group.len() as f32;
    let base = mean_square.sqrt();
    let weight = |x: f32| base + x.abs();
    let error = |scale: f32, low: f32| {
        let inverse = inverse(scale);
        let term = |&x: &f32| {
            let miss = scale * code((x - low) * inverse, 0.0, most) + low - x;
            weight(x) * miss * miss
        };
        group.iter().map(term).sum::<f32>()
    };
    let mut best = ((high - low) / most, low);
    let mut least = error(best.0, best.1);
    for step in 0..=steps {
        let inverse = (most + first + 0.1 * step as f32) / (high - low);
        // A weighted least-squares line through (q, x) for these codes.
        let (mut w, mut q1, mut q2, mut x1, mut xq) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
        for &x in group {
            let q = code((x - low) * inverse, 0.0, most);
            let weight = weight(x);
            w += weight;
            q1 += weight * q;
            q2 += weight * q * q;
            x1 += weight * x;
            xq += weight * x * q;
        }
        let det = w * q2 - q1 * q1;
        if det <= 0.0 {
            continue;
        }
        let mut line = ((w * xq - x1 * q1) / det, (q2 * x1 - q1 * xq) / det);
        if line.1 > 0.0 {
            // A positive offset cannot be stored: the line goes through zero.
            line = (xq / q2, 0.0);
        }
        let found = error(line.0, line.1);
        if line.0 > 0.0 && found < least {
            (best, least) = (line, found);
        }
    }
    (best.0, -best.1)
}

/// 8 group scales and minima in the first 16 bytes of a block, then codes up to `most`.
fn q4_or_q5_k(values: &[f32], block: &mut [u8], most: f32, first: f32, steps: u32, put: impl Fn(&mut [u8], usize, u8)) {
    block.fill(0);
    let Affine { d, dmin, pairs } = affine(values, 32, most, 63.0, (first, steps));
    block[0..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&dmin.to_le_bytes());
    for (j, (scale, min)) in pairs.into_iter().enumerate() {
        let sc = &mut block[4..16];
        if j < 4 {
            sc[j] |= scale;
            sc[j + 4] |= min;
        } else {
            sc[j + 4] |= scale & 15 | min << 4;
            sc[j - 4] |= (scale >> 4) << 6;
            sc[j] |= (min >> 4) << 6;
        }
        let (inverse, min) = (inverse(d.to_f32() * f32::from(scale)), dmin.to_f32() * f32::from(min));
        for (l, value) in values.iter().enumerate().skip(32 * j).take(32) {
            put(block, l, code((value + min) * inverse, 0.0, most) as u8);
        }
    }
}

/// Codes of 4 bits.
pub(super) fn q4_k(values: &[f32], block: &mut [u8]) {
    q4_or_q5_k(values, block, 15.0, -1.0, 20, |block, i, q| {
        block[16 + 32 * (i / 64) + i % 32] |= q << (4 * (i / 32 % 2));
    });
}

/// Codes of 5 bits.
pub(super) fn q5_k(values: &[f32], block: &mut [u8]) {
    q4_or_q5_k(values, block, 31.0, -0.5, 15, |block, i, q| {
        block[48 + 32 * (i / 64) + i % 32] |= (q & 15) << (4 * (i / 32 % 2));
        block[16 + i % 32] |= (q >> 4) << (i / 32);
    });
}
