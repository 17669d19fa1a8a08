//! Many tokens: a few rows are decoded into a panel that stays in the nearest cache, which then
//! meets all tokens, a tile of rows and tokens at a time whose sums stay in registers.

use super::Rows;
use crate::cpu::kernels::formats::{Blocks, GROUP, Group, Row, STRIP, by_format};
use crate::cpu::simd::{Isa, Wide, fma, wide};

/// Panels have 6 rows or 3: whole ones of either.
pub const ROWS: usize = 6;
/// Tokens of a tile.
const TOKENS: usize = 4;
/// Strips of a panel: whole groups. With its inputs it is half of the nearest cache.
const STRIPS: usize = 16;

/// Adds `scale W x` of `to.len() / tokens` rows: \[rows, tokens\].
pub fn add(rows: Rows<'_>, x: &[f32], stride: usize, tokens: usize, to: &mut [f32]) {
    by_format!(rows.format, products(rows, x, stride, tokens, to))
}

wide! {
    // Browsers compile a function at a time: all formats in one are too much at once.
    #[cfg_attr(target_arch = "wasm32", inline(never))]
    fn products[B: Blocks](rows: Rows<'_>, x: &[f32], stride: usize, tokens: usize, to: &mut [f32]) = products_body
}

#[inline(always)]
pub(super) fn products_body<B: Blocks, I: Isa + Wide<L>, const L: usize, const FMA: bool>(
    rows: Rows<'_>,
    x: &[f32],
    stride: usize,
    tokens: usize,
    to: &mut [f32],
) {
    // The sums of a tile, and what they are made of, have as many registers as the instructions
    // know.
    match L {
        16 => panels::<B, I, L, FMA, ROWS>(rows, x, stride, tokens, to),
        _ => panels::<B, I, L, FMA, { ROWS / 2 }>(rows, x, stride, tokens, to),
    }
}

/// With so many rows in a panel.
#[inline(always)]
fn panels<B: Blocks, I: Isa + Wide<L>, const L: usize, const FMA: bool, const R: usize>(
    rows: Rows<'_>,
    x: &[f32],
    stride: usize,
    tokens: usize,
    to: &mut [f32],
) {
    let mut panel = vec![0.0f32; R * STRIPS * STRIP];
    let all = to.len() / tokens;
    for strip in (0..rows.strips).step_by(STRIPS) {
        let strips = STRIPS.min(rows.strips - strip);
        let width = strips * STRIP;
        for first in (0..all).step_by(R) {
            let count = R.min(all - first);
            for r in 0..count {
                decode::<B, I>(rows, first + r, strip, &mut panel[r * width..(r + 1) * width]);
            }
            // Rows that are missing are copies, and dropped.
            for r in count..R {
                panel.copy_within(0..width, r * width);
            }
            let to = &mut to[first * tokens..(first + count) * tokens];
            for token in (0..tokens).step_by(TOKENS) {
                let near = |k: usize| {
                    let at = (token + k).min(tokens - 1) * stride + rows.x + strip * STRIP;
                    &x[at..at + width]
                };
                let sums = tile::<I, L, R>(&panel[..R * width], [near(0), near(1), near(2), near(3)], width);
                for (r, to) in to.chunks_exact_mut(tokens).enumerate() {
                    for k in 0..TOKENS.min(tokens - token) {
                        to[token + k] = fma::<FMA>(rows.scale, sums[r][k], to[token + k]);
                    }
                }
            }
        }
    }
}

/// The weights of some strips of a row, from the first of a group on.
#[inline(always)]
fn decode<B: Blocks, I: Isa>(rows: Rows<'_>, row: usize, strip: usize, to: &mut [f32]) {
    let row = Row::new::<B>(rows.words, rows.halves, rows.strips, row);
    for (i, to) in to.chunks_mut(GROUP * STRIP).enumerate() {
        let group = Group::some::<B, I>(&row, strip + GROUP * i);
        for (j, to) in to.chunks_exact_mut(STRIP).enumerate() {
            let Some(to) = to.first_chunk_mut::<STRIP>() else { return };
            let [factors, offsets] = group.scales.of::<B>(j);
            I::put(group.codes::<B, I>(j), factors, offsets, to);
        }
    }
}

/// The products of the panel's rows with four tokens.
#[inline(always)]
fn tile<I: Wide<L>, const L: usize, const R: usize>(
    panel: &[f32],
    x: [&[f32]; TOKENS],
    width: usize,
) -> [[f32; TOKENS]; R] {
    // Loops, not closures: what is called from std's iterators over arrays is not always inlined,
    // and an intrinsic that is not costs a call and its registers.
    let mut sums = [[I::splat(0.0); TOKENS]; R];
    let n = width / L;
    let mut w: [&[[f32; L]]; R] = [&[]; R];
    for r in 0..R {
        w[r] = &panel[r * width..].as_chunks().0[..n];
    }
    let [a, b, c, d] = x;
    let [a, b, c, d] = [a.as_chunks().0, b.as_chunks().0, c.as_chunks().0, d.as_chunks().0];
    let [a, b, c, d] = [&a[..n], &b[..n], &c[..n], &d[..n]];
    for at in 0..n {
        let inputs = [I::load(&a[at]), I::load(&b[at]), I::load(&c[at]), I::load(&d[at])];
        for r in 0..R {
            let weights = I::load(&w[r][at]);
            for k in 0..TOKENS {
                sums[r][k] = I::fma(weights, inputs[k], sums[r][k]);
            }
        }
    }
    let mut totals = [[0.0; TOKENS]; R];
    for r in 0..R {
        totals[r] = I::sums(sums[r]);
    }
    totals
}
