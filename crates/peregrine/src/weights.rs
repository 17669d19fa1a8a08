//! Weights on the GPU: matrices in parts, streamed from the checkpoint piece by piece.
//!
//! A [`Matrix`] fuses several tensors of the checkpoint into one dispatch. Row parts stand one
//! below the other (W_in holds q, k, v, z, x, B, C, dt), column parts beside each other (W_o |
//! W_out); an output row is the sum over all parts that cover it, so one rule serves both. Every
//! part keeps its own block format and its own scale, which is the muP multiplier where the
//! checkpoint has it outside the weights: stored values are never rounded again.
//!
//! A matrix larger than the adapter's largest binding is cut by rows into slabs, one dispatch each.

use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::gpu::Gpu;

mod table;
mod uploads;

pub(crate) use table::PART_CONSTANTS;
pub use table::{GpuMatrix, GpuPart, MAX_PARTS};
pub use uploads::{LoadTimes, Uploads};

/// Most block formats in one matrix: `FORMAT_0..3` in `shaders/linear/matrix.wgsl`.
pub const MAX_FORMATS: usize = 4;
/// Of every so many rows, the first bytes go into the fingerprint.
const SAMPLED_ROWS: u64 = 32;

/// What a part is made from.
#[derive(Clone, Debug)]
pub struct PartSpec<'a> {
    /// The tensor.
    pub tensor: &'a TensorInfo,
    /// First row of the tensor that belongs to the part.
    pub tensor_row: u32,
    /// Rows.
    pub rows: u32,
    /// First output row.
    pub first_row: u32,
    /// First float of the input row that it multiplies; a multiple of 4.
    pub x: u32,
    /// muP multiplier.
    pub scale: f32,
    /// 0, or 1 for the second sum of SwiGLU.
    pub sum: u32,
}

impl PartSpec<'_> {
    fn cols(&self) -> usize {
        self.tensor.shape.last().copied().unwrap_or(0) as usize
    }

    fn row_words(&self) -> u64 {
        self.tensor.format.spec().row_words(self.cols()) as u64
    }

    fn row_halves(&self) -> u64 {
        self.tensor.format.spec().row_halves(self.cols()) as u64
    }

    /// The rows that this part and the output rows `[first, first + rows)` share.
    fn clip(&self, first: u32, rows: u32) -> Self {
        let from = self.first_row.max(first);
        let to = (self.first_row + self.rows).min(first + rows).max(from);
        Self { tensor_row: self.tensor_row + (from - self.first_row), first_row: from, rows: to - from, ..self.clone() }
    }
}

/// The parts of the output rows `[first, first + count)`.
fn clip<'a>(parts: &[PartSpec<'a>], first: u32, count: u32) -> Vec<PartSpec<'a>> {
    parts.iter().map(|p| p.clip(first, count)).filter(|p| p.rows > 0).collect()
}

/// What a matrix is made from.
pub struct MatrixSpec<'a> {
    /// For messages.
    pub label: &'static str,
    /// At most [`MAX_PARTS`].
    pub parts: Vec<PartSpec<'a>>,
    /// Floats in an input and in an output row.
    pub strides: (u32, u32),
}

/// Bytes of a matrix on the GPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatrixBytes {
    /// Planes of all slabs.
    pub weights: u64,
    /// Their tables.
    pub tables: u64,
}

impl MatrixBytes {
    /// Both.
    pub fn total(self) -> u64 {
        self.weights + self.tables
    }
}

impl MatrixSpec<'_> {
    fn rows(&self) -> u32 {
        self.parts.iter().map(|p| p.first_row + p.rows).max().unwrap_or(0)
    }

    /// Bytes on a device with this largest binding.
    ///
    /// # Errors
    /// As [`Matrix::new`] says when a row is too large.
    pub fn footprint(&self, max_binding: u64) -> Result<MatrixBytes> {
        let mut bytes = MatrixBytes::default();
        for (first, count) in cut(self.label, &self.parts, self.rows(), max_binding)? {
            let clipped = clip(&self.parts, first, count);
            bytes.weights += Gpu::storage_bytes(lay_out(&clipped, &[], first, count, self.strides).1);
            bytes.tables += size_of::<GpuMatrix>() as u64;
        }
        Ok(bytes)
    }
}

/// Some rows of a matrix, in a buffer of their own.
#[derive(Clone)]
pub struct Slab {
    /// Plane Q and plane S of each part.
    pub weights: wgpu::Buffer,
    /// [`GpuMatrix`].
    pub uniform: wgpu::Buffer,
    /// The same on the host.
    pub table: GpuMatrix,
}

/// A matrix of weights on the GPU.
#[derive(Clone)]
pub struct Matrix {
    /// Output rows.
    pub rows: u32,
    /// Strips in a row of the longest part.
    pub strips: u32,
    /// The block formats that occur, in the order of `FORMAT_0..3`.
    pub formats: Vec<Format>,
    /// At least one.
    pub slabs: Vec<Slab>,
}

/// Rounds up to whole strips of 32: the stride of every activation that a matrix reads. The padding
/// stays zero.
pub fn padded(width: u32) -> u32 {
    width.next_multiple_of(32)
}

impl Matrix {
    /// Room for the parts, and the tables of where each lies: all that a plan is recorded with.
    /// [`Matrix::fill`] streams the weights.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when one row alone exceeds the largest binding.
    pub fn new(gpu: &Gpu, spec: &MatrixSpec<'_>) -> Result<Self> {
        let MatrixSpec { label, parts, strides } = spec;
        let rows = spec.rows();
        let mut formats: Vec<Format> = Vec::new();
        for part in parts {
            if !formats.contains(&part.tensor.format) {
                formats.push(part.tensor.format);
            }
        }
        debug_assert!(parts.len() <= MAX_PARTS && formats.len() <= MAX_FORMATS);
        let strips = parts.iter().map(|p| p.tensor.format.spec().row_strips(p.cols()) as u32).max().unwrap_or(1);

        let mut slabs = Vec::new();
        for (first, count) in cut(label, parts, rows, gpu.max_binding())? {
            let (table, bytes) = lay_out(&clip(parts, first, count), &formats, first, count, *strides);
            let weights = gpu.storage(label, bytes)?;
            let uniform = gpu.uniform(label, bytemuck::bytes_of(&table));
            slabs.push(Slab { weights, uniform, table });
        }
        Ok(Self { rows, strips, formats, slabs })
    }

    /// Streams the parts to the GPU. `uploads` is told the bytes of the file that have been read.
    ///
    /// # Errors
    /// What the checkpoint or the device say.
    pub async fn fill(
        &self,
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        spec: &MatrixSpec<'_>,
        uploads: &mut Uploads<'_>,
    ) -> Result<()> {
        for slab in &self.slabs {
            let clipped = clip(&spec.parts, slab.table.first_row, slab.table.rows);
            for (part, placed) in clipped.iter().zip(&slab.table.part) {
                uploads.part(gpu, checkpoint, part, placed, &slab.weights).await?;
            }
        }
        Ok(())
    }

    /// The same weights under another scale and other strides: the LM head of a model with tied
    /// embeddings.
    pub fn tied(&self, gpu: &Gpu, scale: f32, strides: (u32, u32)) -> Self {
        let mut matrix = self.clone();
        for slab in &mut matrix.slabs {
            slab.table.x_stride = strides.0 / 4;
            slab.table.y_stride = strides.1;
            for part in &mut slab.table.part {
                part.scale = scale;
            }
            slab.uniform = gpu.uniform("tied", bytemuck::bytes_of(&slab.table));
        }
        matrix
    }

    /// Gate and up of a SwiGLU matrix as two sums, the rows of up after the `rows` of gate: the
    /// same weights, other tables.
    pub(crate) fn apart(&self, gpu: &Gpu, rows: u32) -> Self {
        let table = |slab: &Slab, sums: &[usize], first_row, count| {
            let mut table =
                GpuMatrix { first_row, rows: count, parts: sums.len() as u32, y_stride: 2 * rows, ..slab.table };
            table.part = Default::default();
            for (part, sum) in table.part.iter_mut().zip(sums) {
                let from = slab.table.part[*sum];
                let first_row = from.first_row + rows * *sum as u32;
                *part = GpuPart { first_row, kind: from.kind & 0xff, ..from };
            }
            Slab { weights: slab.weights.clone(), uniform: gpu.uniform("apart", bytemuck::bytes_of(&table)), table }
        };
        let slabs = match &self.slabs[..] {
            [one] => vec![table(one, &[0, 1], 0, 2 * rows)],
            several => {
                let halves = |slab: &Slab| {
                    let (first, count) = (slab.table.first_row, slab.table.rows);
                    [table(slab, &[0], first, count), table(slab, &[1], rows + first, count)]
                };
                several.iter().flat_map(halves).collect()
            }
        };
        Self { rows: 2 * rows, slabs, ..self.clone() }
    }

    /// What its tables take.
    pub(crate) fn apart_table_bytes(&self) -> u64 {
        let tables = if self.slabs.len() == 1 { 1 } else { 2 * self.slabs.len() };
        (tables * size_of::<GpuMatrix>()) as u64
    }

    /// Whether no `group` rows from a multiple of `group` on belong to different parts, so that a
    /// workgroup can share them.
    pub fn in_groups_of(&self, group: u32) -> bool {
        self.slabs.iter().all(|slab| slab.table.in_groups_of(group))
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.slabs.iter().map(|s| s.weights.size()).sum()
    }

    /// Bytes of the slabs' tables.
    pub fn table_bytes(&self) -> u64 {
        self.slabs.iter().map(|s| s.uniform.size()).sum()
    }
}

/// Bytes of the output rows `[first, first + count)`.
fn bytes_of(parts: &[PartSpec<'_>], first: u32, count: u32) -> u64 {
    parts
        .iter()
        .map(|p| p.clip(first, count))
        .map(|p| u64::from(p.rows) * (4 * p.row_words() + 2 * p.row_halves()) + 48)
        .sum()
}

/// Cuts `rows` output rows into runs whose bytes fit `limit`.
fn cut(label: &str, parts: &[PartSpec<'_>], rows: u32, limit: u64) -> Result<Vec<(u32, u32)>> {
    let mut slabs = 1;
    loop {
        let step = rows.div_ceil(slabs).next_multiple_of(32).min(rows.max(1));
        let runs: Vec<(u32, u32)> =
            (0..rows).step_by(step as usize).map(|first| (first, step.min(rows - first))).collect();
        let largest = runs.iter().map(|(first, count)| bytes_of(parts, *first, *count)).max().unwrap_or(0);
        if largest <= limit {
            return Ok(runs);
        }
        if step <= 32 {
            return Err(Error::OutOfMemory { what: label.into(), bytes: Some(largest), limit: Some(limit) });
        }
        slabs = (slabs + 1).max((slabs as u64 * largest / limit) as u32);
    }
}

fn lay_out(
    parts: &[PartSpec<'_>],
    formats: &[Format],
    first_row: u32,
    rows: u32,
    strides: (u32, u32),
) -> (GpuMatrix, u64) {
    let mut table = GpuMatrix {
        first_row,
        rows,
        parts: parts.len() as u32,
        x_stride: strides.0 / 4,
        y_stride: strides.1,
        ..GpuMatrix::default()
    };
    let mut words = 0_u64;
    for (part, placed) in parts.iter().zip(&mut table.part) {
        let which = formats.iter().position(|f| *f == part.tensor.format).unwrap_or(0) as u32;
        let quants = words;
        words = (words + u64::from(part.rows) * part.row_words()).next_multiple_of(4);
        let scales = 2 * words;
        words = (words + (u64::from(part.rows) * part.row_halves()).div_ceil(2)).next_multiple_of(4);
        *placed = GpuPart {
            first_row: part.first_row,
            rows: part.rows,
            strips: part.tensor.format.spec().row_strips(part.cols()) as u32,
            x: part.x / 4,
            quants: quants as u32,
            scales: scales as u32,
            kind: which | part.sum << 8,
            scale: part.scale,
        };
    }
    (table, 4 * words)
}
