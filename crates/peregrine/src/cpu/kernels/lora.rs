//! Adapters beside linear layers: t = A x, then y += B t, or the SwiGLU of two sums with what is
//! added to both.

use crate::cpu::pool::prelude::*;

use super::elements::product;
use super::{Run, Slot};
use crate::ops::linear::reference::silu;
use crate::ops::lora::GpuLora;
use crate::plan::Step;

pub fn down() -> Run {
    Box::new(|slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [now, lora, a, x, _, t] = slots else { return };
        let (now, lora) = (now.one::<Step>(), lora.one::<GpuLora>());
        let (a, stride) = (a.of::<f32>(), 4 * lora.x_stride as usize);
        let rows = t.written::<f32>().par_chunks_mut(4 * lora.rank as usize).take(now.tokens as usize);
        rows.zip(x.of::<f32>().par_chunks(stride)).for_each(|(t, x)| {
            for part in &lora.part[..lora.parts as usize] {
                let [first, rows, cols] = [part.t, part.rank, part.cols].map(|n| 4 * n as usize);
                let x = &x[4 * part.x as usize..][..cols];
                let a = a[4 * part.a as usize..].chunks_exact(cols);
                t[first..first + rows].iter_mut().zip(a).for_each(|(t, a)| *t = product(a, x));
            }
        });
    })
}

/// What the adapters add to row `row`.
fn added(lora: &GpuLora, b: &[f32], t: &[f32], row: u32) -> f32 {
    let of = lora.part[..lora.parts as usize].iter().filter_map(|part| {
        let inner = row.checked_sub(part.first_row).filter(|inner| *inner < part.rows)?;
        let rank = 4 * part.rank as usize;
        let first = 4 * part.b as usize + inner as usize * rank;
        Some(product(&b[first..first + rank], &t[4 * part.t as usize..][..rank]))
    });
    of.sum()
}

pub fn up(swiglu: bool) -> Run {
    Box::new(move |slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [now, lora, b, t, base, y] = slots else { return };
        let (now, lora) = (now.one::<Step>(), lora.one::<GpuLora>());
        let (b, base) = (b.of::<f32>(), base.of::<f32>());
        let rows = y.written::<f32>().par_chunks_mut(lora.y_stride as usize).take(now.tokens as usize);
        rows.zip(t.of::<f32>().par_chunks(4 * lora.rank as usize)).enumerate().for_each(|(token, (y, t))| {
            let count = lora.rows as usize;
            let base = if swiglu { &base[2 * count * token..2 * count * (token + 1)] } else { base };
            y[..count].par_iter_mut().with_min_len(256).enumerate().for_each(|(row, y)| {
                let first = added(&lora, b, t, row as u32);
                *y = match swiglu {
                    true => {
                        let second = added(&lora, b, t, lora.rows + row as u32);
                        silu(base[row] + first) * (base[count + row] + second)
                    }
                    false => *y + first,
                };
            });
        });
    })
}
