//! What a model is loaded with, and what is asked of the device: each option once.
//!
//! A field here is all of an option but what it does. From it come its name and its check where a
//! page gives it (serde), its type and its docs in TypeScript and its part in the key by which tabs
//! share a model (`make types`), and the program's flag (clap, with the feature `clap`). Docs are
//! read in all of these places, so they are plain text.

#[cfg(feature = "clap")]
mod flags;
#[cfg(test)]
mod types;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, Unexpected};

#[cfg(feature = "internals")]
use crate::gpu::Alter;
use crate::gpu::{DeviceKind, Reduction, ShapeClass};
use crate::state::KvType;

#[cfg(feature = "clap")]
pub use flags::ModelOptions;

/// What a model is loaded with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct LoadOptions {
    /// Most tokens of a conversation. Default: what the model was made for, or what fits.
    ///
    /// With a memory budget it is what fits that. Without one, in a browser, what fits half of the
    /// memory that it says the device has (4 GB where it says nothing), and 4096 tokens at least.
    /// It can grow later.
    #[serde(deserialize_with = "count")]
    #[cfg_attr(feature = "clap", arg(long = "context", value_name = "N", value_parser = flags::count()))]
    #[cfg_attr(feature = "clap", arg(help_heading = flags::CONVERSATIONS))]
    pub context_length: Option<u32>,
    /// Tokens read at a time in prefill; `None` chooses by adapter.
    #[serde(skip)]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub chunk: Option<u32>,
    /// Most rows of logits that a step makes, at most a chunk; `None`: 8. For whoever looks at all
    /// of them.
    #[serde(skip)]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub logit_rows: Option<u32>,
    /// How keys and values are kept: f16 (default), f32 as they were computed, in twice the memory,
    /// or q8 in little more than half.
    #[serde(rename = "kvType")]
    #[cfg_attr(test, ts(as = "Option<KvType>", optional, inline))]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TYPE", default_value = "f16", hide_default_value = true))]
    pub kv: KvType,
    /// Bytes on the GPU that each conversation may spend on places to go back to when it is edited;
    /// 0 keeps none.
    ///
    /// Default: 256 MiB, or twice its recurrent states where that is more, or what a
    /// memory budget leaves; 64 MiB where a browser says that the device has at most 4 GB of
    /// memory. Answers on a fast GPU take room for one of them: for the copy with which tokens that
    /// were computed ahead are undone when the answer is stopped.
    #[serde(rename = "snapshotBytes", deserialize_with = "bytes")]
    #[cfg_attr(feature = "clap", arg(long = "snapshots", value_name = "BYTES", value_parser = flags::bytes))]
    #[cfg_attr(feature = "clap", arg(help_heading = flags::CONVERSATIONS))]
    pub snapshot_budget: Option<u64>,
    /// Bytes of other memory for those places that the GPU has no more room for. Default: 1 GiB; in
    /// a browser 256 MiB where it says that the device has at least 8 GB of memory, else 0.
    #[serde(rename = "snapshotHostBytes", deserialize_with = "bytes")]
    #[cfg_attr(feature = "clap", arg(long = "host-snapshots", value_name = "BYTES", value_parser = flags::bytes))]
    #[cfg_attr(feature = "clap", arg(help_heading = flags::CONVERSATIONS))]
    pub snapshot_host_budget: Option<u64>,
    /// Bytes that the model and one conversation may take on the GPU; a context that nobody asked
    /// for gets what the model leaves.
    ///
    /// Its snapshots are included: they get what is left, unless it is said how many. What all need
    /// is known before the first weight is read: a context that was asked for and does not fit is
    /// an error that says what would. WebGPU does not tell how much memory a GPU has: who runs the
    /// model decides.
    #[serde(deserialize_with = "budget")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "BYTES", value_parser = flags::budget))]
    pub memory_budget: Option<u64>,
    /// Browser: bytes that the device is thought to have for the model. It refuses nothing: where
    /// neither a context was asked for nor a budget given, the context is as long as fits, in whole
    /// multiples of 1024 tokens and at least 4096, as far as the model was made for them.
    #[serde(deserialize_with = "bytes")]
    #[cfg_attr(test, ts(skip))]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub device_memory: Option<u64>,
}

/// What may be used of the GPU. Everything is chosen by adapter when left out.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "GpuPreferences", optional_fields))]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct GpuOptions {
    /// What computes: auto (default), a GPU if there is one and the processor otherwise; gpu, also
    /// one in software; or cpu.
    #[cfg_attr(test, ts(skip))]
    #[cfg_attr(feature = "clap", arg(long, value_name = "KIND", default_value = "auto", hide_default_value = true))]
    pub device: DeviceKind,
    /// Part of the name of the GPU adapter to use (`peregrine info` lists them).
    #[serde(skip)]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME"))]
    pub adapter: Option<String>,
    /// On machines with two GPUs: the fast one (default) or the thrifty one.
    #[serde(rename = "powerPreference", deserialize_with = "low_power")]
    #[cfg_attr(test, ts(as = "Option<PowerPreference>", optional, inline))]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub low_power: bool,
    /// Only WebGPU's default limits and no optional feature, as on the poorest device.
    #[cfg_attr(test, ts(as = "Option<bool>", optional))]
    #[cfg_attr(feature = "clap", arg(long))]
    pub baseline: bool,
    /// How sums over lanes are made: "subgroup" fails where the adapter has no subgroups.
    #[serde(deserialize_with = "reduction")]
    #[cfg_attr(test, ts(as = "Option<Sums>", inline))]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub reduction: Option<Reduction>,
    /// Kernel shapes made for software adapters (few barriers, small workgroups) or for GPUs.
    #[cfg_attr(test, ts(inline))]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub shapes: Option<ShapeClass>,
    /// Read prompts with cooperative matrices (tensor cores): faster, factors are rounded to f16.
    ///
    /// Natively, where the adapter has them for tiles of 16 x 16 x 16: browsers do not offer them.
    /// Sums stay f32.
    #[serde(skip)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub cooperative: bool,
    /// Browser: the page has added the feature `subgroups` to the device (wgpu's web backend does
    /// not ask for it).
    #[cfg_attr(test, ts(skip))]
    #[cfg_attr(feature = "clap", arg(skip = true))]
    pub subgroups: bool,
    /// Browser: whether the adapter computes on the CPU, and what it is called; wgpu does not
    /// always see either.
    #[cfg_attr(test, ts(skip))]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub software: Option<bool>,
    /// See `software`.
    #[cfg_attr(test, ts(skip))]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub name: Option<String>,
    /// What a self-check on this device holds for; `None`: the adapter's and driver's own words,
    /// which browsers do not tell.
    #[cfg_attr(test, ts(skip))]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub identity: Option<String>,
    /// For tests: faults planted into kernels.
    #[cfg(feature = "internals")]
    #[doc(hidden)]
    #[serde(skip)]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub alter: Option<Alter>,
    /// Bind at most so many bytes at once, though the adapter could bind more: tests cut small
    /// matrices into slabs with it.
    #[serde(skip)]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub max_binding: Option<u64>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            device: DeviceKind::default(),
            adapter: None,
            low_power: false,
            baseline: false,
            reduction: None,
            shapes: None,
            cooperative: false,
            subgroups: true,
            software: None,
            name: None,
            identity: None,
            #[cfg(feature = "internals")]
            alter: None,
            max_binding: None,
        }
    }
}

/// [`GpuOptions::low_power`] in WebGPU's words.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(ts_rs::TS))]
enum PowerPreference {
    HighPerformance,
    LowPower,
}

/// [`Reduction`], whose crate has no serde.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(ts_rs::TS))]
enum Sums {
    Workgroup,
    Subgroup,
}

fn low_power<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(matches!(Option::deserialize(from)?, Some(PowerPreference::LowPower)))
}

fn reduction<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Reduction>, D::Error> {
    Ok(Option::deserialize(from)?.map(|sums| match sums {
        Sums::Workgroup => Reduction::Workgroup,
        Sums::Subgroup => Reduction::Subgroup,
    }))
}

/// At least one.
fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    match Option::deserialize(from)? {
        Some(0) => Err(D::Error::invalid_value(Unexpected::Unsigned(0), &"at least 1")),
        count => Ok(count),
    }
}

/// Bytes in JavaScript's numbers, which may be fractions and are whole up to 2^53.
fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    from_number(from, 0.0)
}

/// The same, and at least one.
fn budget<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    from_number(from, 1.0)
}

fn from_number<'de, D: Deserializer<'de>>(from: D, least: f64) -> Result<Option<u64>, D::Error> {
    match Option::<f64>::deserialize(from)? {
        Some(number) if !(least..=MOST_BYTES).contains(&number) => {
            Err(D::Error::invalid_value(Unexpected::Float(number), &"a number of bytes"))
        }
        number => Ok(number.map(|number| number as u64)),
    }
}

/// JavaScript's largest safe integer.
const MOST_BYTES: f64 = 9_007_199_254_740_991.0;
