//! RMSNorm, and the gated one of the SSM heads.

use crate::cpu::pool::prelude::*;

use super::elements::squares;
use super::{Numbers, Run};
use crate::ops::norm::{GatedNorm, RmsNorm};
use crate::plan::Step;

fn scale_of(x: &[f32], eps: f32) -> f32 {
    1.0 / (squares(x) / x.len() as f32 + eps).sqrt()
}

pub fn rmsnorm(c: Numbers<RmsNorm<'_>>) -> Run {
    let (width, stride, eps) = (c.WIDTH as usize, c.STRIDE as usize, c.EPS);
    Box::new(move |slots: &mut [super::Slot<'_>], [rows, ..]: [u32; 3]| {
        let [now, x, weight, y] = slots else { return };
        let first = if c.FINAL { now.one::<Step>().first as usize * stride } else { 0 };
        let (x, weight) = (&x.of::<f32>()[first..], &weight.of::<f32>()[..width]);
        let rows = y.written::<f32>().par_chunks_mut(stride).zip(x.par_chunks(stride)).take(rows as usize);
        rows.for_each(|(y, x)| {
            let scale = scale_of(&x[..width], eps);
            for ((y, x), weight) in y.iter_mut().zip(&x[..width]).zip(weight) {
                *y = weight * (x * scale);
            }
        });
    })
}

pub fn gated_norm(c: Numbers<GatedNorm<'_>>) -> Run {
    let [width, stride, offset] = [c.WIDTH, c.STRIDE, c.OFFSET].map(|n| n as usize);
    Box::new(move |slots: &mut [super::Slot<'_>], [rows, groups, _]: [u32; 3]| {
        let [weight, mixed] = slots else { return };
        let weight = weight.of::<f32>();
        mixed.written::<f32>().par_chunks_mut(stride).take(rows as usize).for_each(|row| {
            let groups = row[offset..].chunks_exact_mut(width).take(groups as usize);
            for (group, weight) in groups.zip(weight.chunks_exact(width)) {
                let scale = scale_of(group, c.EPS);
                group.iter_mut().zip(weight).for_each(|(v, weight)| *v = weight * (*v * scale));
            }
        });
    })
}
