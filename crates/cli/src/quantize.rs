//! `quantize`: conversion to GGUF.

use std::path::{Path, PathBuf};

use peregrine::Error;
use peregrine::adapter::Adapter;
use peregrine::checkpoint::Checkpoint;
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, merge_to_file};
use pollster::block_on;

use crate::common::{bytes_bar, open};
use crate::failure::{Failure, Outcome};

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    input: String,
    /// The GGUF file to write
    output: PathBuf,
    /// F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q5_1, Q5_0, Q4_1, Q4_0, IQ4_NL, IQ4_XS, Q3_K_M
    /// or Q2_K
    #[arg(long = "type", value_name = "TYPE")]
    quant_type: String,
    /// The model's name in the file
    #[arg(long, allow_hyphen_values = true)]
    name: Option<String>,
}

pub fn run(args: &Args) -> Outcome {
    let target: QuantType = args.quant_type.parse()?;
    let input = open(&args.input)?;
    different(&args.input, &args.output)?;
    let options = QuantizeOptions { name: args.name.clone(), ..QuantizeOptions::new(target) };
    write(&input, &[], &args.output, &options)
}

/// Reading and writing one file would destroy it half way.
pub fn different(input: &str, output: &Path) -> Outcome {
    match (std::fs::canonicalize(input), std::fs::canonicalize(output)) {
        (Ok(a), Ok(b)) if a == b => Err(Failure::input(format!("{}: is both input and output", output.display()))),
        _ => Ok(()),
    }
}

/// Writes the file, with a bar.
pub fn write(input: &Checkpoint, adapters: &[(Adapter, f32)], output: &Path, options: &QuantizeOptions) -> Outcome {
    let bar = bytes_bar("writing");
    let mut report = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let written = block_on(merge_to_file(input, adapters, output, options, &mut report));
    bar.finish_and_clear();
    written.map_err(|error| match error {
        Error::Io { .. } => Failure::run(error.to_string()),
        error => error.into(),
    })
}
