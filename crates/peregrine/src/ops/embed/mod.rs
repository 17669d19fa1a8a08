//! The embedding: a row of it for each token.

pub mod reference;

use super::linear::Formats;
use super::{Op, Recorder};
use crate::kernels::kernels;
use crate::plan::{Needed, Step};
use crate::weights::{GpuMatrix, Matrix};

kernels! {
    /// Strips of one token's row.
    Embed = EMBED { THREADS: u32; formats: Formats }
    (now: uniform Step, matrix: uniform GpuMatrix, weights: read [u32; 4], ids: read u32, h: write [f32; 4])
}

impl Recorder<'_> {
    /// h\[t\] = scale E\[id_t\]
    pub fn embed(&mut self, embed: &Matrix, ids: &wgpu::Buffer, h: &wgpu::Buffer) {
        let threads = self.target().elements();
        let groups = embed.strips.div_ceil(threads);
        for slab in &embed.slabs {
            let kernel = Embed {
                THREADS: threads,
                formats: Formats::of(embed),
                now: self.step(),
                matrix: &slab.uniform,
                weights: &slab.weights,
                ids,
                h,
            };
            self.call(Op::Embed, &kernel, Needed::Always, move |step| [groups, step.tokens, 1]);
        }
    }
}
