//! Loops over rows that several kernels have.

use crate::cpu::simd::{Wide, dot, wide};

wide! {
    /// The sum of squares.
    pub fn squares[](x: &[f32]) -> f32 = squares_body
}

#[inline(always)]
fn squares_body<I: Wide<L>, const L: usize, const FMA: bool>(x: &[f32]) -> f32 {
    dot::<I, L, FMA>(x, x)
}

wide! {
    /// The scalar product.
    pub fn product[](a: &[f32], b: &[f32]) -> f32 = product_body
}

#[inline(always)]
fn product_body<I: Wide<L>, const L: usize, const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    dot::<I, L, FMA>(a, b)
}
