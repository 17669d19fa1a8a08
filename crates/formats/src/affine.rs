//! Values to blocks of groups with a scale and a minimum each: as in scaled.rs, over both.

use half::f16;

use super::quantize::{ROUNDS, code, half, inverse, weights};

/// Scale and minimum (both >= 0) for which `scale · q - min`, q from 0 to `most`, is nearest to a
/// group. Tried are inverse scales from `most + first` on, `steps` times 0.1 further.
pub(crate) fn scale_min(group: &[f32], most: f32, first: f32, steps: u32) -> (f32, f32) {
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

/// A block with two halves, and scale and minimum for each group.
pub(crate) struct Affine {
    pub(crate) d: f16,
    pub(crate) dmin: f16,
    pub(crate) pairs: Vec<(u8, u8)>,
}

/// Halves, scales and minima (up to `top`) for codes up to `most` of 256 values in groups of
/// `size`; `steps` as in [`scale_min`].
pub(crate) fn affine(values: &[f32], size: usize, most: f32, top: f32, steps: (f32, u32)) -> Affine {
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

/// Weighted square error of a group under one scale and minimum.
pub(crate) fn affine_error(group: &[f32], weights: &[f32], scale: f32, min: f32, most: f32) -> f32 {
    let inverse = inverse(scale);
    let term = |(&x, &w): (&f32, &f32)| {
        let miss = scale * code((x + min) * inverse, 0.0, most) - min - x;
        w * miss * miss
    };
    group.iter().zip(weights).map(term).sum()
}

/// Sums for the least squares of x = d·a - dmin·b.
#[derive(Default)]
pub(crate) struct Line {
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

/// 8 group scales and minima in the first 16 bytes of a block, then codes up to `most`.
pub(crate) fn q4_or_q5_k(
    values: &[f32],
    block: &mut [u8],
    most: f32,
    first: f32,
    steps: u32,
    put: impl Fn(&mut [u8], usize, u8),
) {
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
