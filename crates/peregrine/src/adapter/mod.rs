//! LoRA adapters: small matrices beside the large ones, y = W x + scale B (A x), read from PEFT's
//! folders and from GGUF files.
//!
//! [`Adapter`] holds what both become: for each projection of each layer A \[rank, in\] and B
//! \[out, rank\] in f32, with all that is constant multiplied into B: alpha / rank, and the muP
//! multipliers where the file has them outside (PEFT), since what B makes is added to the finished
//! row. A GGUF adapter has them in B already, as a GGUF model has them in its weights. So one
//! adapter runs beside any base: GGUF, safetensors, GPTQ.

mod delta;
mod files;
mod gguf;
mod known;
#[cfg(not(target_arch = "wasm32"))]
mod open;
mod pairs;
mod patterns;
mod peft;
mod peft_config;
mod registry;
#[cfg(not(target_arch = "wasm32"))]
mod summary;

use sha2::{Digest, Sha256};

use crate::checkpoint::{Checkpoint, Container};
use crate::config::Config;

pub use self::delta::{Delta, Projection};
pub(crate) use self::registry::Registry;
pub use self::registry::{AdapterId, Chosen};
#[cfg(not(target_arch = "wasm32"))]
pub use self::summary::Summary;

/// The model that an adapter is for.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    /// Its sizes, and its multipliers where they are not in the weights.
    pub config: &'a Config,
    /// Whether they are.
    pub container: Container,
}

impl<'a> Base<'a> {
    /// That of a checkpoint.
    pub fn of(checkpoint: &'a Checkpoint) -> Self {
        Self { config: &checkpoint.config, container: checkpoint.container }
    }
}

/// Which kind of file an adapter was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder of PEFT.
    Peft,
    /// A GGUF file.
    Gguf,
}

impl Kind {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Peft => "PEFT",
            Self::Gguf => "GGUF",
        }
    }
}

/// A LoRA adapter, read and checked against its base.
pub struct Adapter {
    name: String,
    kind: Kind,
    deltas: Vec<Delta>,
    fingerprint: String,
    notes: Vec<String>,
}

impl Adapter {
    /// Of these, in any order.
    pub(crate) fn new(name: String, kind: Kind, mut deltas: Vec<Delta>, notes: Vec<String>) -> Self {
        deltas.sort_by_key(|delta| (delta.layer, delta.projection));
        let mut digest = Sha256::new();
        for delta in &deltas {
            digest.update([delta.layer, delta.projection as u32, delta.rank].map(u32::to_le_bytes).concat());
            digest.update(bytemuck::cast_slice(&delta.a));
            digest.update(bytemuck::cast_slice(&delta.b));
        }
        let fingerprint = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { name, kind, deltas, fingerprint, notes }
    }

    /// The name of its folder or file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which kind of file it was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// All projections that it changes, in order.
    pub fn deltas(&self) -> &[Delta] {
        &self.deltas
    }

    /// In how many layers it changes each projection, in the order of the page, by
    /// [`Projection::name`].
    pub fn targets(&self) -> Vec<(&'static str, usize)> {
        let count = |projection| self.deltas.iter().filter(|delta| delta.projection == projection).count();
        let all = Projection::ALL.map(|projection| (projection.name(), count(projection)));
        all.into_iter().filter(|(_, layers)| *layers > 0).collect()
    }

    /// The smallest and the largest rank.
    pub fn ranks(&self) -> (u32, u32) {
        let ranks = || self.deltas.iter().map(|delta| delta.rank);
        (ranks().min().unwrap_or(0), ranks().max().unwrap_or(0))
    }

    /// What it adds to a projection of a layer.
    pub fn delta(&self, layer: u32, projection: Projection) -> Option<&Delta> {
        self.deltas.iter().find(|delta| delta.layer == layer && delta.projection == projection)
    }

    /// What tells it from others: 32 hexadecimal digits of an SHA-256 over all of it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What was left out of it without a loss, each in a line for a person.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes of its matrices in f32 on a GPU: ranks in fours, and A twice, as rows and as columns.
    /// What a choice of adapters takes beside them is small, and known to a loaded model:
    /// [`Engine::bytes_of_adapters`](crate::session::Engine::bytes_of_adapters).
    pub fn gpu_matrix_bytes(&self) -> u64 {
        let ranks = |delta: &Delta| u64::from(delta.rank.next_multiple_of(4));
        self.deltas.iter().map(|delta| 4 * ranks(delta) * (2 * delta.cols() + delta.rows()) as u64).sum()
    }

    /// Bytes of its matrices in f32, as the host has them.
    pub fn bytes(&self) -> u64 {
        self.deltas.iter().map(|delta| 4 * (delta.a.len() + delta.b.len()) as u64).sum()
    }
}
