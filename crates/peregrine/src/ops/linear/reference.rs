//! The twins of `shaders/linear`.

use crate::reference::{Real, each};

/// Rows of a matrix that one thread takes at a time.
const ROWS: usize = 32;

/// y \[T, rows\] = scale x Wᵀ, W \[rows, cols\], x \[T, cols\].
pub fn linear<T: Real>(weights: &[f32], x: &[T], cols: usize, scale: f32) -> Vec<T> {
    let (tokens, rows) = (x.len() / cols, weights.len() / cols);
    let blocks: Vec<&[f32]> = weights.chunks(ROWS * cols).collect();
    let blocks = each(blocks, weights.len() * tokens, |block| {
        let row = |row| x.chunks_exact(cols).map(move |x| T::from(scale) * dot(row, x));
        block.chunks_exact(cols).flat_map(row).collect::<Vec<T>>()
    });
    // Row by row all tokens; the result has them token by token.
    let by_row = blocks.concat();
    if tokens == 1 {
        return by_row;
    }
    (0..tokens).flat_map(|t| by_row.iter().skip(t).step_by(tokens).take(rows)).copied().collect()
}

/// silu(gate) up
pub fn swiglu<T: Real>(gate: &[T], up: &[T]) -> Vec<T> {
    gate.iter().zip(up).map(|(g, u)| silu(*g) * *u).collect()
}

/// v sigmoid(v)
pub fn silu<T: Real>(v: T) -> T {
    v / (T::of(1.0) + (-v).exp())
}

/// The scalar product, in eight sums.
pub(crate) fn dot<W: Copy + Into<T>, T: Real>(a: &[W], b: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: T = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| (*x).into() * *y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i].into() * y[i];
        }
    }
    tail + sums.into_iter().sum()
}
