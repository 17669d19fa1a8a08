//! Random LoRA adapters for the same shapes: to measure what adapters cost where none is at hand.

use std::io::Write;
use std::path::Path;

use peregrine::checkpoint::names::{Bake, Expected, expected};
use peregrine::format::Format;
use peregrine::{Error, Result};

use super::weights::Noise;
use super::{SynthOptions, argument};
use crate::gguf::{ALIGNMENT, Field, GgufHeader};

/// Standard deviation of what an adapter adds to an output, where inputs have one of 1: beside
/// outputs of about 1 as much as training leaves.
const ADDED: f32 = 0.05;

/// Most ranks.
const MOST_RANKS: u32 = 1024;

/// The projections that an adapter may change.
fn is_target(tensor: &Expected) -> bool {
    match tensor.bake {
        Bake::AttentionIn | Bake::Key | Bake::AttentionOut | Bake::SsmIn | Bake::SsmOut | Bake::Gate | Bake::Down => {
            true
        }
        Bake::Matrix => tensor.gguf.starts_with("blk."),
        Bake::Embedding | Bake::LmHead | Bake::A | Bake::Small => false,
    }
}

/// Writes a random adapter as a GGUF file, to `path` when it is complete: all nine projections of
/// each layer, f32, its alpha its rank. For models of `options.size`, `layers` and `sizes`; always
/// the same bytes for the same options.
///
/// # Errors
/// [`Error::Argument`] for a rank that is not 1 to 1024, and as [`super::synth`].
pub fn synth_adapter(path: &Path, options: &SynthOptions, rank: u32) -> Result<()> {
    if !(1..=MOST_RANKS).contains(&rank) {
        return Err(argument("rank", &format!("1 to {MOST_RANKS}"), rank));
    }
    let targets: Vec<Expected> = expected(&options.config()?).into_iter().filter(is_target).collect();
    let mut header = GgufHeader::default();
    header.field("general.type", Field::Str("adapter"));
    header.field("general.architecture", Field::Str("falcon-h1"));
    header.field("general.name", Field::Str(&format!("random adapter of rank {rank}, seed {}", options.seed)));
    header.field("adapter.type", Field::Str("lora"));
    header.field("adapter.lora.alpha", Field::F32(rank as f32));
    let halves = |tensor: &Expected| {
        let [rows, cols] = [tensor.shape[0], tensor.shape[1]];
        let a = (format!("{}.lora_a", tensor.gguf), [cols, rank.into()], 1.0 / (cols as f32).sqrt());
        let b = (format!("{}.lora_b", tensor.gguf), [rank.into(), rows], ADDED / (rank as f32).sqrt());
        [a, b]
    };
    let halves: Vec<_> = targets.iter().flat_map(halves).collect();
    for (name, dims, _) in &halves {
        header.tensor(name, dims, Format::F32).ok_or_else(|| Error::TensorShape {
            name: options.size.name().into(),
            tensor: name.clone(),
            expected: vec![1],
            found: dims.to_vec(),
        })?;
    }
    let mut part = crate::part_file::PartFile::create(path)?;
    let io = |source| Error::Io { name: path.display().to_string(), source };
    let mut write = || {
        part.out().write_all(&header.bytes())?;
        for (name, dims, deviation) in &halves {
            let mut noise = Noise::new(options.seed, name, 0);
            let values = (0..dims[0] * dims[1]).flat_map(|_| (deviation * noise.normal()).to_le_bytes());
            let mut bytes: Vec<u8> = values.collect();
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
            part.out().write_all(&bytes)?;
        }
        Ok(())
    };
    let written = write().map_err(io);
    part.finish(written)
}
