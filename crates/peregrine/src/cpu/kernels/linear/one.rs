//! One token: codes meet the input as they are decoded, factors the sums of a strip, and offsets
//! the sums of the input, which are made once for all rows.

use super::Rows;
use crate::cpu::kernels::formats::{Blocks, GROUP, Row, STRIP, by_format};
use crate::cpu::simd::{Isa, fma, wide};

/// The input's sums: over half strips, and over strips.
pub struct Sums {
    halves: Vec<f32>,
    strips: Vec<f32>,
}

impl Sums {
    pub fn of(x: &[f32]) -> Self {
        let halves: Vec<f32> = x.chunks_exact(STRIP / 2).map(|half| half.iter().sum()).collect();
        Self { strips: halves.chunks_exact(2).map(|two| two[0] + two[1]).collect(), halves }
    }
}

/// Adds `scale W x` of so many rows as there are sums.
pub fn add(rows: Rows<'_>, x: &[f32], sums: &Sums, to: &mut [f32]) {
    let x = &x[rows.x..rows.x + STRIP * rows.strips];
    by_format!(rows.format, products(rows, x, sums, to))
}

wide! {
    fn products[B: Blocks](rows: Rows<'_>, x: &[f32], sums: &Sums, to: &mut [f32]) = products_body
}

#[inline(always)]
pub(super) fn products_body<B: Blocks, I: Isa, const L: usize, const FMA: bool>(
    rows: Rows<'_>,
    x: &[f32],
    sums: &Sums,
    to: &mut [f32],
) {
    let sums = if B::TWO { &sums.halves } else { &sums.strips };
    let each = if B::TWO { 2 } else { 1 };
    for (r, to) in to.iter_mut().enumerate() {
        let row = Row::new::<B>(rows.words, rows.halves, rows.strips, r);
        // Four sums, since each addition waits for the one before it.
        let [mut a, mut b, mut c, mut d] = [I::zero(); 4];
        let mut offsets = [0.0; 16];
        let groups = rows.strips / GROUP;
        for first in (0..groups * GROUP).step_by(GROUP) {
            let (words, halves, scales) = row.group::<B, I>(first);
            for j in [0, 4] {
                a = strip::<B, I>(a, scales.of::<B>(j)[0], B::codes::<I>(words, halves, j), x, first + j);
                b = strip::<B, I>(b, scales.of::<B>(j + 1)[0], B::codes::<I>(words, halves, j + 1), x, first + j + 1);
                c = strip::<B, I>(c, scales.of::<B>(j + 2)[0], B::codes::<I>(words, halves, j + 2), x, first + j + 2);
                d = strip::<B, I>(d, scales.of::<B>(j + 3)[0], B::codes::<I>(words, halves, j + 3), x, first + j + 3);
            }
            if B::OFFSETS {
                let sums = &sums[each * first..each * (first + GROUP)];
                for i in 0..each * GROUP {
                    offsets[i] = fma::<FMA>(scales.offset[i], sums[i], offsets[i]);
                }
            }
        }
        let first = groups * GROUP;
        if first < rows.strips {
            let (words, halves, scales) = row.group::<B, I>(first);
            for j in 0..rows.strips - first {
                a = strip::<B, I>(a, scales.of::<B>(j)[0], B::codes::<I>(words, halves, j), x, first + j);
                for i in each * j..each * (j + 1) {
                    offsets[i] = fma::<FMA>(scales.offset[i], sums[each * first + i], offsets[i]);
                }
            }
        }
        let offset = if B::OFFSETS { crate::cpu::simd::sum::<16>(offsets) } else { 0.0 };
        *to += rows.scale * (I::total([a, b, c, d]) + offset);
    }
}

/// Adds a strip.
#[inline(always)]
fn strip<B: Blocks, I: Isa>(to: I::Sums, factors: [f32; 2], codes: I::Codes, x: &[f32], strip: usize) -> I::Sums {
    let Some(x) = x[strip * STRIP..].first_chunk::<STRIP>() else { return to };
    if B::TWO { I::plus_halves(to, factors, codes, x) } else { I::plus(to, factors[0], codes, x) }
}
