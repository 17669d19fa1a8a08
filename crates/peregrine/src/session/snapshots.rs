//! Places of a conversation that a session can go back to.
//!
//! A recurrent state cannot be cut back to an earlier position, so a session keeps copies of it: at
//! the border before each turn, after a prompt that was long to read and at regular distances
//! inside it, and where it leaves a line for another one. An edited or repeated request is then
//! read from the nearest of them on. Keys and values are not copied but shared
//! ([`Arena`](crate::state::Arena)). What a snapshot costs is the recurrent state, 4 bytes for each
//! of
//! layers x (d_ssm x d_state + conv_dim x d_conv) values, and the pages that only it still needs.
//!
//! The copies lie on the GPU; when its budget is full, those that are worth least move to the
//! host's memory, which has a budget of its own, and from there they are forgotten.

use std::rc::Rc;

use super::adapters::in_words;
use super::copies::{Copies, Readable};
use super::prefix_cache::CacheEntry;
use super::{Engine, Session};
use crate::adapter::Chosen;
use crate::chat::Transcript;
use crate::error::{Error, Result};
use crate::state::Page;

/// A prompt of at least so many new tokens is worth a snapshot behind it.
const LONG_PROMPT: usize = 64;

/// Tokens between the snapshots inside a longer one.
const DISTANCE: u32 = 512;

/// A place of a conversation: what had been read there, and the states. A session of the same
/// engine can go to it. Cheap in memory for keys and values, which are shared; the recurrent states
/// are a copy.
#[derive(Clone)]
pub struct Snapshot {
    engine: Rc<Engine>,
    /// What made the states, beside the model.
    pub(super) adapters: Rc<[Chosen]>,
    /// What the session had read, and what of it the model had not run yet.
    pub(super) ids: Vec<u32>,
    pub(super) pending: usize,
    pub(super) consumed: Option<Transcript>,
    /// Empty where they will not be looked at: something is pending, or the place is inside a
    /// prompt.
    pub(super) logits: Vec<f32>,
    pub(super) pages: Vec<Page>,
    pub(super) copies: Copies,
}

impl Snapshot {
    /// Tokens that the model had read.
    pub fn position(&self) -> u32 {
        (self.ids.len() - self.pending) as u32
    }

    /// Bytes of its copies; its pages are shared with others.
    pub fn bytes(&self) -> u64 {
        self.copies.bytes()
    }
}

impl Session {
    /// Sets how many bytes of GPU memory snapshots may take; 0 keeps none. Before, it is what the
    /// model was
    /// loaded with ([`LoadOptions::snapshot_budget`](crate::model::LoadOptions::snapshot_budget)).
    /// Of a model with a budget for all of it, they get no more than what that leaves, adapters
    /// included.
    pub fn set_snapshot_budget(&mut self, bytes: u64) {
        self.prefix_cache.wanted_budget = bytes;
        self.keep_budget();
    }

    /// Sets how many bytes of the host's memory snapshots may take that the GPU has no more room
    /// for; 0 keeps none there. Before, it is what the model was loaded with
    /// ([`LoadOptions::snapshot_host_budget`](crate::model::LoadOptions::snapshot_host_budget)).
    pub fn set_snapshot_host_budget(&mut self, bytes: u64) {
        self.prefix_cache.host_budget = bytes;
        while self.prefix_cache.copies(true) > bytes && self.prefix_cache.forget(Copies::on_host).is_some() {}
    }

    pub(super) fn keep_budget(&mut self) {
        self.keep_budget_beside(self.engine.adapter_bytes());
    }

    /// The same beside so many bytes of adapters.
    pub(super) fn keep_budget_beside(&mut self, adapters: u64) {
        let model = &self.engine.model;
        model.kv().allow(model.budget.context_beside(model.config(), adapters));
        let left = model.budget.left(adapters);
        self.prefix_cache.budget = self.prefix_cache.wanted_budget.min(left.unwrap_or(u64::MAX));
        if self.prefix_cache.budget == 0 {
            self.prefix_cache.clear();
        }
        self.shrink_anchored();
        self.prefix_cache.shrink(self.engine.model.gpu(), &self.decoder.state, 0);
    }

    /// How many there are, and their bytes on the GPU: copies of recurrent states, and pages that
    /// nothing else needs.
    pub fn snapshots(&self) -> (usize, u64) {
        (self.prefix_cache.entries.len(), self.prefix_cache.bytes(&self.decoder.state))
    }

    /// How many of them have their copies in the host's memory, and the bytes of these.
    pub fn snapshots_on_host(&self) -> (usize, u64) {
        let there = self.prefix_cache.entries.iter().filter(|entry| entry.snapshot.copies.on_host());
        (there.count(), self.prefix_cache.copies(true))
    }

    /// The place where the session is, to go back to with [`Session::go_to`]. The session keeps
    /// places by itself, too, for [`Session::chat`] and [`Session::complete`]; this one is the
    /// caller's, and outside the budget.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        self.settle();
        self.take(false, None)
    }

    /// `inside`: of the part of the prompt that has been run. `spare`: the buffers of another one.
    fn take(&self, inside: bool, spare: Option<Copies>) -> Result<Snapshot> {
        let copies = Copies::of(self.engine.model.gpu(), &self.decoder.state, spare)?;
        let read = self.ids.len() - if inside { self.pending } else { 0 };
        let pending = if inside { 0 } else { self.pending };
        Ok(Snapshot {
            engine: self.engine.clone(),
            adapters: self.adapters().into(),
            ids: self.ids[..read].to_vec(),
            pending,
            consumed: self.consumed.clone().filter(|_| !inside),
            logits: if inside || pending > 0 { Vec::new() } else { self.logits.clone() },
            pages: self.decoder.state.pages.share(self.decoder.state.position),
            copies,
        })
    }

    /// Goes to a place of this or of another session of the same engine that uses the same
    /// adapters.
    ///
    /// # Errors
    /// [`Error::Argument`] for a place of another engine, or of other adapters.
    pub fn go_to(&mut self, snapshot: &Snapshot) -> Result<()> {
        if !Rc::ptr_eq(&self.engine, &snapshot.engine) {
            return Err(Error::Argument {
                field: "snapshot".into(),
                expected: "a snapshot of this engine".into(),
                found: "one of another".into(),
            });
        }
        if *snapshot.adapters != *self.adapters() {
            return Err(Error::Argument {
                field: "snapshot".into(),
                expected: format!("one made with {}, as the session uses them", in_words(self.adapters())),
                found: format!("one made with {}", in_words(&snapshot.adapters)),
            });
        }
        self.become_that(snapshot, &snapshot.copies.on_gpu())?;
        self.prefix_cache.here = None;
        Ok(())
    }

    fn become_that(&mut self, snapshot: &Snapshot, copies: &Readable<'_>) -> Result<()> {
        self.decoder.put_back(snapshot.position(), &snapshot.pages, copies)?;
        self.ids.clone_from(&snapshot.ids);
        self.pending = snapshot.pending;
        self.consumed.clone_from(&snapshot.consumed);
        self.logits.clone_from(&snapshot.logits);
        Ok(())
    }

    /// A step was stopped in its middle: back to the nearest place before it that is kept. What has
    /// been read since is to be read again.
    pub(super) async fn undo_step(&mut self) -> Result<()> {
        let (here, ids) = (self.decoder.state.position, &self.ids);
        let is_before = |place: &Snapshot| {
            let position = place.position();
            let same = *place.adapters == *self.adapters();
            same && position <= here && ids.get(..position as usize) == place.ids.get(..position as usize)
        };
        let before = self.prefix_cache.entries.iter().filter(|entry| is_before(&entry.snapshot));
        let nearest = before.max_by_key(|entry| entry.snapshot.position());
        let nearest = nearest.map(|entry| (entry.id, entry.snapshot.clone()));
        // Whoever stops waiting here finds a session that is halfway, and has its tokens still.
        let copies = match &nearest {
            Some((_, place)) => Some(place.copies.ready(self.engine.model.gpu()).await?),
            None => None,
        };
        let (ids, consumed) = (std::mem::take(&mut self.ids), self.consumed.take());
        let outcome = match (&nearest, &copies) {
            (Some((_, place)), Some(copies)) => self.become_that(place, copies),
            _ => Ok(()),
        };
        match nearest.as_ref().filter(|_| outcome.is_ok()) {
            Some((id, _)) => self.prefix_cache.here = Some(*id),
            None => self.forget(),
        }
        self.pending = ids.len() - self.decoder.state.position as usize;
        (self.ids, self.consumed) = (ids, consumed);
        self.logits.clear();
        outcome
    }

    /// Keeps the place where the session is, unless it is kept already.
    fn keep(&mut self, inside: bool) -> Result<()> {
        let read = self.ids.len() - if inside { self.pending } else { 0 };
        // A session that was put at a position for tests has no tokens to know the place by.
        let known = self.ids.len() - self.pending == self.decoder.state.position as usize;
        let each = self.decoder.state.recurrent_bytes();
        if self.decoder.state.position == 0 || !known || self.prefix_cache.budget < each {
            return Ok(());
        }
        let (clock, ids) = (self.prefix_cache.clock, &self.ids[..read]);
        let adapters = self.decoder.adapters();
        let same = |entry: &&mut CacheEntry| {
            let snapshot = &entry.snapshot;
            let complete = inside || snapshot.consumed.is_some() || self.consumed.is_none();
            snapshot.position() == self.decoder.state.position
                && snapshot.ids == ids
                && *snapshot.adapters == *adapters
                && complete
        };
        if let Some(entry) = self.prefix_cache.entries.iter_mut().find(same) {
            entry.used = clock;
            self.prefix_cache.here = Some(entry.id);
            return Ok(());
        }
        // Room first, so that memory stays within the budget all the time.
        let anchor = if self.prefix_cache.has_room(&self.decoder.state, each) { None } else { self.release_anchor() };
        let (fits, spare) = self.prefix_cache.shrink(self.engine.model.gpu(), &self.decoder.state, each);
        if !fits {
            return Ok(()); // only the wanted one is left, and fills the budget
        }
        let snapshot = self.take(inside, spare.or(anchor))?;
        let all = &mut self.prefix_cache;
        all.taken += 1;
        let (id, parent) = (all.taken, all.here);
        all.entries.push(CacheEntry { id, parent, used: all.clock, inside, snapshot });
        all.here = Some(id);
        Ok(())
    }

    /// Before a turn that goes on from here.
    pub(super) fn keep_border(&mut self) -> Result<()> {
        self.keep(false)
    }

    /// After the prompt has been pushed: reads it (but maybe its last token) and keeps that place,
    /// if the prompt is long. False when cancelled.
    pub(super) async fn keep_prompt(&mut self, cancel: Option<&dyn Fn() -> bool>) -> Result<bool> {
        if self.pending < LONG_PROMPT || self.prefix_cache.budget < self.decoder.state.recurrent_bytes() {
            return Ok(true);
        }
        if !self.run(cancel, 1).await? {
            return Ok(false);
        }
        self.keep(false)?;
        Ok(true)
    }

    /// After a step of a prompt that began at `before`: keeps the place, if it is far enough from
    /// the last.
    pub(super) fn keep_distance(&mut self, before: u32) -> Result<()> {
        match self.pending >= LONG_PROMPT && before / DISTANCE < self.decoder.state.position / DISTANCE {
            true => self.keep(true),
            false => Ok(()),
        }
    }

    /// Leaves the line that the session is on for the place from which the least is to be read:
    /// `rest` says what would be, given a snapshot, or `None` where it is another conversation's.
    /// Without any the session has read nothing. The place that it leaves is kept.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) async fn go_back(&mut self, rest: impl Fn(&Snapshot) -> Option<Vec<u32>>) -> Result<Option<Vec<u32>>> {
        let same = self.prefix_cache.entries.iter().filter(|entry| *entry.snapshot.adapters == *self.adapters());
        let found = same.filter_map(|entry| rest(&entry.snapshot).map(|rest| (entry, rest)));
        let found = found.max_by_key(|(entry, _)| entry.snapshot.position()).map(|(entry, rest)| (entry.id, rest));
        self.prefix_cache.wanted = found.as_ref().map(|(id, _)| *id);
        let left = self.keep(false);
        self.prefix_cache.wanted = None;
        left?;
        let place = |id| self.prefix_cache.entries.iter().position(|entry| entry.id == id);
        let Some((at, rest)) = found.and_then(|(id, rest)| Some((place(id)?, rest))) else {
            self.forget();
            return Ok(None);
        };
        let (id, snapshot) = (self.prefix_cache.entries[at].id, self.prefix_cache.entries[at].snapshot.clone());
        let copies = snapshot.copies.ready(self.engine.model.gpu()).await?;
        self.become_that(&snapshot, &copies)?;
        self.prefix_cache.entries[at].used = self.prefix_cache.clock;
        self.prefix_cache.here = Some(id);
        self.keep_budget();
        Ok(Some(rest))
    }

    /// A second session that has read what this one has; from here on each goes its own way. Costs
    /// a copy of the recurrent states on the GPU; weights, keys and values are shared. Snapshots
    /// stay with the first.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn fork(&mut self) -> Result<Self> {
        self.settle();
        let mut fork = Self::new(&self.engine)?;
        fork.decoder.continue_from(&self.decoder);
        fork.ids.clone_from(&self.ids);
        fork.pending = self.pending;
        fork.consumed.clone_from(&self.consumed);
        fork.logits.clone_from(&self.logits);
        fork.prefix_cache.wanted_budget = self.prefix_cache.wanted_budget;
        fork.prefix_cache.budget = self.prefix_cache.budget;
        fork.prefix_cache.host_budget = self.prefix_cache.host_budget;
        Ok(fork)
    }
}
