//! Linear layers, straight from blocks: a token's product row by row ([`one`]), many tokens' by
//! tiles of rows whose weights are decoded once for all of them ([`many`]). Rows are shared out
//! over the cores.

mod many;
mod one;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::cpu::pool::prelude::*;

use super::{Run, Slot};
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::has_vnni;
use crate::cpu::simd::{Strip, silu, wide};
use crate::cpu::{kernels::formats::STRIP, kernels::formats::ids, pool};
use crate::ops::linear::Formats;
use crate::plan::Step;
use crate::weights::{GpuMatrix, GpuPart};

/// What becomes of a finished row: `shaders/linear/epilogue.wgsl`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Epilogue {
    Store,
    Add,
    SwiGlu,
}

/// A linear layer's constants.
struct Layer {
    epilogue: Epilogue,
    only_logits: bool,
    formats: [u32; 4],
}

impl Layer {
    fn run(&self, slots: &mut [Slot<'_>]) {
        let [now, matrix, weights, x, y] = slots else { return };
        let (now, matrix) = (now.one::<Step>(), matrix.one::<GpuMatrix>());
        let tokens = if self.only_logits { now.logit_rows() } else { now.tokens } as usize;
        let product = Product { layer: self, matrix: &matrix, weights: weights.of(), x: x.of(), tokens };
        match tokens {
            0 => {}
            1 => product.one(y.written()),
            _ => product.many(y.written()),
        }
    }
}

/// One token or many, with the constants that `matvec` and `matmul` have alike.
pub fn layer(epilogue: u32, only_logits: bool, formats: &Formats) -> Run {
    let epilogue = match epilogue {
        0 => Epilogue::Store,
        1 => Epilogue::Add,
        _ => Epilogue::SwiGlu,
    };
    let layer = Layer { epilogue, only_logits, formats: ids(formats) };
    Box::new(move |slots, _| layer.run(slots))
}

/// One slab of a layer, and what it multiplies.
struct Product<'a> {
    layer: &'a Layer,
    matrix: &'a GpuMatrix,
    weights: &'a [u32],
    x: &'a [f32],
    tokens: usize,
}

/// Rows of a part: where their strips begin, and which rows of the matrix they are.
#[derive(Clone, Copy)]
struct Rows<'a> {
    words: &'a [u32],
    halves: &'a [u16],
    strips: usize,
    /// GGUF's number of their format.
    format: u32,
    /// The first float of an input row.
    x: usize,
    scale: f32,
}

/// What adds the products of rows: [`one::add`] in one of its ways.
type Add<D> = fn(Rows<'_>, &[f32], &one::Sums<D>, &mut [f32]);

impl<'a> Product<'a> {
    fn parts(&self) -> &'a [GpuPart] {
        &self.matrix.part[..self.matrix.parts as usize]
    }

    /// Floats in a row of the input.
    fn stride(&self) -> usize {
        4 * self.matrix.x_stride as usize
    }

    /// The rows of a part from its row `first` on.
    fn rows(&self, part: &GpuPart, first: usize) -> Rows<'a> {
        let format = self.layer.formats[(part.kind & 3) as usize];
        let spec = crate::format::Format::from_gguf_id(format).unwrap_or(crate::format::Format::F32).spec();
        let strips = part.strips as usize;
        let halves = strips / spec.unit_strips as usize * spec.scale_halves as usize;
        let words = strips * spec.strip_words as usize;
        Rows {
            words: &self.weights[part.quants as usize + first * words..],
            halves: &bytemuck::cast_slice(self.weights)[part.scales as usize + first * halves..],
            strips,
            format,
            x: 4 * part.x as usize,
            scale: part.scale,
        }
    }

    /// The rows that a part shares with `[first, first + count)` of the output: the first of them
    /// there, the first in the part, and how many.
    fn shared(part: &GpuPart, first: usize, count: usize) -> Option<(usize, usize, usize)> {
        let (from, to) = (part.first_row as usize, (part.first_row + part.rows) as usize);
        let (begin, end) = (from.max(first), to.min(first + count));
        (begin < end).then(|| (begin - first, begin - from, end - begin))
    }

    /// Rows that a thread takes at a time: enough pieces that all threads end together, none of
    /// them small.
    fn share(&self, least: usize, most: usize) -> usize {
        let rows = self.matrix.rows as usize;
        (rows / (6 * pool::threads())).clamp(least, most).next_multiple_of(many::ROWS)
    }

    /// One token.
    fn one(&self, y: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if has_vnni() {
            return self.one_by(one::add_with_vnni, y);
        }
        self.one_by(one::add, y);
    }

    /// One token, its rows by `add`.
    fn one_by<D: Strip + Sync + Send>(&self, add: Add<D>, y: &mut [f32]) {
        let first = self.matrix.first_row as usize;
        let y = &mut y[first..first + self.matrix.rows as usize];
        // Most parts multiply the same floats.
        let mut sums = BTreeMap::new();
        for part in self.parts() {
            let x = 4 * part.x as usize;
            let of = || one::Sums::<D>::of(&self.x[x..x + STRIP * part.strips as usize]);
            sums.entry((part.x, part.strips)).or_insert_with(of);
        }
        let share = self.share(16, 256);
        y.par_chunks_mut(share).enumerate().for_each(|(i, y)| {
            let mut both = [vec![0.0; y.len()], Vec::new()];
            if self.layer.epilogue == Epilogue::SwiGlu {
                both[1] = vec![0.0; y.len()];
            }
            for part in self.parts() {
                let sums = &sums[&(part.x, part.strips)];
                let Some((to, from, count)) = Self::shared(part, first + i * share, y.len()) else { continue };
                let sum = &mut both[usize::from(part.kind >> 8 != 0)];
                add(self.rows(part, from), self.x, sums, &mut sum[to..to + count]);
            }
            let [sum, second] = both;
            finish(self.layer.epilogue, &sum, &second, y);
        });
    }

    /// Many tokens: first the tiles, each in memory of its own, then the rows of the output.
    fn many(&self, y: &mut [f32]) {
        let first = self.matrix.first_row as usize;
        let (rows, share) = (self.matrix.rows as usize, self.share(12, 60));
        let tiles: Vec<Vec<f32>> = (0..rows.div_ceil(share))
            .into_par_iter()
            .map(|i| {
                let count = share.min(rows - i * share);
                let mut both = [vec![0.0; count * self.tokens], Vec::new()];
                if self.layer.epilogue == Epilogue::SwiGlu {
                    both[1] = vec![0.0; count * self.tokens];
                }
                for part in self.parts() {
                    let Some((to, from, rows)) = Self::shared(part, first + i * share, count) else { continue };
                    let sum = &mut both[usize::from(part.kind >> 8 != 0)];
                    let sum = &mut sum[to * self.tokens..(to + rows) * self.tokens];
                    many::add(self.rows(part, from), self.x, self.stride(), self.tokens, sum);
                }
                let [sum, second] = both;
                match self.layer.epilogue {
                    Epilogue::SwiGlu => {
                        let mut y = vec![0.0; sum.len()];
                        finish(Epilogue::SwiGlu, &sum, &second, &mut y);
                        turned(&y, self.tokens)
                    }
                    Epilogue::Store | Epilogue::Add => turned(&sum, self.tokens),
                }
            })
            .collect();
        let stride = self.matrix.y_stride as usize;
        y.par_chunks_mut(stride).take(self.tokens).enumerate().for_each(|(t, y)| {
            for (tile, y) in tiles.iter().zip(y[first..first + rows].chunks_mut(share)) {
                let row = &tile[t * y.len()..(t + 1) * y.len()];
                match self.layer.epilogue {
                    Epilogue::Add => y.iter_mut().zip(row).for_each(|(y, v)| *y += v),
                    Epilogue::Store | Epilogue::SwiGlu => y.copy_from_slice(row),
                }
            }
        });
    }
}

/// \[tokens, rows\] from \[rows, tokens\].
fn turned(tile: &[f32], tokens: usize) -> Vec<f32> {
    let rows = tile.len() / tokens;
    let mut turned = vec![0.0; tile.len()];
    for (r, row) in tile.chunks_exact(tokens).enumerate() {
        for (t, v) in row.iter().enumerate() {
            turned[t * rows + r] = *v;
        }
    }
    turned
}

wide! {
    fn finish[](epilogue: Epilogue, sum: &[f32], second: &[f32], y: &mut [f32]) = finish_body
}

#[inline(always)]
fn finish_body<I, const L: usize, const FMA: bool>(epilogue: Epilogue, sum: &[f32], second: &[f32], y: &mut [f32]) {
    match epilogue {
        Epilogue::Store => y.copy_from_slice(sum),
        Epilogue::Add => y.iter_mut().zip(sum).for_each(|(y, sum)| *y += sum),
        Epilogue::SwiGlu => {
            for ((y, gate), up) in y.iter_mut().zip(sum).zip(second) {
                *y = silu::<FMA>(*gate) * up;
            }
        }
    }
}
