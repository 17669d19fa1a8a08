//! Adapters in decode on a GPU, without dispatches of their own. Who makes x (the mixers, a linear
//! layer) multiplies the few values that a workgroup has with their columns of A, and adds that to
//! exact sums: `shaders/lora/publish.wgsl`; attention's heads, which are few, leave it as numbers
//! of each. The linear layer that reads x adds B t on the way: `shaders/lora/published.wgsl`. What
//! nobody publishes, [`LoraDown`](super::LoraDown) makes.

use std::num::NonZeroU64;

use super::{Adapted, GpuLora, GpuLoraPart, Site};
use crate::config::Config;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::{Bound, Constant, Constants, constants, kernels};
use crate::model::{Layer, Model};
use crate::ops::linear::Input;
use crate::ops::{Op, Recorder};
use crate::plan::Needed;

/// Most ranks of a linear layer's adapters whose t is published: invocations of a workgroup.
const MOST_RANKS: u32 = 256;
/// Most of them that one row has.
const MOST_ROW_RANKS: u32 = 64;
/// Most numbers of slots, or of attention's heads, that a workgroup stages for its rows: 8 KiB.
const MOST_SHARES: u32 = 2048;
/// Most workgroups that add to one sum: what a digit of `shaders/lora/publish.wgsl` has room for.
const MOST_GROUPS: u32 = 8192;
/// Most slots of a sum.
pub const MOST_SLOTS: u32 = 16;
/// Most of them where more workgroups would read them than add to them.
const FEWER_SLOTS: u32 = 8;
/// Most ranks of a row for which a workgroup stages that many on the way to its weights.
const QUICK_RANKS: u32 = 16;
/// Workgroups that may add to the same slot before they wait for each other longer than reading one
/// more takes.
const GROUPS_OF_SLOT: u32 = 32;
/// Bytes of a sum: its slots and digits.
const SUM_BYTES: u64 = 16 * MOST_SLOTS as u64;
/// Invocations of [`LoraClear`].
const THREADS: u32 = 256;

kernels! {
    /// Sums begin at zero.
    LoraClear = LORA_CLEAR { THREADS: u32 } (first: write [u32; 4], second: write [u32; 4])
}

/// What makes t of a linear layer before it: A as columns, so that a row of x finds its own
/// together.
pub struct Fused {
    /// A \[x, ranks\], then the weight of the norm between. Before `project_out` the mixers' own
    /// weights, A of o_proj, of out_proj, and the weight of the SSM heads' norm.
    pub columns: wgpu::Buffer,
    /// Where in it the norm's weight begins.
    pub norm: Option<u32>,
    /// Before `project_out`: of o_proj and out_proj, where A begins and its ranks. In t those of
    /// o_proj come first.
    pub heads: [[u32; 2]; 2],
    /// All its ranks.
    pub ranks: u32,
    /// Which of the two buffers the sums lie in, and where.
    at: (usize, u64),
    /// Bytes of the sums.
    bytes: u64,
}

/// How long the two buffers of sums are: one for the linear layers that read the residual stream,
/// one for the others, since no dispatch may read and write the same.
#[derive(Default)]
pub struct Sums([u64; 2]);

impl Sums {
    /// Room for those of a linear layer: in which of the two, and where.
    pub fn take(&mut self, op: Op, bytes: u64) -> (usize, u64) {
        let which = usize::from(matches!(op, Op::ProjectOut | Op::MlpOut));
        let at = self.0[which];
        self.0[which] = (at + bytes).next_multiple_of(256);
        (which, at)
    }

    /// What the buffers take.
    pub fn bytes(&self) -> u64 {
        self.0.map(Gpu::storage_bytes).iter().sum()
    }

    /// The buffers.
    pub fn buffers(&self, gpu: &Gpu) -> Result<[wgpu::Buffer; 2]> {
        let [first, second] = self.0.map(|bytes| gpu.storage("adapters, sums", bytes));
        Ok([first?, second?])
    }
}

/// Columns of some ranks of A \[ranks, stride\].
fn columns(a: &[f32], stride: usize, ranks: u32, cols: u32) -> impl Iterator<Item = f32> + '_ {
    (0..cols as usize).flat_map(move |col| (0..ranks as usize).map(move |rank| a[rank * stride + col]))
}

/// The norm before a linear layer that is part of it: its weight, and how many values it has.
fn norm_before<'a>(layer: &'a Layer, op: Op, c: &Config) -> Option<(&'a wgpu::Buffer, u32)> {
    match op {
        Op::ProjectIn => Some((&layer.input_layernorm, c.hidden_size)),
        Op::MlpIn => Some((&layer.pre_ff_layernorm, c.hidden_size)),
        Op::ProjectOut => layer.mamba_norm.as_ref().map(|norm| (norm, c.mamba_d_ssm)),
        _ => None,
    }
}

impl Fused {
    /// How long [`Fused::columns`] of a linear layer would be; nothing where there would be none.
    pub(super) fn floats(model: &Model, layer: &Layer, op: Op, table: &GpuLora) -> Option<u32> {
        let c = model.config();
        let takes = 4 * table.rank <= MOST_RANKS
            && row_ranks(op, table) <= MOST_ROW_RANKS
            && t_shares(op, table, most_slots(op, table), c.num_attention_heads) <= MOST_SHARES;
        if !takes || !model.target().tokens(false).fused() {
            return None;
        }
        let parts = table.part[..table.parts as usize].iter();
        let columns = match op {
            Op::ProjectOut => {
                let of = |part: &GpuLoraPart| 4 * part.rank * if part.x == 0 { c.q_dim() } else { c.mamba_d_ssm };
                layer.mamba.size() as u32 / 4 + parts.map(of).sum::<u32>()
            }
            Op::MlpOut => 4 * table.rank * c.intermediate_size,
            _ => 4 * table.rank * c.hidden_size,
        };
        Some(columns + norm_before(layer, op, c).map_or(0, |(_, width)| width))
    }

    /// Of a linear layer, with `a` and the table of its [`Site`]; nothing where it has too many
    /// ranks.
    pub(super) fn new(
        model: &Model,
        layer: &Layer,
        op: Op,
        table: &GpuLora,
        a: &[f32],
        sums: &mut Sums,
    ) -> Result<Option<Self>> {
        let ranks = 4 * table.rank;
        let parts = &table.part[..table.parts as usize];
        let Some(floats) = Self::floats(model, layer, op, table) else { return Ok(None) };
        let (gpu, c) = (model.gpu(), model.config());
        let columns_of =
            |part: &GpuLoraPart, cols| columns(&a[4 * part.a as usize..], 4 * part.cols as usize, 4 * part.rank, cols);
        let mut heads = [[0; 2]; 2];
        let mut values: Vec<f32> = Vec::with_capacity(floats as usize);
        let mut copies = Vec::new();
        if op == Op::ProjectOut {
            copies.push((&layer.mamba, 0, layer.mamba.size()));
            values.resize(layer.mamba.size() as usize / 4, 0.0);
            for part in parts {
                let (at, cols) = if part.x == 0 { (0, c.q_dim()) } else { (1, c.mamba_d_ssm) };
                heads[at] = [values.len() as u32, 4 * part.rank];
                values.extend(columns_of(part, cols));
            }
        } else {
            // All parts read the same x.
            let cols = if op == Op::MlpOut { c.intermediate_size } else { c.hidden_size };
            let mut rows: Vec<_> = parts.iter().map(|part| (columns_of(part, cols), 4 * part.rank as usize)).collect();
            for _ in 0..cols {
                rows.iter_mut().for_each(|(values_of, ranks)| values.extend(values_of.by_ref().take(*ranks)));
            }
        }
        let norm = norm_before(layer, op, c).map(|(weight, width)| {
            let first = values.len();
            copies.push((weight, 4 * first as u64, 4 * u64::from(width)));
            values.resize(first + width as usize, 0.0);
            first as u32
        });
        debug_assert_eq!(values.len(), floats as usize);
        let columns = gpu.storage_of("adapters, A as columns", &values)?;
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (from, to, bytes) in copies {
            encoder.copy_buffer_to_buffer(from, 0, &columns, to, bytes);
        }
        gpu.queue().submit([encoder.finish()]);
        let bytes = sum_bytes(op, table, c);
        Ok(Some(Self { columns, norm, heads, ranks, at: sums.take(op, bytes), bytes }))
    }
}

/// Bytes of the sums of a linear layer's adapters, and of what attention's heads leave.
pub(super) fn sum_bytes(op: Op, table: &GpuLora, c: &Config) -> u64 {
    let numbers = c.num_attention_heads * head_ranks(op, table);
    SUM_BYTES * u64::from(4 * table.rank) + 16 * u64::from(numbers)
}

/// What a workgroup stages of the t that its rows want: a number of each slot, or head.
fn t_shares(op: Op, table: &GpuLora, slots: u32, heads: u32) -> u32 {
    let shares = if head_ranks(op, table) > 0 { slots.max(heads) } else { slots };
    shares * row_ranks(op, table)
}

/// Where in the sums of so many ranks the heads' numbers begin, in sums.
pub fn heads_at(ranks: u32) -> u32 {
    MOST_SLOTS * ranks
}

/// Ranks of o_proj, the first ones of `project_out`.
fn head_ranks(op: Op, table: &GpuLora) -> u32 {
    match table.part[0] {
        part if op == Op::ProjectOut && part.x == 0 => 4 * part.rank,
        _ => 0,
    }
}

/// Most ranks that a row of a linear layer has.
fn row_ranks(op: Op, table: &GpuLora) -> u32 {
    let parts = &table.part[..table.parts as usize];
    match op {
        Op::ProjectIn => 4 * parts.iter().map(|part| part.rank).max().unwrap_or(0),
        _ => 4 * table.rank,
    }
}

/// The t of a linear layer's adapters, made before it.
#[derive(Clone, Copy, PartialEq)]
pub struct Published {
    layer: u32,
    op: Op,
    slots: u32,
}

/// Most slots of the sums of a linear layer's adapters. `mlp_in` has most workgroups, which add to
/// what `mlp_out` reads.
fn most_slots(op: Op, table: &GpuLora) -> u32 {
    if op == Op::MlpOut && row_ranks(op, table) <= QUICK_RANKS { MOST_SLOTS } else { FEWER_SLOTS }
}

/// Slots of the sums of a linear layer's adapters that so many workgroups add to.
fn slots_of(groups: u32, op: Op, table: &GpuLora) -> u32 {
    groups.div_ceil(GROUPS_OF_SLOT).next_power_of_two().min(most_slots(op, table))
}

/// What a linear layer adds of its adapters.
#[derive(Clone, Copy)]
pub struct Shares {
    table: Option<GpuLora>,
    op: Op,
    /// Whether the parts that are in the norm's range are under a norm.
    normed: bool,
    /// Slots of the sums that t is in; nothing where it is there as a number.
    slots: Option<u32>,
    /// Attention's heads, which leave t of o_proj as numbers of each.
    heads: u32,
}

/// The names of a part as override constants of `shaders/lora/published.wgsl`.
#[rustfmt::skip]
const PART_CONSTANTS: [[&str; 6]; super::MAX_PARTS] = [
    ["LORA_FIRST_0", "LORA_ROWS_0", "LORA_RANKS_0", "LORA_T_0", "LORA_B_0", "LORA_SUM_0"],
    ["LORA_FIRST_1", "LORA_ROWS_1", "LORA_RANKS_1", "LORA_T_1", "LORA_B_1", "LORA_SUM_1"],
    ["LORA_FIRST_2", "LORA_ROWS_2", "LORA_RANKS_2", "LORA_T_2", "LORA_B_2", "LORA_SUM_2"],
    ["LORA_FIRST_3", "LORA_ROWS_3", "LORA_RANKS_3", "LORA_T_3", "LORA_B_3", "LORA_SUM_3"],
];

const SHARE_CONSTANTS: [&str; 8] =
    ["ROW_RANKS", "SHARE_RANKS", "PUBLISHED", "READ_SLOTS", "T_SHARES", "HEADS", "HEAD_RANKS", "HEADS_AT"];

impl Constants for Shares {
    fn push(&self, constants: &mut Vec<(&'static str, f64)>) {
        let Some(table) = &self.table else { return };
        let mut push = |name, value: u32| constants.push((name, f64::from(value)));
        let ranks = row_ranks(self.op, table);
        push("ROW_RANKS", ranks);
        push("SHARE_RANKS", 4 * table.rank);
        if let Some(slots) = self.slots {
            push("PUBLISHED", 1);
            push("READ_SLOTS", slots);
            push("T_SHARES", t_shares(self.op, table, slots, self.heads));
            let of_heads = head_ranks(self.op, table);
            if of_heads > 0 {
                push("HEADS", self.heads);
                push("HEAD_RANKS", of_heads);
                push("HEADS_AT", heads_at(4 * table.rank));
            }
        }
        for (part, names) in table.part[..table.parts as usize].iter().zip(PART_CONSTANTS) {
            // Up's rows are gate's, of the second sum.
            let is_up = self.op == Op::MlpIn && part.first_row > 0;
            let sum = match self.op {
                Op::MlpIn if is_up => 2,
                Op::ProjectOut => u32::from(self.normed && part.x > 0),
                _ => u32::from(self.normed),
            };
            let first_row = if is_up { 0 } else { part.first_row };
            let values = [first_row, part.rows, 4 * part.rank, 4 * part.t, 4 * part.b, sum];
            constants.extend(names.into_iter().zip(values.map(f64::from)));
        }
    }

    fn declare(constants: &mut Vec<Constant>) {
        let names = PART_CONSTANTS.into_iter().flatten().chain(SHARE_CONSTANTS);
        constants.extend(names.map(|name| Constant { name, scalar: "u32", optional: true }));
    }
}

/// A linear layer in decode with adapters, or before one with them: what is bound beside the
/// layer's own.
pub struct Beside<'a> {
    /// What it adds.
    pub shares: Shares,
    /// What it makes for the next layer.
    pub next: Option<Next>,
    /// B of what it adds.
    pub lora_b: &'a wgpu::Buffer,
    /// t of it.
    pub sums_in: Bound,
    /// A of the next layer.
    pub lora_a: &'a wgpu::Buffer,
    /// t of it.
    pub sums_out: Bound,
}

constants! {
    /// t of the next layer.
    Next {
        /// All its ranks.
        SUM_RANKS: u32,
        /// Slots of a sum.
        SLOTS: u32,
        /// Where in A the weight of the norm between begins.
        NEXT_NORM: Option<u32>,
    }
}

impl Adapted {
    /// The sums of a linear layer.
    pub(super) fn sums_of(&self, site: &Site) -> Option<Bound> {
        let fused = site.fused.as_ref()?;
        let (which, offset) = fused.at;
        Some(Bound { buffer: self.sums[which].clone(), range: Some((offset, NonZeroU64::new(fused.bytes)?)) })
    }
}

impl<'a> Recorder<'a> {
    /// Before the first dispatch of a token that publishes.
    pub fn lora_clear(&mut self) {
        let Some(adapted) = self.adapted.filter(|adapted| self.target().fused() && adapted.publishes()) else { return };
        let [first, second] = &adapted.sums;
        let kernel = LoraClear { THREADS, first, second };
        let groups = (first.size().max(second.size()) / 16).div_ceil(THREADS.into()) as u32;
        self.call(Op::Embed, &kernel, Needed::Always, move |_| [groups, 1, 1]);
    }

    /// The linear layer that reads what this one makes, where it wants its t from so many
    /// workgroups.
    fn next_site(&self, op: Op, groups: u32) -> Option<(u32, Op, &'a Site)> {
        let layer = self.layer?;
        let next = match op {
            Op::Mixer => (layer, Op::ProjectOut),
            Op::ProjectOut => (layer, Op::MlpIn),
            Op::MlpIn => (layer, Op::MlpOut),
            Op::MlpOut => (layer + 1, Op::ProjectIn),
            _ => return None,
        };
        let site = self.adapted.filter(|adapted| adapted.publishes())?.site(next.0, next.1)?;
        (site.fused.is_some() && groups <= MOST_GROUPS).then_some((next.0, next.1, site))
    }

    /// What the mixers publish the t of `project_out` with, in so many workgroups, the sums that
    /// they add to, and their slots.
    pub(in super::super) fn publish_mixed(&mut self, groups: u32) -> Option<(&'a Fused, Bound, u32)> {
        let (layer, op, site) = self.next_site(Op::Mixer, groups)?;
        let slots = slots_of(groups, op, &site.table);
        self.published = Some(Published { layer, op, slots });
        Some((site.fused.as_ref()?, self.adapted?.sums_of(site)?, slots))
    }

    /// Slots of the sums that a linear layer's t is in.
    fn slots(&self, op: Op) -> Option<u32> {
        let published = self.published.filter(|published| (Some(published.layer), published.op) == (self.layer, op))?;
        self.site(op)?;
        Some(published.slots)
    }

    /// Bytes of workgroup memory that a linear layer wants for its t.
    pub(in super::super) fn bytes_beside(&self, op: Op) -> u32 {
        let (Some(slots), Some((adapted, site))) = (self.slots(op), self.site(op)) else { return 0 };
        4 * t_shares(op, &site.table, slots, adapted.heads)
    }

    /// What a linear layer of so many workgroups has beside it; nothing where neither it nor the
    /// next one has adapters. Its t is made here where nobody has published it.
    pub(in super::super) fn beside(&mut self, op: Op, groups: u32, input: Input<'_>) -> Option<Beside<'a>> {
        let adapted = self.adapted?;
        let site = adapted.site(self.layer?, op);
        let next = self.next_site(op, groups);
        if site.is_none() && next.is_none() {
            return None;
        }
        let slots = self.slots(op);
        self.published = None;
        if let Some(site) = site.filter(|_| slots.is_none()) {
            self.lora_down(op, (adapted, site), input);
        }
        let (table, normed) = (site.map(|site| site.table), input.norm.is_some());
        let shares = Shares { table, op, normed, slots, heads: adapted.heads };
        let t = || Bound::from(&adapted.t);
        let sums_in = site.map_or_else(t, |site| adapted.sums_of(site).filter(|_| slots.is_some()).unwrap_or_else(t));
        let mut beside = Beside {
            shares,
            next: None,
            lora_b: site.map_or(&adapted.nothing, |site| &site.b),
            sums_in,
            lora_a: &adapted.nothing,
            sums_out: Bound::from(&adapted.unwritten),
        };
        if let Some((layer, op, site)) = next
            && let (Some(fused), Some(sums)) = (&site.fused, adapted.sums_of(site))
        {
            let slots = slots_of(groups, op, &site.table);
            self.published = Some(Published { layer, op, slots });
            beside.next = Some(Next { SUM_RANKS: 4 * site.table.rank, SLOTS: slots, NEXT_NORM: fused.norm });
            (beside.lora_a, beside.sums_out) = (&fused.columns, sums);
        }
        Some(beside)
    }
}
