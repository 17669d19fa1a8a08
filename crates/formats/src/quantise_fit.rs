//! Values to blocks of groups by a search over the stored numbers. Scales of 4 or 6 bits beside a half for 256 values are so coarse
//! that rounding the best scale of each group loses much: groups first find their own scale; then scales and codes are chosen
//! together as they will be stored, the halves are fitted to the codes by least squares, and whatever lowers the error stays.
//!
//! Errors are weighted by `rms + |x|` of the block: large weights matter more. `tests/checkpoint/low.rs` compares the outcome with
//! the field's quantisers.

use half::f16;

use super::dequantise::STEPS;
use super::quantise::{extreme, inverse};
use super::quantise_k::{TINY, code, scale_min};

/// Rounds of fitting the halves to the codes; more than a few change nothing.
const ROUNDS: usize = 4;

/// What a code stands for, times its scale.
trait Levels {
    /// The code nearest to `x`.
    fn nearest(x: f32) -> u8;
    /// Its value.
    fn value(code: u8) -> f32;
    /// Values of the outermost codes: an extreme value of a group should become one of them.
    const ENDS: [f32; 2];
}

/// Q3_K: -4 to 3.
struct Three;

impl Levels for Three {
    fn nearest(x: f32) -> u8 {
        (code(x, -4.0, 3.0) + 4.0) as u8
    }

    fn value(code: u8) -> f32 {
        f32::from(code) - 4.0
    }

    const ENDS: [f32; 2] = [-4.0, 3.0];
}

/// IQ4_NL and IQ4_XS: uneven steps.
struct Uneven;

/// The nearest code of x, at 2·(x + 128): half way between two steps is always a multiple of a half.
static NEAREST: [u8; 512] = {
    let (mut table, mut at, mut code) = ([0; 512], 0, 0);
    while at < 512 {
        let x = at as f32 / 2.0 - 128.0;
        while code < 15 && x - STEPS[code] >= STEPS[code + 1] - x {
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
        STEPS[usize::from(code)]
    }

    const ENDS: [f32; 2] = [-127.0, 113.0];
}

/// Weights of the errors of a block's values.
fn weights(values: &[f32]) -> Vec<f32> {
    let mean_square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
    let base = mean_square.sqrt();
    values.iter().map(|x| base + x.abs()).collect()
}

/// Weighted square error of a group under one scale.
fn error<L: Levels>(group: &[f32], weights: &[f32], scale: f32) -> f32 {
    let inverse = inverse(scale);
    let term = |(&x, &w): (&f32, &f32)| {
        let miss = scale * L::value(L::nearest(x * inverse)) - x;
        w * miss * miss
    };
    group.iter().zip(weights).map(term).sum()
}

/// The scale of either sign under which codes come nearest to a group. Tried are scales that put the extreme value at, or a little
/// beside, each end; each is then fitted to its codes.
fn best_scale<L: Levels>(group: &[f32], weights: &[f32]) -> f32 {
    let extreme = extreme(group);
    if extreme.abs() < TINY {
        return 0.0;
    }
    // With codes fixed, the best scale is (Σ w·x·l) / (Σ w·l²), and it removes (Σ w·x·l)² / (Σ w·l²) of the error.
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

/// A half that is finite.
fn half(x: f32) -> f16 {
    f16::from_f32(x.clamp(-65_504.0, 65_504.0))
}

/// A block with a half and 6-bit scales (stored + 32) of its groups.
struct Scaled {
    d: f16,
    scales: Vec<i8>,
}

/// Half and scales for 256 values in groups of `size`.
fn scaled<L: Levels>(values: &[f32], size: usize) -> Scaled {
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

/// 3-bit codes with 16 scales.
pub(super) fn q3_k(values: &[f32], block: &mut [u8]) {
    block.fill(0);
    let Scaled { d, scales } = scaled::<Three>(values, 16);
    block[108..110].copy_from_slice(&d.to_le_bytes());
    for (j, scale) in scales.into_iter().enumerate() {
        let stored = (scale + 32) as u8;
        block[96 + j % 8] |= (stored & 15) << (4 * (j / 8));
        block[104 + j % 4] |= (stored >> 4) << (2 * (j / 4));
        let inverse = inverse(d.to_f32() * f32::from(scale));
        for (i, x) in values.iter().enumerate().skip(16 * j).take(16) {
            let q = Three::nearest(x * inverse);
            block[32 + 32 * (i / 128) + i % 32] |= (q & 3) << (2 * (i % 128 / 32));
            block[i % 32] |= (q >> 2) << (i / 32);
        }
    }
}

/// 16 bytes of nibbles of 32 values under a scale.
fn uneven_nibbles(group: &[f32], scale: f32, bytes: &mut [u8]) {
    let inverse = inverse(scale);
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = Uneven::nearest(group[i] * inverse) | Uneven::nearest(group[i + 16] * inverse) << 4;
    }
}

/// Codes of uneven steps with 8 scales.
pub(super) fn iq4_xs(values: &[f32], block: &mut [u8]) {
    block.fill(0);
    let Scaled { d, scales } = scaled::<Uneven>(values, 32);
    block[..2].copy_from_slice(&d.to_le_bytes());
    let mut high = 0u16;
    for (j, (group, scale)) in values.chunks_exact(32).zip(scales).enumerate() {
        let stored = (scale + 32) as u8;
        high |= u16::from(stored >> 4) << (2 * j);
        block[4 + j / 2] |= (stored & 15) << (4 * (j % 2));
        uneven_nibbles(group, d.to_f32() * f32::from(scale), &mut block[8 + 16 * j..24 + 16 * j]);
    }
    block[2..4].copy_from_slice(&high.to_le_bytes());
}

/// Codes of uneven steps with one scale.
pub(super) fn iq4_nl(values: &[f32], block: &mut [u8]) {
    let d = half(best_scale::<Uneven>(values, &weights(values)));
    block[..2].copy_from_slice(&d.to_le_bytes());
    uneven_nibbles(values, d.to_f32(), &mut block[2..18]);
}

/// A block with two halves, and scale and minimum for each group.
pub(super) struct Affine {
    pub d: f16,
    pub dmin: f16,
    pub pairs: Vec<(u8, u8)>,
}

/// Halves, scales and minima (up to `top`) for codes up to `most` of 256 values in groups of `size`; `steps` as in [`scale_min`].
pub(super) fn affine(values: &[f32], size: usize, most: f32, top: f32, steps: (f32, u32)) -> Affine {
    let weights = weights(values);
    let groups = || values.chunks_exact(size).zip(weights.chunks_exact(size));
    let wanted: Vec<(f32, f32)> = groups().map(|(group, _)| scale_min(group, most, steps.0, steps.1)).collect();
    let largest = wanted.iter().fold((0.0f32, 0.0f32), |most, w| (most.0.max(w.0), most.1.max(w.1)));
    let (mut d, mut dmin) = (half(largest.0 / top), half(largest.1 / top));
    let mut best = Affine { d, dmin, pairs: vec![(0, 0); wanted.len()] };
    let mut least = f32::INFINITY;
    for _ in 0..ROUNDS {
        let (step, offset) = (d.to_f32(), dmin.to_f32());
        let mut found = Affine { d, dmin, pairs: Vec::with_capacity(wanted.len()) };
        let (mut total, mut fit) = (0.0f32, Line::default());
        for ((group, weights), wanted) in groups().zip(&wanted) {
            let middle = |wanted: f32, step: f32| code(wanted * inverse(step), 0.0, top) as u8;
            let near = |middle: u8| middle.saturating_sub(1)..=(middle + 1).min(top as u8);
            let (mut pair, mut lost) = ((0, 0), f32::INFINITY);
            for scale in near(middle(wanted.0, step)) {
                for min in near(middle(wanted.1, offset)) {
                    let error = affine_error(group, weights, step * f32::from(scale), offset * f32::from(min), most);
                    if error < lost {
                        (pair, lost) = ((scale, min), error);
                    }
                }
            }
            found.pairs.push(pair);
            total += lost;
            let (scale, min) = (f32::from(pair.0), f32::from(pair.1));
            let inverse = inverse(step * scale);
            for (&x, &w) in group.iter().zip(weights) {
                fit.add(w, x, scale * code((x + offset * min) * inverse, 0.0, most), min);
            }
        }
        let better = total < least;
        if better {
            (best, least) = (found, total);
        }
        let Some(fitted) = fit.solve().filter(|_| better) else {
            break;
        };
        let before = (d, dmin);
        (d, dmin) = (half(fitted.0), half(fitted.1));
        if before == (d, dmin) {
            break;
        }
    }
    best
}

/// 2-bit codes with 16 scales and minima of 4 bits.
pub(super) fn q2_k(values: &[f32], block: &mut [u8]) {
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

/// Weighted square error of a group under one scale and minimum.
fn affine_error(group: &[f32], weights: &[f32], scale: f32, min: f32, most: f32) -> f32 {
    let inverse = inverse(scale);
    let term = |(&x, &w): (&f32, &f32)| {
        let miss = scale * code((x + min) * inverse, 0.0, most) - min - x;
        w * miss * miss
    };
    group.iter().zip(weights).map(term).sum()
}

/// Sums for the least squares of x = d·a - dmin·b.
#[derive(Default)]
struct Line {
    aa: f32,
    ab: f32,
    bb: f32,
    ax: f32,
    bx: f32,
}

impl Line {
    fn add(&mut self, w: f32, x: f32, a: f32, b: f32) {
        self.aa += w * a * a;
        self.ab += w * a * b;
        self.bb += w * b * b;
        self.ax += w * a * x;
        self.bx += w * b * x;
    }

    /// d and dmin, both at least 0, where the sums say what they are.
    fn solve(&self) -> Option<(f32, f32)> {
        let det = self.aa * self.bb - self.ab * self.ab;
        if self.bb == 0.0 && self.aa > 0.0 {
            return Some((self.ax / self.aa, 0.0)).filter(|(d, _)| *d > 0.0);
        }
        let line = ((self.ax * self.bb - self.bx * self.ab) / det, (self.ax * self.ab - self.bx * self.aa) / det);
        Some(line).filter(|(d, dmin)| det > 0.0 && *d > 0.0 && *dmin >= 0.0)
    }
}
