//! The KV cache: pages of [`PAGE`] positions in one arena a model, shared by all its sessions and
//! snapshots.
//!
//! A page is a slot of the arena, the same in every layer's buffer, so a sequence is a list of
//! slots, which the kernels read from a small uniform buffer (`shaders/kv/kv.wgsl`). Rows are only
//! ever appended. Whoever holds a page at row r may append to it where nobody has gone beyond r
//! yet, or where nobody else holds it; otherwise the rows before r are first copied to a page of
//! its own. So a snapshot, a fork or a way back costs no copy of keys and values, and a branch at
//! most a part of one page.
//!
//! WebGPU has neither pointers nor sparse buffers: an arena that is full moves to one twice as
//! large, copied on the device, buffer by buffer. Recorded plans stay as they are: the arena's
//! buffers have a bind group of their own, which belongs to the arena.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::state::KvType;

/// Positions of a page: `PAGE` of `shaders/kv/kv.wgsl`.
pub const PAGE: u32 = 128;

/// Most pages of a sequence: the length of `pages` in the kernels.
pub const MAX_PAGES: u32 = 2048;

/// `pages` in the kernels: the slots of a sequence.
pub type PageTable = [[u32; 4]; MAX_PAGES as usize / 4];

crate::kernels::wgsl! {
    PageTable: format!("array<vec4<u32>, {}>", MAX_PAGES / 4);
}

/// Pages of a fresh arena.
const FIRST_PAGES: u32 = 2;

/// Pages of an arena that has `before` and needs `needed`; up to `context` pages, which one full
/// sequence needs, it doubles.
fn larger(before: u32, needed: u32, context: u32) -> u32 {
    let twice = needed.max(FIRST_PAGES).checked_next_power_of_two().unwrap_or(needed);
    match needed <= context {
        true => twice.min(context),
        // What branches add is not known: a quarter more.
        false => needed.max(before.saturating_add(before / 4)),
    }
}

/// Pages of an arena for a full sequence of `context_length`, and of the one before it, from which
/// it is filled.
pub(super) fn full(context_length: u32) -> (u32, u32) {
    let pages = context_length.div_ceil(PAGE);
    let before = pages.saturating_sub(1).checked_ilog2().map_or(0, |log| 1 << log);
    (pages, if before < FIRST_PAGES { 0 } else { before })
}

/// The pages of one model.
pub struct Arena {
    gpu: Gpu,
    kv: KvType,
    layers: usize,
    page_bytes: u64,
    head_dim: u32,
    /// Most tokens of a sequence.
    context_length: Cell<u32>,
    /// Of them there is room for so many.
    allowed_pages: Cell<u32>,
    /// There are no more pages than the sequences may need: what only snapshots hold goes when
    /// there is no room.
    bounded: bool,
    buffers: RefCell<Vec<wgpu::Buffer>>,
    capacity: Cell<u32>,
    free: RefCell<Vec<u32>>,
    /// Sequences that may ask for pages.
    states: Cell<u32>,
    /// Bind group 1 of a pipeline over a layer's buffer.
    bound: RefCell<HashMap<(usize, usize), wgpu::BindGroup>>,
}

/// A page that somebody holds.
pub(crate) struct Slot {
    arena: Rc<Arena>,
    index: u32,
    /// Rows that somebody has written.
    written: Cell<u32>,
}

/// A share in a page.
pub(crate) type Page = Rc<Slot>;

impl Slot {
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.arena.free.borrow_mut().push(self.index);
        self.arena.trim();
    }
}

impl Arena {
    /// An arena without pages.
    pub(crate) fn new(gpu: &Gpu, config: &Config, kv: KvType, context_length: u32, bounded: bool) -> Rc<Self> {
        Rc::new(Self {
            gpu: gpu.clone(),
            kv,
            layers: config.num_hidden_layers as usize,
            page_bytes: kv.page_bytes(config),
            head_dim: config.head_dim,
            context_length: Cell::new(context_length),
            allowed_pages: Cell::new(full(context_length).0),
            bounded,
            buffers: RefCell::default(),
            capacity: Cell::new(0),
            free: RefCell::default(),
            states: Cell::new(0),
            bound: RefCell::default(),
        })
    }

    /// How keys and values are kept.
    pub fn kv_type(&self) -> KvType {
        self.kv
    }

    /// hd
    pub(crate) fn head_dim(&self) -> u32 {
        self.head_dim
    }

    /// Bytes on the GPU.
    pub fn bytes(&self) -> u64 {
        self.buffers.borrow().iter().map(wgpu::Buffer::size).sum()
    }

    /// Pages there is room for, and pages in use.
    pub fn pages(&self) -> (u32, u32) {
        let capacity = self.capacity.get();
        (capacity, capacity - self.free.borrow().len() as u32)
    }

    /// Bytes of a page, all layers.
    pub fn bytes_of_page(&self) -> u64 {
        self.page_bytes * self.layers as u64
    }

    /// A layer's buffer.
    pub(crate) fn layer(&self, layer: usize) -> wgpu::Buffer {
        self.buffers.borrow()[layer].clone()
    }

    /// Where row `row` of a page's keys (or of its values) begins in a layer's buffer, in bytes.
    pub(crate) fn offset(&self, page: u32, values: bool, row: u32) -> u64 {
        let half = self.page_bytes / 2;
        u64::from(page) * self.page_bytes + u64::from(values) * half + u64::from(row) * (half / u64::from(PAGE))
    }

    /// Bind group 1 of a pipeline.
    pub(crate) fn bind_group(&self, pipeline: &Rc<wgpu::ComputePipeline>, layer: usize) -> wgpu::BindGroup {
        let mut bound = self.bound.borrow_mut();
        let group = bound.entry((Rc::as_ptr(pipeline) as usize, layer)).or_insert_with(|| {
            self.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("KV cache"),
                layout: &pipeline.get_bind_group_layout(1),
                entries: &[wgpu::BindGroupEntry {
                    binding: 0,
                    resource: self.buffers.borrow()[layer].as_entire_binding(),
                }],
            })
        });
        group.clone()
    }

    /// Most tokens of a sequence.
    pub fn context_length(&self) -> u32 {
        self.context_length.get()
    }

    /// Pages of one full sequence.
    fn context_pages(&self) -> u32 {
        full(self.context_length()).0
    }

    /// Sequences may have so many tokens from now on: their pages come as they are needed.
    pub(crate) fn grow(&self, context_length: u32) {
        self.context_length.set(context_length);
    }

    /// From now on a sequence has room for so many tokens.
    pub(crate) fn allow(&self, tokens: u32) {
        self.allowed_pages.set(full(tokens).0.min(self.context_pages()));
    }

    /// Sees to it that `count` more pages can be taken.
    fn make_room(&self, count: u32) -> Result<()> {
        let (before, used) = self.pages();
        let needed = used + count;
        if needed <= before {
            return Ok(());
        }
        let limit = self.gpu.max_binding();
        let pages = self.allowed_pages.get();
        let allowed = match self.bounded || pages < self.context_pages() {
            true => limit.min(u64::from(pages) * u64::from(self.states.get().max(1)) * self.page_bytes),
            false => limit,
        };
        let most = u32::try_from(allowed / self.page_bytes).unwrap_or(u32::MAX);
        if needed > most {
            let bytes = u64::from(needed) * self.page_bytes;
            return Err(Error::OutOfMemory {
                what: "a layer's KV cache".into(),
                bytes: Some(bytes),
                limit: Some(allowed),
            });
        }
        let capacity = larger(before, needed, self.context_pages()).min(most);
        let room = |_| self.gpu.storage("KV cache", u64::from(capacity) * self.page_bytes);
        let larger = (0..self.layers).map(room).collect::<Result<Vec<_>>>()?;
        let smaller = self.buffers.replace(larger);
        if !smaller.is_empty() {
            let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
            for (old, buffer) in smaller.iter().zip(&*self.buffers.borrow()) {
                encoder.copy_buffer_to_buffer(old, 0, buffer, 0, old.size());
            }
            self.gpu.queue().submit([encoder.finish()]);
            smaller.iter().for_each(wgpu::Buffer::destroy);
        }
        self.bound.borrow_mut().clear();
        self.capacity.set(capacity);
        // The lowest first.
        self.free.borrow_mut().splice(0..0, (before..capacity).rev());
        Ok(())
    }

    fn take(self: &Rc<Self>) -> Option<Page> {
        let index = self.free.borrow_mut().pop()?;
        Some(Rc::new(Slot { arena: self.clone(), index, written: Cell::new(0) }))
    }

    /// Gives the memory back where no sequence is left.
    fn trim(&self) {
        if self.states.get() == 0 && self.pages().1 == 0 {
            self.bound.borrow_mut().clear();
            self.buffers.borrow_mut().drain(..).for_each(|buffer| buffer.destroy());
            self.free.borrow_mut().clear();
            self.capacity.set(0);
        }
    }
}

/// The pages of one sequence, and the table of them that its kernels read.
pub(crate) struct Pages {
    arena: Rc<Arena>,
    held: Vec<Page>,
    table: wgpu::Buffer,
}

impl Pages {
    pub fn new(arena: &Rc<Arena>) -> Self {
        arena.states.set(arena.states.get() + 1);
        let table = arena.gpu.uniform("pages", &[0; TABLE_BYTES as usize]);
        Self { arena: arena.clone(), held: Vec::new(), table }
    }

    pub fn arena(&self) -> &Rc<Arena> {
        &self.arena
    }

    pub fn table(&self) -> &wgpu::Buffer {
        &self.table
    }

    pub fn held(&self) -> &[Page] {
        &self.held
    }

    pub fn clear(&mut self) {
        self.held.clear();
    }

    /// Shares in the pages of the first `position` positions.
    pub fn share(&self, position: u32) -> Vec<Page> {
        self.held[..(position.div_ceil(PAGE) as usize).min(self.held.len())].to_vec()
    }

    /// Goes on after what `pages` hold.
    pub fn become_those(&mut self, pages: &[Page]) {
        self.held = pages.to_vec();
        self.write_table(0);
    }

    /// Writes the table from page `first` on.
    fn write_table(&self, first: usize) {
        let slots: Vec<u32> = self.held[first..].iter().map(|page| page.index).collect();
        if !slots.is_empty() {
            self.arena.gpu.write(&self.table, 4 * first as u64, bytemuck::cast_slice(&slots));
        }
    }

    /// Makes the rows of positions \[`from`, `to`) this sequence's to write. Returns whether it has
    /// other pages than before.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; nothing has changed then.
    pub fn reserve(&mut self, from: u32, to: u32) -> Result<bool> {
        let (first, end) = ((from / PAGE) as usize, to.div_ceil(PAGE) as usize);
        let row_of = |page: usize| from.saturating_sub(page as u32 * PAGE);
        let is_own = |page: &Page, row: u32| page.written.get() == row || Rc::strong_count(page) == 1;
        let others: Vec<usize> =
            (first..end.min(self.held.len())).filter(|i| !is_own(&self.held[*i], row_of(*i))).collect();
        let fresh = end.saturating_sub(self.held.len());
        let changes = !others.is_empty() || fresh > 0;
        let unwritten = first.min(self.held.len());
        if changes {
            self.arena.make_room((others.len() + fresh) as u32)?;
            let mut encoder = self.arena.gpu.device().create_command_encoder(&Default::default());
            let mut between = Vec::new();
            for page in &others {
                let Some(own) = self.arena.take() else { unreachable!("there is room") };
                between.extend(self.copy_rows(&mut encoder, self.held[*page].index, own.index, row_of(*page)));
                self.held[*page] = own;
            }
            self.arena.gpu.queue().submit([encoder.finish()]);
            between.iter().for_each(wgpu::Buffer::destroy);
            self.held.extend((0..fresh).filter_map(|_| self.arena.take()));
            self.write_table(unwritten);
        }
        for page in first..end {
            self.held[page].written.set((to - page as u32 * PAGE).min(PAGE));
        }
        Ok(changes)
    }

    /// Through a buffer in between: WebGPU copies nothing from a buffer to itself.
    fn copy_rows(&self, encoder: &mut wgpu::CommandEncoder, from: u32, to: u32, rows: u32) -> Option<wgpu::Buffer> {
        let (arena, buffers) = (&self.arena, self.arena.buffers.borrow());
        let bytes = arena.offset(0, false, rows);
        if bytes == 0 {
            return None;
        }
        let between = arena.gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("page on its way"),
            size: 2 * bytes * buffers.len() as u64,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let halves = || buffers.iter().flat_map(|buffer| [(buffer, false), (buffer, true)]).zip(0_u64..);
        for ((buffer, values), i) in halves() {
            encoder.copy_buffer_to_buffer(buffer, arena.offset(from, values, 0), &between, i * bytes, bytes);
        }
        for ((buffer, values), i) in halves() {
            encoder.copy_buffer_to_buffer(&between, i * bytes, buffer, arena.offset(to, values, 0), bytes);
        }
        Some(between)
    }

    /// The rows of positions \[`from`, `to`) were reserved last, and what is in them will never be
    /// read.
    pub fn retract(&self, from: u32, to: u32) {
        let pages = (from / PAGE) as usize..to.div_ceil(PAGE) as usize;
        for (page, at) in self.held.iter().zip(0..).take(pages.end).skip(pages.start) {
            page.written.set(from.saturating_sub(at * PAGE));
        }
    }
}

/// Bytes of the table.
pub(super) const TABLE_BYTES: u64 = 4 * MAX_PAGES as u64;

impl Drop for Pages {
    fn drop(&mut self) {
        self.held.clear();
        self.table.destroy();
        self.arena.states.set(self.arena.states.get() - 1);
        self.arena.trim();
    }
}
