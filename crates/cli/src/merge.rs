//! `merge`: adapters put into the weights of their base model, in one GGUF file.

use std::path::PathBuf;

use peregrine::adapter::Base;
use peregrine_workbench::quantize::{QuantType, QuantizeOptions};

use crate::common::open;
use crate::failure::Outcome;
use crate::lora::{Lora, one};
use crate::quantize::{different, write};

#[derive(clap::Args)]
pub struct Args {
    /// The base model: GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the
    /// hub
    base: String,
    /// LoRA adapters: PEFT folders or GGUF files, and how strongly each is to act (1)
    #[arg(value_name = "ADAPTER[:SCALE]", required = true, value_parser = one)]
    adapters: Vec<Lora>,
    /// The GGUF file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q5_1, Q5_0, Q4_1, Q4_0, IQ4_NL, IQ4_XS, Q3_K_M
    /// or Q2_K
    #[arg(long = "type", value_name = "TYPE")]
    quant_type: String,
    /// The model's name in the file; by default the names of all of them
    #[arg(long, allow_hyphen_values = true)]
    name: Option<String>,
}

pub fn run(args: &Args) -> Outcome {
    let target: QuantType = args.quant_type.parse()?;
    let base = open(&args.base)?;
    different(&args.base, &args.output)?;
    let read = |lora: &Lora| Ok((lora.open(&Base::of(&base))?, lora.scale));
    let adapters = args.adapters.iter().map(read).collect::<Outcome<Vec<_>>>()?;
    let names = adapters.iter().map(|(adapter, _)| adapter.name());
    let name = std::iter::once(base.name.as_str()).chain(names).collect::<Vec<_>>().join(" + ");
    let name = Some(args.name.clone().unwrap_or(name));
    write(&base, &adapters, &args.output, &QuantizeOptions { name, ..QuantizeOptions::new(target) })
}
