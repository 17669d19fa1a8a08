//! `peregrine prefill`: reads a prompt once and keeps what it leaves behind as a file.

use std::io::Write;
use std::path::PathBuf;

use peregrine::session::Session;
use pollster::block_on;

use crate::common::{GpuArgs, read_text};
use crate::failure::{Failure, Outcome};
use crate::{state, terminal};

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, address, or hub id
    model: String,
    /// The prompt, UTF-8; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    prompt_file: String,
    /// Where the state goes; `generate --state FILE` goes on from it
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    gpu: GpuArgs,
}

pub fn run(args: &Args) -> Outcome {
    state::check(&args.output)?;
    let text = read_text(&args.prompt_file)?;
    let checkpoint = args.gpu.open(&args.model)?;
    let engine = args.gpu.load(&checkpoint, &args.gpu.options())?;
    let tokenizer = engine.tokenizer();
    let ids = tokenizer.encode(&text, tokenizer.add_bos())?;
    if ids.is_empty() {
        return Err(Failure::input(format!("{}: no tokens", args.prompt_file)));
    }
    let mut session = Session::new(&engine)?;
    block_on(session.prefill(&ids))?;
    state::write(&mut session, &args.output)?;
    let bytes = std::fs::metadata(&args.output).map_or(0, |file| file.len());
    writeln!(terminal::stdout(), "{} tokens, {bytes} bytes", ids.len())?;
    Ok(())
}
