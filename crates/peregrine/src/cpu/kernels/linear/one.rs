//! One token: codes meet the input as they are decoded, factors the sums of a strip, and offsets
//! the sums of the input, which are made once for all rows.

use super::Rows;
use crate::cpu::kernels::formats::{Blocks, GROUP, Group, Row, STRIP, by_format};
use crate::cpu::simd::{BaseDigits, Isa, Near, Strip, fma, wide};
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{Digits8, has_vnni};

/// The input's sums, over half strips and over strips, and its digits where integers meet them.
pub struct Sums<D> {
    halves: Vec<f32>,
    strips: Vec<f32>,
    digits: Vec<D>,
}

impl<D: Strip> Sums<D> {
    pub fn of(x: &[f32]) -> Self {
        let halves: Vec<f32> = x.chunks_exact(STRIP / 2).map(|half| half.iter().sum()).collect();
        let strips = halves.chunks_exact(2).map(|two| two[0] + two[1]).collect();
        let mut digits = vec![D::NONE; x.len() / STRIP];
        in_digits(x, &mut digits);
        Self { halves, strips, digits }
    }
}

wide! {
    fn in_digits[D: Strip](x: &[f32], to: &mut [D]) = in_digits_body
}

#[inline(always)]
fn in_digits_body<D: Strip, I, const L: usize, const FMA: bool>(x: &[f32], to: &mut [D]) {
    for (x, to) in x.as_chunks().0.iter().zip(to) {
        *to = D::of(x);
    }
}

/// Adds `scale W x` of so many rows as there are sums.
pub fn add(rows: Rows<'_>, x: &[f32], sums: &Sums<BaseDigits>, to: &mut [f32]) {
    by_format!(rows.format, products(rows, x, sums, to))
}

wide! {
    // Browsers compile a function at a time: all formats in one are too much at once.
    #[cfg_attr(target_arch = "wasm32", inline(never))]
    fn products[B: Blocks](rows: Rows<'_>, x: &[f32], sums: &Sums<BaseDigits>, to: &mut [f32]) = products_body
}

/// The same with products of [`Digits8`], where codes are small, which the processor must have.
#[cfg(target_arch = "x86_64")]
pub fn add_with_vnni(rows: Rows<'_>, x: &[f32], sums: &Sums<Digits8>, to: &mut [f32]) {
    by_format!(rows.format, with_vnni(rows, x, sums, to));
}

#[cfg(target_arch = "x86_64")]
pub(super) fn with_vnni<B: Blocks>(rows: Rows<'_>, x: &[f32], sums: &Sums<Digits8>, to: &mut [f32]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    fn compiled<B: Blocks>(rows: Rows<'_>, x: &[f32], sums: &Sums<Digits8>, to: &mut [f32]) {
        products_body::<B, crate::cpu::simd::Vnni, 16, true>(rows, x, sums, to);
    }
    assert!(has_vnni(), "this processor has no VNNI");
    #[expect(unsafe_code, reason = "the processor has these instructions: the line before has looked")]
    // SAFETY: as the reason says.
    unsafe {
        compiled::<B>(rows, x, sums, to);
    }
}

#[inline(always)]
pub(super) fn products_body<B: Blocks, I: Isa, const L: usize, const FMA: bool>(
    rows: Rows<'_>,
    x: &[f32],
    sums: &Sums<I::Digits>,
    to: &mut [f32],
) {
    let input = Input {
        floats: &x[rows.x..rows.x + STRIP * rows.strips],
        digits: &sums.digits,
        sums: if B::TWO { &sums.halves } else { &sums.strips },
    };
    // Four sums of one row, since each addition waits for the one before it.
    match I::ROWS {
        2 => by_rows::<B, I, FMA, 2, 1>(rows, input, to),
        _ => by_rows::<B, I, FMA, 1, 4>(rows, input, to),
    }
}

/// `R` rows at a time with `N` sums each, which strips go to in turns.
#[inline(always)]
fn by_rows<B: Blocks, I: Isa, const FMA: bool, const R: usize, const N: usize>(
    rows: Rows<'_>,
    input: Input<'_, I::Digits>,
    to: &mut [f32],
) {
    let each = if B::TWO { 2 } else { 1 };
    for (i, to) in to.chunks_mut(R).enumerate() {
        let mut row = [Row { words: &[], halves: &[] }; R];
        for r in 0..R {
            // A row that is missing is a copy, and dropped.
            row[r] = Row::new::<B>(rows.words, rows.halves, rows.strips, R * i + r.min(to.len() - 1));
        }
        let mut all = [[I::zero(); R]; N];
        let mut offsets = [[0.0; 16]; R];
        let groups = rows.strips / GROUP;
        for first in (0..groups * GROUP).step_by(GROUP) {
            let mut group = [Group::NONE; R];
            for r in 0..R {
                group[r] = Group::whole::<B, I>(&row[r], first);
            }
            let input = input.group(first, each);
            for j in 0..GROUP / N {
                for k in 0..N {
                    all[k] = strip::<B, I, R>(all[k], &group, input, N * j + k);
                }
            }
            if B::OFFSETS {
                for r in 0..R {
                    let offset = &group[r].scales.offset;
                    match I::plus_offsets(all[N - 1][r], offset, input.sums) {
                        Some(sum) => all[N - 1][r] = sum,
                        None => {
                            for i in 0..each * GROUP {
                                offsets[r][i] = fma::<FMA>(offset[i], input.sums[i], offsets[r][i]);
                            }
                        }
                    }
                }
            }
        }
        let mut rest = [0.0; R];
        let first = groups * GROUP;
        if first < rows.strips {
            let mut group = [Group::NONE; R];
            for r in 0..R {
                group[r] = Group::some::<B, I>(&row[r], first);
            }
            let input = input.from(first, each);
            for j in 0..rows.strips - first {
                all[0] = strip::<B, I, R>(all[0], &group, input, j);
                for r in 0..R {
                    for i in each * j..each * (j + 1) {
                        rest[r] = fma::<FMA>(group[r].scales.offset[i], input.sums[i], rest[r]);
                    }
                }
            }
        }
        for (r, to) in to.iter_mut().enumerate() {
            let mut sums = [I::zero(); 4];
            for k in 0..N {
                sums[k] = all[k][r];
            }
            let offset = if B::OFFSETS { crate::cpu::simd::sum::<16>(offsets[r]) + rest[r] } else { 0.0 };
            *to += rows.scale * (I::total(sums) + offset);
        }
    }
}

/// The input in all ways.
#[derive(Clone, Copy)]
struct Input<'a, D> {
    floats: &'a [f32],
    digits: &'a [D],
    /// Over strips, or over their halves where these have factors of their own.
    sums: &'a [f32],
}

impl<D> Input<'_, D> {
    /// Eight strips, with so many sums each.
    #[inline(always)]
    fn group(self, first: usize, each: usize) -> Self {
        Self {
            floats: &self.floats[first * STRIP..][..GROUP * STRIP],
            digits: &self.digits[first..][..GROUP],
            sums: &self.sums[each * first..][..each * GROUP],
        }
    }

    /// All from a strip on.
    #[inline(always)]
    fn from(self, first: usize, each: usize) -> Self {
        Self { floats: &self.floats[first * STRIP..], digits: &self.digits[first..], sums: &self.sums[each * first..] }
    }
}

/// Adds a strip of several rows.
#[inline(always)]
fn strip<B: Blocks, I: Isa, const R: usize>(
    to: [I::Sums; R],
    group: &[Group<'_>; R],
    input: Input<'_, I::Digits>,
    j: usize,
) -> [I::Sums; R] {
    let Some(floats) = input.floats[j * STRIP..].first_chunk::<STRIP>() else { return to };
    let x = Near { floats, digits: &input.digits[j] };
    let mut factors = [[0.0; 2]; R];
    let mut codes = [group[0].codes::<B, I>(j); R];
    for r in 0..R {
        factors[r] = group[r].scales.of::<B>(j)[0];
        codes[r] = group[r].codes::<B, I>(j);
    }
    match B::TWO {
        true => I::plus_rows::<true, R>(to, factors, codes, x),
        false => I::plus_rows::<false, R>(to, factors, codes, x),
    }
}
