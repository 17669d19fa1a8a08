//! The embedding's rows.

use crate::cpu::pool::prelude::*;

use super::formats::{self, Blocks, GROUP, Group, Row, STRIP, by_format};
use super::{Numbers, Run, Slot};
use crate::cpu::simd::{Base, Isa};
use crate::ops::embed::Embed;
use crate::plan::Step;
use crate::weights::GpuMatrix;

pub fn embed(c: &Numbers<Embed<'_>>) -> Run {
    let formats = formats::ids(&c.formats);
    Box::new(move |slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [now, matrix, weights, ids, h] = slots else { return };
        let (now, matrix) = (now.one::<Step>(), matrix.one::<GpuMatrix>());
        let (weights, part) = (weights.of::<u32>(), matrix.part[0]);
        let format = formats[(part.kind & 3) as usize];
        let rows = h.written::<f32>().par_chunks_mut(matrix.y_stride as usize).take(now.tokens as usize);
        rows.zip(ids.of::<u32>()).for_each(|(h, id)| {
            // A slab writes only the tokens whose row it holds.
            let Some(row) = id.checked_sub(part.first_row).filter(|row| *row < part.rows) else { return };
            let place = Place {
                weights,
                quants: part.quants as usize,
                scales: part.scales as usize,
                strips: part.strips as usize,
                row: row as usize,
            };
            by_format!(format, decode(place, part.scale, h));
        });
    })
}

/// A row of a part.
struct Place<'a> {
    weights: &'a [u32],
    quants: usize,
    scales: usize,
    strips: usize,
    row: usize,
}

fn decode<B: Blocks>(place: Place<'_>, scale: f32, h: &mut [f32]) {
    let halves = &bytemuck::cast_slice(place.weights)[place.scales..];
    let row = Row::new::<B>(&place.weights[place.quants..], halves, place.strips, place.row);
    for (i, h) in h[..place.strips * STRIP].chunks_mut(GROUP * STRIP).enumerate() {
        let group = Group::some::<B, Base>(&row, GROUP * i);
        for (j, h) in h.chunks_exact_mut(STRIP).enumerate() {
            let Some(h) = h.first_chunk_mut::<STRIP>() else { return };
            let [factors, offsets] = group.scales.of::<B>(j);
            Base::put(group.codes::<B, Base>(j), factors, offsets, h);
            h.iter_mut().for_each(|h| *h *= scale);
        }
    }
}
