//! The snapshots that a session keeps by itself: which of them stay, on the GPU and on the host.

use std::collections::HashSet;

use super::copies::Copies;
use super::snapshots::Snapshot;
use crate::gpu::Gpu;
use crate::model::Model;
use crate::state::State;

/// A snapshot that a session keeps by itself.
pub(super) struct CacheEntry {
    pub id: u64,
    /// The one that its line went on from.
    pub parent: Option<u64>,
    /// The clock when it was last of use.
    pub used: u64,
    /// Inside a prompt, and not at its end.
    pub inside: bool,
    pub snapshot: Snapshot,
}

/// The snapshots of one session, in the order in which they were taken.
///
/// When there are too many, the one goes whose tokens since its parent are the fewest, and those of
/// long ago sooner: each counts from the clock of its last use, and the clock is at what went last
/// ("greedy dual"). So a long prompt is thinned out evenly.
pub(super) struct PrefixCache {
    pub entries: Vec<CacheEntry>,
    /// What it was told to spend, and what of that there is room for.
    pub wanted_budget: u64,
    pub budget: u64,
    pub host_budget: u64,
    /// Bytes of the budget that an answer's anchor takes.
    pub reserved: u64,
    pub clock: u64,
    pub taken: u64,
    /// The one that the session goes on from.
    pub here: Option<u64>,
    /// The one that the session is about to go back to: it stays.
    pub wanted: Option<u64>,
}

impl PrefixCache {
    /// None yet, and at most as many bytes of them as the model was loaded with.
    pub fn new(model: &Model) -> Self {
        Self {
            entries: Vec::new(),
            wanted_budget: model.snapshot_budget,
            budget: model.snapshot_budget,
            host_budget: model.snapshot_host_budget,
            reserved: 0,
            clock: 0,
            taken: 0,
            here: None,
            wanted: None,
        }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.here = None;
    }

    /// The session is at the beginning.
    pub fn leave(&mut self) {
        self.here = None;
    }

    fn position_of(&self, id: Option<u64>) -> u64 {
        let found = self.entries.iter().find(|entry| Some(entry.id) == id);
        found.map_or(0, |entry| entry.snapshot.position().into())
    }

    /// Bytes of the copies on the host (or on the GPU).
    pub fn copies(&self, on_host: bool) -> u64 {
        let all = self.entries.iter().map(|entry| &entry.snapshot.copies);
        all.filter(|copies| copies.on_host() == on_host).map(Copies::bytes).sum()
    }

    /// Bytes on the GPU of pages that `state` does not have anyway.
    pub fn pages(&self, state: &State) -> u64 {
        let live: HashSet<u32> = state.pages.held().iter().map(|page| page.index()).collect();
        let pages = self.entries.iter().flat_map(|entry| &entry.snapshot.pages).map(|page| page.index());
        let pages: HashSet<u32> = pages.filter(|page| !live.contains(page)).collect();
        pages.len() as u64 * state.pages.arena().bytes_of_page()
    }

    /// Bytes on the GPU.
    pub fn bytes(&self, state: &State) -> u64 {
        self.copies(false) + self.pages(state)
    }

    /// Whether there is room for `more` bytes on the GPU.
    pub fn has_room(&self, state: &State, more: u64) -> bool {
        self.bytes(state) + self.reserved + more <= self.budget
    }

    /// Makes room for `more` bytes on the GPU. Whether there is room, and copies there that nobody
    /// needs any more.
    pub fn shrink(&mut self, gpu: &Gpu, state: &State, more: u64) -> (bool, Option<Copies>) {
        let mut spare = None;
        while !self.has_room(state, more) {
            // Pages lie on the GPU wherever the copies are, so long branches are forgotten and not
            // moved.
            let freed = match self.pages(state) > self.budget / 2 {
                true => self.forget(|_| true),
                false => self.move_out(gpu),
            };
            match freed {
                None => return (false, spare),
                Some(copies) if copies.on_host() => {}
                on_gpu => spare = on_gpu,
            }
        }
        (true, spare)
    }

    /// Of those that `of` takes, the one that is worth least, and what: never the place that is
    /// about to be gone back to, and where there is none the newest only as the last.
    fn least(&self, of: impl Fn(&Copies) -> bool) -> Option<(u64, usize)> {
        let worth = |entry: &CacheEntry| {
            let position = u64::from(entry.snapshot.position());
            entry.used + position.saturating_sub(self.position_of(entry.parent))
        };
        let others = self.entries.iter().enumerate();
        let mut others: Vec<_> = others
            .filter(|(_, entry)| Some(entry.id) != self.wanted && of(&entry.snapshot.copies))
            .map(|(at, entry)| (worth(entry), at))
            .collect();
        if self.wanted.is_none() && others.len() > 1 {
            others.pop();
        }
        others.into_iter().min()
    }

    /// Moves the one on the GPU that is worth least to the host, if there is room or can be made,
    /// and else forgets it. Places inside a prompt are always forgotten: while it is read there is
    /// no time for a move, and the next one comes soon.
    fn move_out(&mut self, gpu: &Gpu) -> Option<Copies> {
        let (worth, at) = self.least(|copies| !copies.on_host())?;
        let (id, bytes) = (self.entries[at].id, self.entries[at].snapshot.bytes());
        if self.entries[at].inside {
            return self.forget(|copies| !copies.on_host());
        }
        while self.copies(true) + bytes > self.host_budget {
            if bytes > self.host_budget || self.forget(Copies::on_host).is_none() {
                return self.forget(|copies| !copies.on_host());
            }
        }
        self.clock = self.clock.max(worth);
        let copies = &mut self.entries.iter_mut().find(|entry| entry.id == id)?.snapshot.copies;
        let there = copies.to_host(gpu);
        Some(std::mem::replace(copies, there))
    }

    /// Forgets the one that is worth least of those that `of` takes.
    pub fn forget(&mut self, of: impl Fn(&Copies) -> bool) -> Option<Copies> {
        let (worth, at) = self.least(of)?;
        self.clock = self.clock.max(worth);
        let CacheEntry { id, parent, snapshot, .. } = self.entries.remove(at);
        for parent_of in self.entries.iter_mut().map(|entry| &mut entry.parent).chain([&mut self.here]) {
            if *parent_of == Some(id) {
                *parent_of = parent;
            }
        }
        Some(snapshot.copies)
    }
}
