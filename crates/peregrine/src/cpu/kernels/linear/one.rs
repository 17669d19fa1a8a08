//! One token: codes meet the input as they are decoded, factors the sums of a strip, and offsets
//! the sums of the input, which are made once for all rows.

use super::Rows;
use crate::cpu::kernels::formats::{Blocks, GROUP, Row, STRIP, by_format};
use crate::cpu::simd::{Digits, Isa, Near, fma, wide};

/// The input's sums, over half strips and over strips, and its digits where integers meet them.
pub struct Sums {
    halves: Vec<f32>,
    strips: Vec<f32>,
    digits: Vec<Digits>,
}

impl Sums {
    pub fn of(x: &[f32]) -> Self {
        let halves: Vec<f32> = x.chunks_exact(STRIP / 2).map(|half| half.iter().sum()).collect();
        let strips = halves.chunks_exact(2).map(|two| two[0] + two[1]).collect();
        let mut digits = Vec::new();
        if integers() {
            digits.resize(x.len() / STRIP, Digits::NONE);
            in_digits(x, &mut digits);
        }
        Self { halves, strips, digits }
    }
}

/// Whether products are those of [`Digits`], where codes are small.
pub(super) fn integers() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        crate::cpu::simd::has_vnni()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

wide! {
    fn in_digits[](x: &[f32], to: &mut [Digits]) = in_digits_body
}

#[inline(always)]
fn in_digits_body<I, const L: usize, const FMA: bool>(x: &[f32], to: &mut [Digits]) {
    for (x, to) in x.as_chunks().0.iter().zip(to) {
        *to = Digits::of(x);
    }
}

/// Adds `scale W x` of so many rows as there are sums.
pub fn add(rows: Rows<'_>, x: &[f32], sums: &Sums, to: &mut [f32]) {
    let x = &x[rows.x..rows.x + STRIP * rows.strips];
    #[cfg(target_arch = "x86_64")]
    if integers() {
        return by_format!(rows.format, with_vnni(rows, x, sums, to));
    }
    by_format!(rows.format, products(rows, x, sums, to))
}

/// With the instructions of [`crate::cpu::simd::Vnni`], which the processor must have.
#[cfg(target_arch = "x86_64")]
pub(super) fn with_vnni<B: Blocks>(rows: Rows<'_>, x: &[f32], sums: &Sums, to: &mut [f32]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    fn compiled<B: Blocks>(rows: Rows<'_>, x: &[f32], sums: &Sums, to: &mut [f32]) {
        products_body::<B, crate::cpu::simd::Vnni, 16, true>(rows, x, sums, to);
    }
    assert!(integers(), "this processor has no VNNI");
    #[expect(unsafe_code, reason = "the processor has these instructions: the line before has looked")]
    // SAFETY: as the reason says.
    unsafe {
        compiled::<B>(rows, x, sums, to);
    }
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
    let input = Input { floats: x, digits: &sums.digits };
    let sums = if B::TWO { &sums.halves } else { &sums.strips };
    let each = if B::TWO { 2 } else { 1 };
    for (r, to) in to.iter_mut().enumerate() {
        let row = Row::new::<B>(rows.words, rows.halves, rows.strips, r);
        // Four sums, since each addition waits for the one before it.
        let [mut a, mut b, mut c, mut d] = [I::zero(); 4];
        let mut offsets = [0.0; 16];
        let groups = rows.strips / GROUP;
        for first in (0..groups * GROUP).step_by(GROUP) {
            let (words, halves, scales) = row.whole_group::<B, I>(first);
            let input = input.group::<I>(first);
            for j in [0, 4] {
                a = strip::<B, I>(a, scales.of::<B>(j)[0], B::codes::<I>(words, halves, j), input, j);
                b = strip::<B, I>(b, scales.of::<B>(j + 1)[0], B::codes::<I>(words, halves, j + 1), input, j + 1);
                c = strip::<B, I>(c, scales.of::<B>(j + 2)[0], B::codes::<I>(words, halves, j + 2), input, j + 2);
                d = strip::<B, I>(d, scales.of::<B>(j + 3)[0], B::codes::<I>(words, halves, j + 3), input, j + 3);
            }
            if B::OFFSETS {
                let sums = &sums[each * first..][..each * GROUP];
                match I::plus_offsets(d, &scales.offset, sums) {
                    Some(sum) => d = sum,
                    None => {
                        for i in 0..each * GROUP {
                            offsets[i] = fma::<FMA>(scales.offset[i], sums[i], offsets[i]);
                        }
                    }
                }
            }
        }
        let mut rest = 0.0;
        let first = groups * GROUP;
        if first < rows.strips {
            let (words, halves, scales) = row.group::<B, I>(first);
            for j in 0..rows.strips - first {
                a = strip::<B, I>(a, scales.of::<B>(j)[0], B::codes::<I>(words, halves, j), input, first + j);
                for i in each * j..each * (j + 1) {
                    rest = fma::<FMA>(scales.offset[i], sums[each * first + i], rest);
                }
            }
        }
        let offset = if B::OFFSETS { crate::cpu::simd::sum::<16>(offsets) + rest } else { 0.0 };
        *to += rows.scale * (I::total([a, b, c, d]) + offset);
    }
}

/// The input in both ways.
#[derive(Clone, Copy)]
struct Input<'a> {
    floats: &'a [f32],
    /// None where nobody reads them.
    digits: &'a [Digits],
}

impl Input<'_> {
    /// Eight strips.
    #[inline(always)]
    fn group<I: Isa>(self, first: usize) -> Self {
        let digits = if I::DIGITS { &self.digits[first..][..GROUP] } else { &[] };
        Self { floats: &self.floats[first * STRIP..][..GROUP * STRIP], digits }
    }
}

/// Adds a strip.
#[inline(always)]
fn strip<B: Blocks, I: Isa>(
    to: I::Sums,
    factors: [f32; 2],
    codes: I::Codes,
    input: Input<'_>,
    strip: usize,
) -> I::Sums {
    let Some(floats) = input.floats[strip * STRIP..].first_chunk::<STRIP>() else { return to };
    let x = Near { floats, digits: if I::DIGITS { &input.digits[strip] } else { &Digits::NONE } };
    if B::TWO { I::plus_halves(to, factors, codes, x) } else { I::plus(to, factors[0], codes, x) }
}
