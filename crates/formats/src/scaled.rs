//! Values to blocks of groups by a search over the stored numbers. Scales of 4 or 6 bits beside a
//! half for 256 values are so coarse that rounding the best scale of each group loses much: groups
//! first find their own scale; then scales and codes are chosen together as they will be stored,
//! the halves are fitted to the codes by least squares, and whatever lowers the error stays.
//!
//! Errors are weighted by `rms + |x|` of the block: large weights matter more.
//! `tests/checkpoint/low.rs` compares the outcome with the field's quantizers.

use half::f16;

use super::bits::IQ4_VALUES;
use super::quantize::{ROUNDS, TINY, code, extreme, half, inverse, weights};

/// What a code stands for, times its scale.
pub(crate) trait Levels {
    /// The code nearest to `x`.
    fn nearest(x: f32) -> u8;
    /// Its value.
    fn value(code: u8) -> f32;
    /// Values of the outermost codes: an extreme value of a group should become one of them.
    const ENDS: [f32; 2];
}

/// IQ4_NL and IQ4_XS: uneven steps.
pub(crate) struct Uneven;

/// The nearest code of x, at 2·(x + 128): half way between two steps is always a multiple of a
/// half.
pub(crate) static NEAREST: [u8; 512] = {
    let (mut table, mut at, mut code) = ([0; 512], 0, 0);
    while at < 512 {
        let x = at as f32 / 2.0 - 128.0;
        while code < 15 && x - IQ4_VALUES[code] >= IQ4_VALUES[code + 1] - x {
            code += 1;
        }
        table[at] = code as u8;
        at += 1;
    }
    table
};

impl Levels for Uneven {
    fn nearest(x: f32) -> u8 {
        // What is below goes to 0.
        NEAREST[((x * 2.0 + 256.0) as usize).min(511)]
    }

    fn value(code: u8) -> f32 {
        IQ4_VALUES[usize::from(code)]
    }

    const ENDS: [f32; 2] = [-127.0, 113.0];
}

/// Weighted square error of a group under one scale.
pub(crate) fn error<L: Levels>(group: &[f32], weights: &[f32], scale: f32) -> f32 {
    let inverse = inverse(scale);
    let term = |(&x, &w): (&f32, &f32)| {
        let miss = scale * L::value(L::nearest(x * inverse)) - x;
        w * miss * miss
    };
    group.iter().zip(weights).map(term).sum()
}

/// The scale of either sign under which codes come nearest to a group. Tried are scales that put
/// the extreme value at, or a little beside, each end; each is then fitted to its codes.
pub(crate) fn best_scale<L: Levels>(group: &[f32], weights: &[f32]) -> f32 {
    let extreme = extreme(group);
    if extreme.abs() < TINY {
        return 0.0;
    }
    // With codes fixed, the best scale is (Σ w·x·l) / (Σ w·l²), and it removes (Σ w·x·l)² / (Σ
    // w·l²) of the error.
    let (mut best, mut scale) = (0.0, 0.0);
    for end in L::ENDS {
        for step in -6..=12 {
            let inverse = end * (1.0 + 0.04 * step as f32) / extreme;
            let (mut xl, mut ll) = (0.0f32, 0.0f32);
            for (&x, &w) in group.iter().zip(weights) {
                let level = L::value(L::nearest(x * inverse));
                xl += w * x * level;
                ll += w * level * level;
            }
            if ll > 0.0 && xl * xl > best * ll {
                scale = xl / ll;
                best = scale * xl;
            }
        }
    }
    scale
}

/// A block with a half and 6-bit scales (stored + 32) of its groups.
pub(crate) struct Scaled {
    pub(crate) d: f16,
    pub(crate) scales: Vec<i8>,
}

/// Half and scales for 256 values in groups of `size`.
pub(crate) fn scaled<L: Levels>(values: &[f32], size: usize) -> Scaled {
    let weights = weights(values);
    let groups = || values.chunks_exact(size).zip(weights.chunks_exact(size));
    let wanted: Vec<f32> = groups().map(|(group, weights)| best_scale::<L>(group, weights)).collect();
    let largest = extreme(&wanted);
    let mut best = Scaled { d: f16::ZERO, scales: vec![0; wanted.len()] };
    let mut least = f32::INFINITY;
    // The largest scale has the magnitude 32 on the negative side, or 31.
    for end in [-32.0, 31.0] {
        let mut d = half(largest / end);
        for _ in 0..ROUNDS {
            let step = d.to_f32();
            let mut found = Scaled { d, scales: Vec::with_capacity(wanted.len()) };
            let (mut total, mut xl, mut ll) = (0.0f32, 0.0f32, 0.0f32);
            for ((group, weights), wanted) in groups().zip(&wanted) {
                let middle = code(wanted * inverse(step), -32.0, 31.0) as i8;
                let near = [middle, (middle - 1).max(-32), (middle + 1).min(31)];
                let (mut scale, mut lost) = (middle, f32::INFINITY);
                for candidate in near {
                    let error = error::<L>(group, weights, step * f32::from(candidate));
                    if error < lost {
                        (scale, lost) = (candidate, error);
                    }
                }
                found.scales.push(scale);
                total += lost;
                let inverse = inverse(step * f32::from(scale));
                for (&x, &w) in group.iter().zip(weights) {
                    let level = f32::from(scale) * L::value(L::nearest(x * inverse));
                    xl += w * x * level;
                    ll += w * level * level;
                }
            }
            let better = total < least;
            if better {
                (best, least) = (found, total);
            }
            let fitted = half(xl * inverse(ll));
            if !better || fitted == d {
                break;
            }
            d = fitted;
        }
    }
    best
}

/// 16 bytes of nibbles of 32 values under a scale.
pub(crate) fn uneven_nibbles(group: &[f32], scale: f32, bytes: &mut [u8]) {
    let inverse = inverse(scale);
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = Uneven::nearest(group[i] * inverse) | Uneven::nearest(group[i + 16] * inverse) << 4;
    }
}
