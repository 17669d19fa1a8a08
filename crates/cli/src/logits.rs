//! `logits`: the model's output for given tokens, for comparison with other implementations.

use std::path::PathBuf;

use npyz::WriterBuilder;
use peregrine::model::LoadOptions;
use peregrine::session::Session;
use peregrine_workbench::part_file::PartFile;
use pollster::block_on;

use crate::common::{GpuArgs, read_ids};
use crate::failure::{Failure, Outcome};

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// Token ids: integers separated by white space; - for standard input
    #[arg(long, value_name = "FILE")]
    ids: String,
    /// NumPy file to write: f32 [T, V]
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// Only the logits after the last N tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: Option<u32>,
    /// Read token by token, as in decoding
    #[arg(long, conflicts_with = "chunk")]
    step: bool,
    /// Read N tokens at a time (at most 512)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: Option<u32>,
    #[command(flatten)]
    gpu: GpuArgs,
}

pub fn run(args: &Args) -> Outcome {
    let checkpoint = args.gpu.open(&args.model)?;
    let vocab_size = checkpoint.config.vocab_size;
    let ids = read_ids(&args.ids, vocab_size)?;
    let chunk = if args.step { Some(1) } else { args.chunk };
    let engine =
        args.gpu.load(&checkpoint, &LoadOptions { chunk, logit_rows: Some(u32::MAX), ..args.gpu.options() })?;
    let mut session = Session::new(&engine)?;
    let total = u32::try_from(ids.len()).map_err(|_| Failure::input("too many token ids"))?;
    let rows = args.last.unwrap_or(total).min(total);

    // The file gets its name only when it is complete.
    let name = args.out.display().to_string();
    let failed = |source| peregrine::Error::Io { name: name.clone(), source };
    let failure = |error| match error {
        error @ peregrine::Error::Io { .. } => Failure::run(error.to_string()),
        error => error.into(),
    };
    let mut file = PartFile::create(&args.out).map_err(failure)?;
    let shape = [u64::from(rows), u64::from(vocab_size)];
    let written = (|| {
        let options = npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape);
        let mut writer = options.writer(file.out()).begin_nd().map_err(&failed)?;
        let mut result = Ok(());
        let chunk = engine.model().chunk();
        block_on(session.forward(&ids, chunk, rows, &mut |row| {
            if result.is_ok() {
                result = writer.extend(row.iter().copied());
            }
        }))?;
        result.map_err(&failed)?;
        writer.finish().map_err(&failed)
    })();
    file.finish(written).map_err(failure)
}
