//! Keys and values that are rounded: which of two neighbors is right.

use super::{TOLERANCE, TOLERANCE_F16};
use crate::state::KvType;

/// What the twin keeps of a row of keys or values. Rounded, two values that differ a little can
/// become neighbors, which is no error but would look like one and go on through attention: then it
/// is the GPU's. A little is rounding in f32, or with cooperative matrices what factors in f16 do
/// to a product: a share of the row's largest value.
pub fn round_like_the_gpu(kv: KvType, head_dim: u32, cooperative: bool, found: Option<&[f32]>, row: &mut [f32]) {
    let exact = row.to_vec();
    kv.keep(row, head_dim);
    let block = KvType::block(head_dim) as usize;
    let half_a_step = |at: usize| match kv {
        KvType::F32 => 0.0,
        KvType::F16 => exact[at].abs().max(6.2e-5) / 2048.0,
        KvType::Q8 => KvType::scale(&exact[at / block * block..][..block]) / 2.0,
    };
    let (tolerance, least) = match cooperative {
        true => (TOLERANCE_F16, exact.iter().fold(0.1_f32, |most, v| most.max(v.abs()))),
        false => (TOLERANCE, 0.1),
    };
    for (at, found) in found.unwrap_or_default().iter().enumerate().filter(|_| kv != KvType::F32) {
        if (found - exact[at]).abs() <= 1.01 * half_a_step(at) + tolerance * exact[at].abs().max(least) {
            row[at] = *found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of 31.51 steps and 31 others, where the GPU kept `found` steps.
    fn kept_beside(found: f32, cooperative: bool) -> f32 {
        let step = 1.0 / 127.0;
        let mut row = [0.0; 32];
        (row[0], row[1]) = (1.0, 31.51 * step);
        let mut there = [0.0; 32];
        (there[0], there[1]) = (1.0, found * step);
        round_like_the_gpu(KvType::Q8, 32, cooperative, Some(&there), &mut row);
        (row[1] / step).round()
    }

    #[test]
    fn a_neighbor_is_the_gpus_only_as_far_as_products_may_differ() {
        // Rounded in f32, 31.51 is 32; with factors in f16 it may have been 31.49, too, but not 30
        // or 33.
        assert_eq!([31.0, 32.0].map(|found| kept_beside(found, true)), [31.0, 32.0]);
        assert_eq!([31.0, 32.0].map(|found| kept_beside(found, false)), [32.0, 32.0]);
        assert_eq!([30.0, 33.0, 34.0].map(|found| kept_beside(found, true)), [32.0, 32.0, 32.0]);
    }
}
