//! Places of a conversation that a session can go back to.
//!
//! A recurrent state cannot be cut back to an earlier position, so a session keeps copies of it: at the border before each turn,
//! and after a prompt that was long to read. An edited or repeated request is then read from the nearest of them on, not from
//! the beginning. The KV cache is not copied: its rows before a snapshot's position stay as they are while the conversation
//! grows, and going back makes every later snapshot void, so the rows that the others need are never written again. What a
//! snapshot costs is the recurrent state alone: 4 bytes for each of layers x (d_ssm x d_state + conv_dim x d_conv) values.

use super::Session;
use crate::chat::Transcript;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::state::State;

/// Bytes on the GPU that a session spends on snapshots unless told otherwise.
const DEFAULT_BUDGET: u64 = 256 << 20;

/// A prompt of at least so many new tokens is worth a snapshot behind it.
const LONG_PROMPT: usize = 64;

/// The recurrent states of one layer: conv, SSM.
type Copies = Vec<(wgpu::Buffer, wgpu::Buffer)>;

struct Snapshot {
    /// What the session had read, and what of it the model had not run yet.
    ids: Vec<u32>,
    pending: usize,
    consumed: Option<Transcript>,
    logits: Vec<f32>,
    copies: Copies,
}

/// The snapshots of one session, the oldest first; each continues the one before it.
pub(super) struct Snapshots {
    kept: Vec<Snapshot>,
    /// Buffers of dropped ones.
    spare: Vec<Copies>,
    budget: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { kept: Vec::new(), spare: Vec::new(), budget: DEFAULT_BUDGET }
    }
}

fn bytes_of(state: &State) -> u64 {
    state.layers.iter().map(|layer| layer.conv.size() + layer.ssm.size()).sum()
}

fn room(gpu: &Gpu, state: &State) -> Result<Copies> {
    let room = |layer: &crate::state::LayerState| {
        Ok((gpu.storage("conv snapshot", layer.conv.size())?, gpu.storage("SSM snapshot", layer.ssm.size())?))
    };
    state.layers.iter().map(room).collect()
}

impl Snapshots {
    /// Makes all of them void.
    pub fn clear(&mut self) {
        self.cut(0);
    }

    fn cut(&mut self, len: usize) {
        self.spare.extend(self.kept.drain(len..).map(|snapshot| snapshot.copies));
    }
}

impl Session {
    /// Sets how many bytes of GPU memory snapshots may take; 0 keeps none. The default is 256 MiB.
    pub fn set_snapshot_budget(&mut self, bytes: u64) {
        self.snapshots.budget = bytes;
        let most = self.most_snapshots();
        let excess = self.snapshots.kept.len().saturating_sub(most);
        self.snapshots.kept.drain(..excess);
        self.snapshots.spare.clear();
    }

    /// How many there are, and their bytes on the GPU, with those of buffers that wait to be used again.
    pub fn snapshots(&self) -> (usize, u64) {
        let Snapshots { kept, spare, .. } = &self.snapshots;
        (kept.len(), (kept.len() + spare.len()) as u64 * bytes_of(&self.state))
    }

    fn most_snapshots(&self) -> usize {
        usize::try_from(self.snapshots.budget / bytes_of(&self.state).max(1)).unwrap_or(usize::MAX)
    }

    /// Keeps the place where the session is, unless the newest snapshot is of the same one.
    fn snapshot(&mut self) -> Result<()> {
        let most = self.most_snapshots();
        let position = self.ids.len() - self.pending;
        let newest = self.snapshots.kept.last();
        if most == 0 || position == 0 || newest.is_some_and(|s| s.ids == self.ids && s.pending == self.pending) {
            return Ok(());
        }
        let gpu = self.engine.model.gpu().clone();
        let copies = if self.snapshots.kept.len() >= most {
            self.snapshots.kept.remove(0).copies
        } else if let Some(spare) = self.snapshots.spare.pop() {
            spare
        } else {
            room(&gpu, &self.state)?
        };
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (layer, (conv, ssm)) in self.state.layers.iter().zip(&copies) {
            encoder.copy_buffer_to_buffer(&layer.conv, 0, conv, 0, conv.size());
            encoder.copy_buffer_to_buffer(&layer.ssm, 0, ssm, 0, ssm.size());
        }
        gpu.queue().submit([encoder.finish()]);
        self.snapshots.kept.push(Snapshot {
            ids: self.ids.clone(),
            pending: self.pending,
            consumed: self.consumed.clone(),
            // Only where nothing is pending will they be looked at.
            logits: if self.pending == 0 { self.logits.clone() } else { Vec::new() },
            copies,
        });
        Ok(())
    }

    /// Before a turn that goes on from here.
    pub(super) fn keep_border(&mut self) -> Result<()> {
        self.snapshot()
    }

    /// After the prompt has been pushed: reads it (but maybe its last token) and keeps that place, if the prompt is long. False
    /// when cancelled.
    pub(super) async fn keep_prompt(&mut self, cancel: Option<&dyn Fn() -> bool>) -> Result<bool> {
        if self.pending < LONG_PROMPT || self.most_snapshots() == 0 {
            return Ok(true);
        }
        if !self.run(cancel, 1).await? {
            return Ok(false);
        }
        self.snapshot()?;
        Ok(true)
    }

    /// Goes back to the newest snapshot that `fits`, given its text (of a chat) and its tokens; those after it are void. False where
    /// none does.
    pub(super) fn go_back(&mut self, mut fits: impl FnMut(Option<&Transcript>, &[u32]) -> bool) -> bool {
        let found = self.snapshots.kept.iter().rposition(|s| fits(s.consumed.as_ref(), &s.ids));
        let Some(at) = found else { return false };
        self.snapshots.cut(at + 1);
        let Snapshot { ids, pending, consumed, logits, copies } = &self.snapshots.kept[at];
        let gpu = self.engine.model.gpu();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (layer, (conv, ssm)) in self.state.layers.iter().zip(copies) {
            encoder.copy_buffer_to_buffer(conv, 0, &layer.conv, 0, conv.size());
            encoder.copy_buffer_to_buffer(ssm, 0, &layer.ssm, 0, ssm.size());
        }
        gpu.queue().submit([encoder.finish()]);
        self.state.position = (ids.len() - pending) as u32;
        self.ids.clone_from(ids);
        self.pending = *pending;
        self.consumed.clone_from(consumed);
        self.logits.clone_from(logits);
        self.ahead = 0;
        true
    }

    /// A second session that has read what this one has; from here on each goes its own way. Costs a copy of the states on the GPU;
    /// the weights are shared. Snapshots stay with the first.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn fork(&mut self) -> Result<Self> {
        self.settle();
        let engine = self.engine.clone();
        let (model, position) = (&engine.model, self.state.position);
        let mut fork = Self::new(&engine)?;
        fork.make_room(position)?;
        let cache = 4 * u64::from(model.config().kv_dim()) * u64::from(position);
        let mut encoder = model.gpu().device().create_command_encoder(&Default::default());
        for (from, to) in self.state.layers.iter().zip(&fork.state.layers) {
            if cache > 0 {
                encoder.copy_buffer_to_buffer(&from.keys, 0, &to.keys, 0, cache);
                encoder.copy_buffer_to_buffer(&from.values, 0, &to.values, 0, cache);
            }
            encoder.copy_buffer_to_buffer(&from.conv, 0, &to.conv, 0, from.conv.size());
            encoder.copy_buffer_to_buffer(&from.ssm, 0, &to.ssm, 0, from.ssm.size());
        }
        model.gpu().queue().submit([encoder.finish()]);
        fork.state.position = position;
        fork.ids.clone_from(&self.ids);
        fork.pending = self.pending;
        fork.consumed.clone_from(&self.consumed);
        fork.logits.clone_from(&self.logits);
        Ok(fork)
    }
}
