//! `synth`: a model of an official shape with random weights, or an adapter for one.

use std::path::PathBuf;

use peregrine_workbench::synth::{SynthOptions, synth_adapter, synth_to_file};

use crate::common::bytes_bar;
use crate::failure::{Failure, Outcome};

#[derive(clap::Args)]
pub struct Args {
    /// tiny-90m, 0.5b, 1.5b, 1.5b-deep, 3b, 7b or 34b; or toy, which is not published
    #[arg(long)]
    size: String,
    /// As for `quantize`
    #[arg(long = "type", value_name = "TYPE", default_value = "Q4_K_M")]
    quant_type: String,
    /// The same seed makes the same file
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Layers, where not the shape's own
    #[arg(long, value_name = "N")]
    layers: Option<u32>,
    /// Another size than the shape's own, by its name in config.json, as hidden_size=96; may be
    /// given several times
    #[arg(long = "set", value_name = "FIELD=N", value_parser = size)]
    sizes: Vec<(String, u32)>,
    /// Every matrix in the type's own format, not in the usual mix
    #[arg(long)]
    pure: bool,
    /// Cut the model into N files, FILE-00001-of-0000N.gguf and so on
    #[arg(long, value_name = "N", default_value_t = 1)]
    files: u32,
    /// Instead of a model a LoRA adapter of this rank for one, of all nine projections
    #[arg(long, value_name = "RANK", conflicts_with_all = ["quant_type", "pure", "files"])]
    lora: Option<u32>,
    /// The GGUF file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

fn size(text: &str) -> Result<(String, u32), String> {
    let parsed = text.split_once('=').and_then(|(name, value)| Some((name.to_string(), value.parse().ok()?)));
    parsed.ok_or_else(|| "expected FIELD=N, as in hidden_size=96".into())
}

pub fn run(args: &Args) -> Outcome {
    let options = SynthOptions {
        layers: args.layers,
        sizes: args.sizes.clone(),
        pure: args.pure,
        files: args.files,
        ..SynthOptions::new(args.size.parse()?, args.quant_type.parse()?, args.seed)
    };
    if let Some(rank) = args.lora {
        return written(synth_adapter(&args.output, &options, rank));
    }
    let bar = bytes_bar("writing");
    let mut report = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let made = synth_to_file(&args.output, &options, &mut report);
    bar.finish_and_clear();
    written(made.map(drop))
}

fn written(result: peregrine::Result<()>) -> Outcome {
    result.map_err(|error| match error {
        peregrine::Error::Io { .. } => Failure::run(error.to_string()),
        error => error.into(),
    })
}
