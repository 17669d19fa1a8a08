//! The kernels that the processor has: one function for each that a plan for it is recorded with.
//! What each does with its buffers stands in the head of its WGSL file; bindings and constants are
//! the typed ones of [`crate::ops`].

mod attention;
mod elements;
mod embed;
mod formats;
mod linear;
mod lora;
mod norm;
mod prepare;
mod sample;
mod ssm;

use std::collections::HashMap;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use bytemuck::Pod;

use super::memory::{Buffer, Memory};
use crate::kernels::{Signature, Space};
use crate::state::KvType;

/// Override constants by name.
pub struct Constants(HashMap<String, f64>);

impl Constants {
    /// As wgpu gives them.
    pub fn new(constants: &[(&str, f64)]) -> Self {
        Self(constants.iter().map(|(name, value)| ((*name).to_string(), *value)).collect())
    }

    /// One that must be there.
    fn f32(&self, name: &str) -> Result<f32, String> {
        self.0.get(name).map(|value| *value as f32).ok_or_else(|| format!("the constant {name} is missing"))
    }

    fn size(&self, name: &str) -> Result<usize, String> {
        self.0.get(name).map(|value| *value as usize).ok_or_else(|| format!("the constant {name} is missing"))
    }

    /// One that is 0 unless it is there.
    fn flag(&self, name: &str) -> usize {
        self.0.get(name).map_or(0, |value| *value as usize)
    }
}

/// What a kernel does with its buffers, in the order of their bindings, the cache of keys and
/// values last; and its workgroups.
type Run = Box<dyn Fn(&mut [Slot<'_>], [u32; 3]) + Send + Sync>;

/// A kernel with its constants.
pub struct Program {
    name: &'static str,
    spaces: Vec<Space>,
    cache: Option<Space>,
    run: Run,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Program {
    /// Runs it; `Err` in words where the buffers are not what it wants.
    pub fn run(&self, own: &[Buffer], cache: &[Buffer], grid: [u32; 3]) -> Result<(), String> {
        let cache = if self.cache.is_some() { cache } else { &[] };
        let spaces: Vec<Space> = self.spaces.iter().copied().chain(self.cache).collect();
        if (own.len(), cache.len()) != (self.spaces.len(), usize::from(self.cache.is_some())) {
            return Err(format!("kernel {}: {} and {} buffers are bound", self.name, own.len(), cache.len()));
        }
        let slots = own.iter().chain(cache).zip(spaces).map(|(buffer, space)| match space {
            Space::Uniform | Space::Read => buffer.read().map(Slot::Read),
            Space::Write => buffer.write().map(Slot::Write),
        });
        let slots: Option<Vec<Slot<'_>>> = slots.collect();
        let mut slots = slots.ok_or_else(|| format!("kernel {}: a buffer is read and written at once", self.name))?;
        if slots.iter().any(|slot| slot.memory().bytes().is_empty()) {
            return Err(format!("kernel {}: a buffer was destroyed", self.name));
        }
        (self.run)(&mut slots, grid);
        Ok(())
    }
}

/// A bound buffer, for as long as the kernel runs.
enum Slot<'a> {
    Read(RwLockReadGuard<'a, Memory>),
    Write(RwLockWriteGuard<'a, Memory>),
}

impl Slot<'_> {
    fn memory(&self) -> &Memory {
        match self {
            Self::Read(memory) => memory,
            Self::Write(memory) => memory,
        }
    }

    /// Its values.
    fn of<T: Pod>(&self) -> &[T] {
        self.memory().values()
    }

    /// A uniform.
    fn one<T: Pod>(&self) -> T {
        self.of::<T>()[0]
    }

    /// Its values, where the kernel writes them.
    fn written<T: Pod>(&mut self) -> &mut [T] {
        match self {
            Self::Write(memory) => memory.values_mut(),
            // The spaces come from the same declaration as the kernel's code.
            Self::Read(_) => &mut [],
        }
    }
}

/// The kernel of that name; `Err` in words where there is none, or a constant is missing.
pub fn program(name: &str, constants: &Constants, kv: Option<KvType>) -> Result<Program, String> {
    let c = constants;
    let kv = kv.unwrap_or_default();
    let (signature, run) = match name {
        "embed" => embed::embed(c),
        "rmsnorm" => norm::rmsnorm(c),
        "gated_norm" => norm::gated_norm(c),
        "matvec" => linear::matvec(c),
        "matmul" => linear::matmul(c),
        "lora_down" => lora::down(),
        "lora_up" => lora::up(c),
        "prepare" => prepare::prepare(c, kv),
        "attention" => attention::attention(c, kv),
        "selective_scan" => ssm::selective_scan(c),
        "candidates" => sample::candidates(c),
        "masked_candidates" => sample::masked_candidates(c),
        "sample" => sample::sample(),
        "probe" => sample::probe(c),
        _ => Err("the processor has no such kernel".into()),
    }
    .map_err(|wrong: String| format!("kernel {name}: {wrong}"))?;
    let Signature { kernel, bindings, cache, .. } = signature;
    Ok(Program { name: kernel.name, spaces: bindings.iter().map(|binding| binding.space).collect(), cache, run })
}

/// A kernel's declaration and its code.
type Made = Result<(Signature, Run), String>;
