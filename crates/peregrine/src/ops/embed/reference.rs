//! The twin of `shaders/embed`.

use crate::reference::Real;

/// E\[id\] scaled: `row` \[D\] is the token's row of the embedding.
pub fn embed<T: Real>(row: &[f32], scale: f32) -> Vec<T> {
    row.iter().map(|e| T::from(scale) * T::from(*e)).collect()
}
