//! The twin of `shaders/lora`.

use crate::adapter::{Chosen, Projection};
use crate::ops::linear::reference::linear;
use crate::reference::Real;

/// y \[T, out\] += scale B (A x) for each adapter that changes the projection; x \[T, in\].
pub fn add<T: Real>(y: &mut [T], x: &[T], adapters: &[Chosen], layer: u32, projection: Projection) {
    for chosen in adapters {
        let Some(delta) = chosen.adapter().delta(layer, projection) else { continue };
        let t = linear(&delta.a, x, delta.cols(), 1.0);
        let added = linear(&delta.b, &t, delta.rank as usize, chosen.scale);
        y.iter_mut().zip(added).for_each(|(y, added)| *y += added);
    }
}
