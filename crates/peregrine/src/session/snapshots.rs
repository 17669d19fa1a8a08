//! Places of a conversation that a session can go back to.
//!
//! A recurrent state cannot be cut back to an earlier position, so a session keeps copies of it: at the border before each turn,
//! after a prompt that was long to read and at regular distances inside it, and where it leaves a line for another one. An edited or
//! repeated request is then read from the nearest of them on. Keys and values are not copied but shared
//! ([`Arena`](crate::state::Arena)). What a snapshot costs is the recurrent state, 4 bytes for each of
//! layers x (d_ssm x d_state + conv_dim x d_conv) values, and the pages that only it still needs.

use std::collections::HashSet;
use std::rc::Rc;

use super::{Engine, Session};
use crate::chat::Transcript;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::state::{LayerState, Page, State};

/// Bytes on the GPU that a session spends on snapshots unless told otherwise.
const DEFAULT_BUDGET: u64 = 256 << 20;

/// A prompt of at least so many new tokens is worth a snapshot behind it.
const LONG_PROMPT: usize = 64;

/// Tokens between the snapshots inside a longer one.
const DISTANCE: u32 = 512;

/// Most bytes of a buffer of copies, if one layer is not more.
const COPIES: u64 = 64 << 20;

/// A place of a conversation: what had been read there, and the states. A session of the same engine can go to it. Cheap in
/// memory for keys and values, which are shared; the recurrent states are a copy.
pub struct Snapshot {
    engine: Rc<Engine>,
    /// What the session had read, and what of it the model had not run yet.
    pub(super) ids: Vec<u32>,
    pub(super) pending: usize,
    pub(super) consumed: Option<Transcript>,
    /// Empty where they will not be looked at: something is pending, or the place is inside a prompt.
    pub(super) logits: Vec<f32>,
    pages: Vec<Page>,
    /// conv and SSM states, several layers a buffer.
    copies: Vec<wgpu::Buffer>,
}

impl Snapshot {
    /// Tokens that the model had read.
    pub fn position(&self) -> u32 {
        (self.ids.len() - self.pending) as u32
    }

    /// Bytes of its copies on the GPU; its pages are shared with others.
    pub fn bytes(&self) -> u64 {
        self.copies.iter().map(wgpu::Buffer::size).sum()
    }
}

/// A snapshot that a session keeps by itself.
struct Kept {
    id: u64,
    /// The one that its line went on from.
    parent: Option<u64>,
    /// The clock when it was last of use.
    used: u64,
    snapshot: Snapshot,
}

/// The snapshots of one session, in the order in which they were taken.
///
/// When there are too many, the one goes whose tokens since its parent are the fewest, and those of long ago sooner: each counts from
/// the clock of its last use, and the clock is at what went last ("greedy dual"). So a long prompt is thinned out evenly.
pub(super) struct Snapshots {
    kept: Vec<Kept>,
    budget: u64,
    clock: u64,
    taken: u64,
    /// The one that the session goes on from.
    here: Option<u64>,
    /// The one that the session is about to go back to: it stays.
    wanted: Option<u64>,
}

impl Snapshots {
    /// None yet, and at most `budget` bytes of them.
    pub fn new(budget: Option<u64>) -> Self {
        Self {
            kept: Vec::new(),
            budget: budget.unwrap_or(DEFAULT_BUDGET),
            clock: 0,
            taken: 0,
            here: None,
            wanted: None,
        }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.here = None;
    }

    /// The session is at the beginning.
    pub fn leave(&mut self) {
        self.here = None;
    }

    fn position_of(&self, id: Option<u64>) -> u64 {
        let found = self.kept.iter().find(|kept| Some(kept.id) == id);
        found.map_or(0, |kept| kept.snapshot.position().into())
    }

    /// Bytes of copies, and of the pages that `state` does not have anyway.
    fn bytes(&self, state: &State) -> u64 {
        let live: HashSet<u32> = state.pages.held().iter().map(|page| page.index()).collect();
        let pages = self.kept.iter().flat_map(|kept| &kept.snapshot.pages).map(|page| page.index());
        let pages: HashSet<u32> = pages.filter(|page| !live.contains(page)).collect();
        let copies: u64 = self.kept.iter().map(|kept| kept.snapshot.bytes()).sum();
        copies + pages.len() as u64 * state.pages.arena().bytes_of_page()
    }

    /// Drops the one that is worth least: never the wanted one, and where none is wanted the newest only as the last. Its buffers can
    /// be used again; `None` where there is none to drop.
    fn evict(&mut self) -> Option<Vec<wgpu::Buffer>> {
        let worth = |kept: &Kept| {
            let position = u64::from(kept.snapshot.position());
            kept.used + position.saturating_sub(self.position_of(kept.parent))
        };
        let newest = if self.wanted.is_some() { 0 } else { 1 };
        let older = self.kept.len().saturating_sub(newest).max(1);
        let others = self.kept.iter().take(older).enumerate().filter(|(_, kept)| Some(kept.id) != self.wanted);
        let least = others.map(|(at, kept)| (worth(kept), at)).min();
        let (worth, at) = least?;
        self.clock = self.clock.max(worth);
        let Kept { id, parent, snapshot, .. } = self.kept.remove(at);
        for link in self.kept.iter_mut().map(|kept| &mut kept.parent).chain([&mut self.here]) {
            if *link == Some(id) {
                *link = parent;
            }
        }
        Some(snapshot.copies)
    }
}

/// Layers in a buffer of copies, and bytes of one.
fn layout(gpu: &Gpu, state: &State) -> (usize, u64) {
    let layer = state.layers.first().map_or(1, |layer| layer.conv.size() + layer.ssm.size());
    let count = (COPIES.min(gpu.max_binding()) / layer).max(1) as usize;
    (count, layer)
}

/// Where each layer's copy begins.
fn places<'a>(
    gpu: &Gpu,
    state: &'a State,
    copies: &'a [wgpu::Buffer],
) -> impl Iterator<Item = (&'a LayerState, &'a wgpu::Buffer, u64)> {
    let (count, bytes) = layout(gpu, state);
    let place = move |(i, layer)| (layer, &copies[i / count], (i % count) as u64 * bytes);
    state.layers.iter().enumerate().map(place)
}

impl Session {
    /// Sets how many bytes of GPU memory snapshots may take; 0 keeps none. Before, it is what the model was
    /// loaded with ([`LoadOptions::snapshot_budget`](crate::model::LoadOptions::snapshot_budget)).
    pub fn set_snapshot_budget(&mut self, bytes: u64) {
        self.snapshots.budget = bytes;
        self.keep_budget();
    }

    fn keep_budget(&mut self) {
        while self.snapshots.bytes(&self.state) > self.snapshots.budget && self.snapshots.evict().is_some() {}
    }

    /// How many there are, and their bytes on the GPU: copies of recurrent states, and pages that nothing else needs.
    pub fn snapshots(&self) -> (usize, u64) {
        (self.snapshots.kept.len(), self.snapshots.bytes(&self.state))
    }

    /// The place where the session is, to go back to with [`Session::go_to`]. The session keeps places by itself, too, for
    /// [`Session::chat`] and [`Session::complete`]; this one is the caller's, and outside the budget.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        self.settle();
        self.take(false, None)
    }

    /// `inside`: of the part of the prompt that has been run. `spare`: the buffers of another one.
    fn take(&self, inside: bool, spare: Option<Vec<wgpu::Buffer>>) -> Result<Snapshot> {
        let gpu = self.engine.model.gpu();
        let (count, bytes) = layout(gpu, &self.state);
        let room = |layers: &[LayerState]| gpu.storage("snapshot", layers.len() as u64 * bytes);
        let copies = match spare {
            Some(copies) => copies,
            None => self.state.layers.chunks(count).map(room).collect::<Result<Vec<_>>>()?,
        };
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (layer, copy, at) in places(gpu, &self.state, &copies) {
            encoder.copy_buffer_to_buffer(&layer.conv, 0, copy, at, layer.conv.size());
            encoder.copy_buffer_to_buffer(&layer.ssm, 0, copy, at + layer.conv.size(), layer.ssm.size());
        }
        gpu.queue().submit([encoder.finish()]);
        let read = self.ids.len() - if inside { self.pending } else { 0 };
        let pending = if inside { 0 } else { self.pending };
        Ok(Snapshot {
            engine: self.engine.clone(),
            ids: self.ids[..read].to_vec(),
            pending,
            consumed: self.consumed.clone().filter(|_| !inside),
            logits: if inside || pending > 0 { Vec::new() } else { self.logits.clone() },
            pages: self.state.pages.share(self.state.position),
            copies,
        })
    }

    /// Goes to a place of this or of another session of the same engine.
    ///
    /// # Errors
    /// [`Error::Argument`] for a place of another engine.
    pub fn go_to(&mut self, snapshot: &Snapshot) -> Result<()> {
        if !Rc::ptr_eq(&self.engine, &snapshot.engine) {
            return Err(Error::Argument {
                field: "snapshot".into(),
                expected: "a snapshot of this engine".into(),
                found: "one of another".into(),
            });
        }
        self.snapshots.here = None;
        self.become_that(snapshot);
        Ok(())
    }

    fn become_that(&mut self, snapshot: &Snapshot) {
        let gpu = self.engine.model.gpu();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (layer, copy, at) in places(gpu, &self.state, &snapshot.copies) {
            encoder.copy_buffer_to_buffer(copy, at, &layer.conv, 0, layer.conv.size());
            encoder.copy_buffer_to_buffer(copy, at + layer.conv.size(), &layer.ssm, 0, layer.ssm.size());
        }
        gpu.queue().submit([encoder.finish()]);
        self.state.position = snapshot.position();
        self.state.pages.become_those(&snapshot.pages);
        self.ids.clone_from(&snapshot.ids);
        self.pending = snapshot.pending;
        self.consumed.clone_from(&snapshot.consumed);
        self.logits.clone_from(&snapshot.logits);
        self.ahead = 0;
    }

    /// Keeps the place where the session is, unless it is kept already.
    fn keep(&mut self, inside: bool) -> Result<()> {
        let read = self.ids.len() - if inside { self.pending } else { 0 };
        // A session that was put at a position for tests has no tokens to know the place by.
        let known = self.ids.len() - self.pending == self.state.position as usize;
        let each = self.state.recurrent_bytes();
        if self.state.position == 0 || !known || self.snapshots.budget < each {
            return Ok(());
        }
        let (clock, ids) = (self.snapshots.clock, &self.ids[..read]);
        let same = |kept: &&mut Kept| {
            let snapshot = &kept.snapshot;
            let complete = inside || snapshot.consumed.is_some() || self.consumed.is_none();
            snapshot.position() == self.state.position && snapshot.ids == ids && complete
        };
        if let Some(kept) = self.snapshots.kept.iter_mut().find(same) {
            kept.used = clock;
            self.snapshots.here = Some(kept.id);
            return Ok(());
        }
        // Room first, so that memory stays within the budget all the time.
        let mut spare = None;
        while self.snapshots.bytes(&self.state) + each > self.snapshots.budget && !self.snapshots.kept.is_empty() {
            spare = self.snapshots.evict();
            if spare.is_none() {
                return Ok(()); // only the wanted one is left, and fills the budget
            }
        }
        let snapshot = self.take(inside, spare)?;
        let all = &mut self.snapshots;
        all.taken += 1;
        let (id, parent) = (all.taken, all.here);
        all.kept.push(Kept { id, parent, used: all.clock, snapshot });
        all.here = Some(id);
        Ok(())
    }

    /// Before a turn that goes on from here.
    pub(super) fn keep_border(&mut self) -> Result<()> {
        self.keep(false)
    }

    /// After the prompt has been pushed: reads it (but maybe its last token) and keeps that place, if the prompt is long. False
    /// when cancelled.
    pub(super) async fn keep_prompt(&mut self, cancel: Option<&dyn Fn() -> bool>) -> Result<bool> {
        if self.pending < LONG_PROMPT || self.snapshots.budget < self.state.recurrent_bytes() {
            return Ok(true);
        }
        if !self.run(cancel, 1).await? {
            return Ok(false);
        }
        self.keep(false)?;
        Ok(true)
    }

    /// After a step of a prompt that began at `before`: keeps the place, if it is far enough from the last.
    pub(super) fn keep_distance(&mut self, before: u32) -> Result<()> {
        match self.pending >= LONG_PROMPT && before / DISTANCE < self.state.position / DISTANCE {
            true => self.keep(true),
            false => Ok(()),
        }
    }

    /// Leaves the line that the session is on for the place from which the least is to be read: `rest` says what would be, given a
    /// snapshot, or `None` where it is another conversation's. Without any the session has read nothing. The place that it
    /// leaves is kept.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn go_back(&mut self, rest: impl Fn(&Snapshot) -> Option<Vec<u32>>) -> Result<Option<Vec<u32>>> {
        let found = self.snapshots.kept.iter().filter_map(|kept| rest(&kept.snapshot).map(|rest| (kept, rest)));
        let found = found.max_by_key(|(kept, _)| kept.snapshot.position()).map(|(kept, rest)| (kept.id, rest));
        self.snapshots.wanted = found.as_ref().map(|(id, _)| *id);
        let left = self.keep(false);
        self.snapshots.wanted = None;
        left?;
        let place = |id| self.snapshots.kept.iter().position(|kept| kept.id == id);
        let Some((at, rest)) = found.and_then(|(id, rest)| Some((place(id)?, rest))) else {
            self.forget();
            return Ok(None);
        };
        let mut kept = self.snapshots.kept.remove(at);
        self.become_that(&kept.snapshot);
        kept.used = self.snapshots.clock;
        self.snapshots.here = Some(kept.id);
        self.snapshots.kept.insert(at, kept);
        self.keep_budget();
        Ok(Some(rest))
    }

    /// Makes room for `tokens` more; snapshots go where there is none.
    pub(super) fn make_room(&mut self, tokens: u32) -> Result<()> {
        loop {
            match self.state.reserve(tokens) {
                Err(Error::OutOfMemory { .. }) if self.snapshots.evict().is_some() => {}
                Err(error) => return Err(error),
                Ok(changed) => {
                    // What the session has left, snapshots may keep.
                    if changed {
                        self.keep_budget();
                    }
                    return Ok(());
                }
            }
        }
    }

    /// A second session that has read what this one has; from here on each goes its own way. Costs a copy of the recurrent states on
    /// the GPU; weights, keys and values are shared. Snapshots stay with the first.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn fork(&mut self) -> Result<Self> {
        self.settle();
        let mut fork = Self::new(&self.engine)?;
        let gpu = self.engine.model.gpu();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (from, to) in self.state.layers.iter().zip(&fork.state.layers) {
            encoder.copy_buffer_to_buffer(&from.conv, 0, &to.conv, 0, from.conv.size());
            encoder.copy_buffer_to_buffer(&from.ssm, 0, &to.ssm, 0, from.ssm.size());
        }
        gpu.queue().submit([encoder.finish()]);
        fork.state.position = self.state.position;
        fork.state.pages.become_those(&self.state.pages.share(self.state.position));
        fork.ids.clone_from(&self.ids);
        fork.pending = self.pending;
        fork.consumed.clone_from(&self.consumed);
        fork.logits.clone_from(&self.logits);
        fork.snapshots.budget = self.snapshots.budget;
        Ok(fork)
    }
}
