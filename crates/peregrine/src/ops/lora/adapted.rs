//! A choice of adapters on the GPU.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::fused::{Fused, Sums, sum_bytes};
use super::{GpuLora, GpuLoraPart, MAX_PARTS};
use crate::adapter::{Chosen, Delta, Projection};
use crate::config::Config;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::model::{Model, Strides};
use crate::ops::Op;
use crate::ops::linear::Variant;
use crate::weights::Matrix;

/// The adapters of one linear layer of the page.
pub struct Site {
    /// A of each part.
    pub a: wgpu::Buffer,
    /// B of each part.
    pub b: wgpu::Buffer,
    /// [`GpuLora`].
    pub uniform: wgpu::Buffer,
    /// The same on the host.
    pub table: GpuLora,
    /// Where the layer makes the SwiGLU of two sums, and does not add adapters itself: the same
    /// weights, which make gate | up.
    pub apart: Option<Matrix>,
    /// For one token on a GPU.
    pub fused: Option<Fused>,
}

/// A choice of adapters on the GPU, with what a step keeps of them.
pub struct Adapted {
    /// Which they are.
    pub chosen: Vec<Chosen>,
    /// A x \[T, ranks\] of one linear layer after the other.
    pub t: wgpu::Buffer,
    /// gate | up \[T, 2 F\]; nothing where no adapter changes them.
    pub gate_up: wgpu::Buffer,
    /// A x of one token on a GPU, as exact sums: see [`Fused`].
    pub(super) sums: [wgpu::Buffer; 2],
    /// What is bound where there is nothing to read.
    pub(super) nothing: wgpu::Buffer,
    /// And where there is nothing to write.
    pub(super) unwritten: wgpu::Buffer,
    /// Of attention.
    pub(super) heads: u32,
    /// Whether who makes x may publish A x.
    publishing: Cell<bool>,
    /// Of each layer those of [`OPS`].
    sites: Vec<[Option<Site>; 4]>,
}

/// The linear layers of the page, by what they read.
const OPS: [Op; 4] = [Op::ProjectIn, Op::ProjectOut, Op::MlpIn, Op::MlpOut];

/// Where a projection lies in its linear layer.
struct Place {
    projection: Projection,
    first_row: u32,
    /// First float in a row of the input.
    x: u32,
    rows: u32,
    cols: u32,
}

/// The projections of a linear layer, where they lie, and floats in a row of its input and output,
/// and rows of the output.
fn places(op: Op, c: &Config, s: &Strides) -> (Vec<Place>, [u32; 3]) {
    let place = |projection, first_row, x, rows, cols| Place { projection, first_row, x, rows, cols };
    let (d, q, kv, f) = (c.hidden_size, c.q_dim(), c.kv_dim(), c.intermediate_size);
    match op {
        Op::ProjectIn => {
            let places = vec![
                place(Projection::Q, 0, 0, q, d),
                place(Projection::K, q, 0, kv, d),
                place(Projection::V, q + kv, 0, kv, d),
                place(Projection::In, q + 2 * kv, 0, c.in_proj_rows(), d),
            ];
            (places, [s.hidden, s.proj, s.proj])
        }
        Op::ProjectOut => {
            let places = vec![place(Projection::O, 0, 0, d, q), place(Projection::Out, 0, s.ssm, d, c.mamba_d_ssm)];
            (places, [s.mixed, s.hidden, d])
        }
        Op::MlpIn => {
            (vec![place(Projection::Gate, 0, 0, f, d), place(Projection::Up, f, 0, f, d)], [s.hidden, s.ff, f])
        }
        _ => (vec![place(Projection::Down, 0, 0, d, f)], [s.ff, s.hidden, d]),
    }
}

impl Adapted {
    /// Uploads a choice of adapters, for steps of as many tokens as the model takes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn new(model: &Model, chosen: Vec<Chosen>) -> Result<Self> {
        let (gpu, c) = (model.gpu(), model.config());
        let layers = 0..c.num_hidden_layers;
        let mut sums = Sums::default();
        let sites = layers.map(|layer| sites(model, &chosen, layer, &mut sums)).collect::<Result<Vec<_>>>()?;
        let all = || sites.iter().flatten().flatten();
        let ranks = all().map(|site| site.table.rank).max();
        let [t, gate_up] = scratch_bytes(model, ranks, all().any(|site| site.apart.is_some()));
        Ok(Self {
            t: gpu.storage("adapters", t)?,
            gate_up: gpu.storage("gate and up", gate_up)?,
            sums: sums.buffers(gpu)?,
            nothing: gpu.storage("no adapters", 0)?,
            unwritten: gpu.storage("no sums", 0)?,
            heads: c.num_attention_heads,
            publishing: Cell::new(true),
            sites,
            chosen,
        })
    }

    /// Whether who makes x publishes A x, in plans that are recorded from now on: not so where the
    /// device has been found to compute that wrong.
    pub(crate) fn allow_publishing(&self, allowed: bool) {
        self.publishing.set(allowed);
    }

    /// What its pipelines follow from beside the model's own: the same for choices that differ in
    /// their numbers alone.
    pub(crate) fn layout(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for site in self.sites.iter().flatten() {
            let table = site.as_ref().map(|site| (bytemuck::bytes_of(&site.table), site.fused.is_some()));
            table.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// What is added to a linear layer.
    pub fn site(&self, layer: u32, op: Op) -> Option<&Site> {
        let at = OPS.iter().position(|other| *other == op)?;
        self.sites.get(layer as usize)?[at].as_ref()
    }

    /// Whether A x is published anywhere, so that a token begins with sums of zero.
    pub(crate) fn publishes(&self) -> bool {
        self.publishing.get() && self.sites.iter().flatten().flatten().any(|site| site.fused.is_some())
    }

    /// What [`Adapted::bytes`] of a choice will be, before any of it is there.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn bytes_of(model: &Model, chosen: &[Chosen]) -> u64 {
        let layers = 0..model.config().num_hidden_layers;
        let all = layers.flat_map(|layer| OPS.map(|op| (layer, op)));
        let all: Vec<_> = all.filter_map(|(layer, op)| Some((layer, op, table(model, chosen, layer, op)?))).collect();
        let (storage, mut sums) = (|floats: u32| Gpu::storage_bytes(4 * u64::from(floats)), Sums::default());
        let mut site = |(layer, op, table): &(u32, Op, GpuLora)| {
            let weights = &model.layers[*layer as usize];
            let parts = || table.part[..table.parts as usize].iter();
            let a = storage(parts().map(|part| 16 * part.rank * part.cols).sum());
            let b = storage(parts().map(|part| 4 * part.rank * part.rows).sum());
            let apart = if stores_gate_up(model, *op) { weights.mlp_in.apart_table_bytes() } else { 0 };
            let fused = Fused::floats(model, weights, *op, table).map_or(0, |floats| {
                sums.take(*op, sum_bytes(*op, table, model.config()));
                storage(floats)
            });
            a + b + size_of::<GpuLora>() as u64 + apart + fused
        };
        let sites: u64 = all.iter().map(&mut site).sum();
        let ranks = all.iter().map(|(.., table)| table.rank).max();
        let scratch = scratch_bytes(model, ranks, all.iter().any(|(_, op, _)| stores_gate_up(model, *op)));
        let scratch = scratch.map(Gpu::storage_bytes);
        sites + scratch.iter().sum::<u64>() + sums.bytes() + 2 * Gpu::storage_bytes(0)
    }

    /// Bytes on the GPU.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn bytes(&self) -> u64 {
        let tables = |site: &Site| site.uniform.size() + site.apart.as_ref().map_or(0, Matrix::table_bytes);
        let sites = self.sites.iter().flatten().flatten();
        sites.map(tables).chain(self.buffers().map(wgpu::Buffer::size)).sum()
    }

    /// Overwrites what a step keeps of it with NaN, which in whole numbers is -1.
    pub(crate) fn poison(&self, gpu: &Gpu) {
        for buffer in [&self.t, &self.gate_up].into_iter().chain(&self.sums) {
            gpu.write(buffer, 0, &vec![0xff; buffer.size() as usize]);
        }
    }

    /// The storage buffers.
    fn buffers(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        self.sites.iter().flatten().flatten().flat_map(Site::buffers).chain(self.own_buffers())
    }

    /// Those that are no site's.
    fn own_buffers(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        [&self.t, &self.gate_up, &self.nothing, &self.unwritten].into_iter().chain(&self.sums)
    }
}

// A browser gives the memory of a buffer back when the collector has found it, which may be never:
// it knows nothing of a GPU's.
impl Drop for Adapted {
    fn drop(&mut self) {
        self.own_buffers().for_each(wgpu::Buffer::destroy);
    }
}

impl Site {
    fn buffers(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        [&self.a, &self.b].into_iter().chain(self.fused.as_ref().map(|fused| &fused.columns))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.buffers().for_each(wgpu::Buffer::destroy);
    }
}

/// Whether a linear layer makes the SwiGLU of two sums and cannot add adapters to them itself.
fn stores_gate_up(model: &Model, op: Op) -> bool {
    op == Op::MlpIn && model.target().tokens(true).linear(op) != Variant::Tile
}

/// Bytes of t with so many vec4s of ranks in a row, and of gate | up where they are stored.
fn scratch_bytes(model: &Model, ranks: Option<u32>, stores_gate_up: bool) -> [u64; 2] {
    let tokens = u64::from(model.chunk());
    let gate_up = if stores_gate_up { 8 * u64::from(model.config().intermediate_size) } else { 0 };
    [16 * u64::from(ranks.unwrap_or(1)) * tokens, gate_up * tokens]
}

fn sites(model: &Model, chosen: &[Chosen], layer: u32, sums: &mut Sums) -> Result<[Option<Site>; 4]> {
    let [project_in, project_out, mlp_in, mlp_out] = OPS.map(|op| site(model, chosen, layer, op, sums));
    Ok([project_in?, project_out?, mlp_in?, mlp_out?])
}

/// Where the adapters of a linear layer lie; nothing where it has none.
fn table(model: &Model, chosen: &[Chosen], layer: u32, op: Op) -> Option<GpuLora> {
    let (places, [x_stride, y_stride, rows]) = places(op, model.config(), &model.strides);
    let mut table = GpuLora { x_stride: x_stride / 4, y_stride, rows, ..GpuLora::default() };
    let (mut a, mut b) = (0, 0);
    for Place { projection, first_row, x, rows, cols } in places {
        let ranks: u32 = deltas(chosen, layer, projection).map(|(_, delta)| delta.rank).sum();
        if ranks == 0 {
            continue;
        }
        debug_assert!((table.parts as usize) < MAX_PARTS);
        let (rank, cols) = (ranks.div_ceil(4), cols.div_ceil(4));
        table.part[table.parts as usize] = GpuLoraPart { first_row, rows, rank, t: table.rank, x: x / 4, cols, a, b };
        a += 4 * rank * cols;
        b += rows * rank;
        table.parts += 1;
        table.rank += rank;
    }
    (table.parts > 0).then_some(table)
}

/// What changes a projection, and how strongly.
fn deltas(chosen: &[Chosen], layer: u32, projection: Projection) -> impl Iterator<Item = (f32, &Delta)> + Clone {
    chosen.iter().filter_map(move |chosen| Some((chosen.scale, chosen.adapter().delta(layer, projection)?)))
}

fn site(model: &Model, chosen: &[Chosen], layer: u32, op: Op, sums: &mut Sums) -> Result<Option<Site>> {
    let gpu: &Gpu = model.gpu();
    let Some(table) = table(model, chosen, layer, op) else { return Ok(None) };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let (places, _) = places(op, model.config(), &model.strides);
    let changed = places.iter().filter(|place| deltas(chosen, layer, place.projection).next().is_some());
    for (place, part) in changed.zip(&table.part) {
        fill(deltas(chosen, layer, place.projection), place, part, &mut a, &mut b);
    }
    let weights = &model.layers[layer as usize];
    let apart = stores_gate_up(model, op).then(|| weights.mlp_in.apart(gpu, model.config().intermediate_size));
    let fused = Fused::new(model, weights, op, &table, &a, sums)?;
    Ok(Some(Site {
        a: gpu.storage_of("adapters, A", &a)?,
        b: gpu.storage_of("adapters, B", &b)?,
        uniform: gpu.uniform("adapters", bytemuck::bytes_of(&table)),
        table,
        apart,
        fused,
    }))
}

/// The power of two that brings the largest magnitude to between 1 and 2, as far as 2^60 can.
fn to_one(row: &[f32]) -> f32 {
    let largest = row.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
    let exponent = (largest.to_bits() >> 23) as i32 - 127;
    if largest == 0.0 { 1.0 } else { 2f32.powi(-exponent.clamp(-60, 60)) }
}

/// Lays out what adapters add to one projection: their ranks beside each other, rows padded to
/// whole vec4s with zeros.
fn fill<'a>(
    deltas: impl Iterator<Item = (f32, &'a Delta)> + Clone,
    place: &Place,
    part: &GpuLoraPart,
    a: &mut Vec<f32>,
    b: &mut Vec<f32>,
) {
    // A power of two that goes from A to B changes nothing but the range of t: see
    // `shaders/lora/publish.wgsl`.
    let by: Vec<f32> = deltas.clone().flat_map(|(_, delta)| delta.a.chunks_exact(delta.cols()).map(to_one)).collect();
    for (row, by) in deltas.clone().flat_map(|(_, delta)| delta.a.chunks_exact(place.cols as usize)).zip(&by) {
        a.extend(row.iter().map(|value| value * by));
        a.resize(a.len().next_multiple_of(4), 0.0);
    }
    a.resize(4 * (part.a + 4 * part.rank * part.cols) as usize, 0.0);
    for row in 0..place.rows as usize {
        let scaled = deltas.clone().flat_map(|(scale, delta)| {
            let width = delta.rank as usize;
            delta.b[row * width..(row + 1) * width].iter().map(move |value| value * scale)
        });
        b.extend(scaled.zip(&by).map(|(value, by)| value / by));
        b.resize(b.len().next_multiple_of(4), 0.0);
    }
}
