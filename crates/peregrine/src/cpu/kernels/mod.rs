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

use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use bytemuck::Pod;

use super::memory::{Buffer, Memory};
use crate::kernels::{Given, Kernel, Signature, Space, Typed};
use crate::ops::Probe;
use crate::ops::attention::Attention;
use crate::ops::embed::Embed;
use crate::ops::linear::{Matmul, Matvec};
use crate::ops::lora::{LoraDown, LoraUp};
use crate::ops::mixers::Prepare;
use crate::ops::norm::{GatedNorm, RmsNorm};
use crate::ops::sample::{Candidates, MaskedCandidates, Sample};
use crate::ops::ssm::SelectiveScan;
use crate::state::KvType;

/// A kernel's override constants.
type Numbers<K> = <K as Typed>::Numbers;

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

/// Makes a program of a kernel's override constants, by name.
type Make = fn(&[(&str, f64)], KvType) -> Result<Program, String>;

/// A program of a kernel; `run` makes its code of its constants.
fn make<K: Typed>(
    constants: &[(&str, f64)],
    kv: KvType,
    run: impl Fn(Numbers<K>, KvType) -> Result<Run, String>,
) -> Result<Program, String>
where
    Numbers<K>: for<'a> Given<'a>,
{
    let Signature { kernel, bindings, cache, .. } = K::signature();
    let by_name = |name: &str| constants.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let numbers = Given::given(&by_name).map_err(|name| format!("the constant {name} is missing"));
    let run =
        numbers.and_then(|numbers| run(numbers, kv)).map_err(|wrong| format!("kernel {}: {wrong}", kernel.name))?;
    Ok(Program { name: kernel.name, spaces: bindings.iter().map(|binding| binding.space).collect(), cache, run })
}

/// Kernels by their types, each with the function that makes its code.
macro_rules! programs {
    ($($kernel:ident: $run:expr;)*) => {
        &[$((<$kernel<'_> as Typed>::KERNEL, |constants, kv| make::<$kernel<'_>>(constants, kv, $run))),*]
    };
}

/// Those that there are.
const PROGRAMS: &[(&Kernel, Make)] = programs! {
    Embed: |c, _| Ok(embed::embed(&c));
    RmsNorm: |c, _| Ok(norm::rmsnorm(c));
    GatedNorm: |c, _| Ok(norm::gated_norm(c));
    Matvec: |c, _| Ok(linear::layer(c.EPILOGUE, c.FINAL, &c.formats));
    Matmul: |c, _| Ok(linear::layer(c.EPILOGUE, c.FINAL, &c.formats));
    LoraDown: |_, _| Ok(lora::down());
    LoraUp: |c, _| Ok(lora::up(c.SWIGLU));
    Prepare: prepare::prepare;
    Attention: attention::attention;
    SelectiveScan: |c, _| Ok(ssm::selective_scan(c));
    Candidates: |c, _| Ok(sample::candidates(c));
    MaskedCandidates: |c, _| Ok(sample::masked_candidates(c));
    Sample: |_, _| Ok(sample::sample());
    Probe: |_, _| Ok(sample::probe());
};

/// The kernel of that name with its override constants; `Err` in words where there is none, or a
/// constant is missing.
pub fn program(name: &str, constants: &[(&str, f64)], kv: Option<KvType>) -> Result<Program, String> {
    match PROGRAMS.iter().find(|(kernel, _)| kernel.name == name) {
        Some((_, make)) => make(constants, kv.unwrap_or_default()),
        None => Err(format!("kernel {name}: the processor has no such kernel")),
    }
}
