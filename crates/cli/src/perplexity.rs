//! `perplexity`: how well a model predicts a text, also in other formats.

use std::io::Write;

use indicatif::ProgressBar;
use peregrine::checkpoint::Checkpoint;
use peregrine::model::LoadOptions;
use peregrine::session::Session;
use peregrine::tokenizer::Tokenizer;
use peregrine_workbench::perplexity::{Perplexity, perplexity};
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, quantize_to_file};
use pollster::block_on;
use serde_json::json;

use crate::common::{GpuArgs, read_text};
use crate::failure::{Failure, Outcome};
use crate::terminal::{self, line};

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// A file with the text; - for standard input
    #[arg(long, value_name = "FILE")]
    text: String,
    /// Tokens to read in one go; each has at least half as many before it, but for the text's
    /// beginning
    #[arg(long, value_name = "N", default_value_t = 512)]
    window: u32,
    /// Measure the model in these types too, quantized from MODEL: F16,Q4_0 or all
    #[arg(long, value_name = "TYPES", value_delimiter = ',')]
    types: Vec<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gpu: GpuArgs,
}

/// One line of the table.
struct Row {
    name: String,
    bytes: u64,
    found: Perplexity,
}

pub fn run(args: &Args) -> Outcome {
    let checkpoint = args.gpu.open(&args.model)?;
    let types: Vec<QuantType> = match args.types.as_slice() {
        [all] if all.eq_ignore_ascii_case("all") => QuantType::ALL.to_vec(),
        types => types.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
    };
    let text = read_text(&args.text)?;
    let tokenizer = Tokenizer::new(&checkpoint.tokenizer, checkpoint.config.vocab_size)?;
    let ids = tokenizer.encode(&text, true)?;
    let mut out = terminal::stdout();
    if !args.json {
        writeln!(out, "| | MB | tokens | nats | perplexity |\n|---|---|---|---|---|")?;
    }
    let mut rows = Vec::new();
    let mut add = |name: String, checkpoint: &Checkpoint| -> Outcome {
        let row = measure(args, name, checkpoint, &ids)?;
        if !args.json {
            let Row { name, bytes, found } = &row;
            let (megabytes, perplexity) = (*bytes as f64 / 1e6, found.perplexity());
            writeln!(
                out,
                "| {} | {megabytes:.1} | {} | {:.2} | {perplexity:.4} |",
                line(name),
                found.tokens,
                found.nats
            )?;
            out.flush()?;
        }
        rows.push(row);
        Ok(())
    };
    add(args.model.clone(), &checkpoint)?;
    for target in types {
        let folder = tempfile::tempdir().map_err(Failure::writing("a temporary folder"))?;
        let path = folder.path().join("model.gguf");
        block_on(quantize_to_file(&checkpoint, &path, &QuantizeOptions::new(target), &mut |_, _| {}))?;
        let quantized = args.gpu.open(&path.display().to_string())?;
        add(target.name().into(), &quantized)?;
    }
    if args.json {
        let models: Vec<_> = rows
            .iter()
            .map(|Row { name, bytes, found }| {
                json!({"name": name, "bytes": bytes, "tokens": found.tokens, "nats": found.nats,
                    "perplexity": found.perplexity()})
            })
            .collect();
        writeln!(out, "{}", terminal::json(&json!({"text": args.text, "window": args.window, "models": models})))?;
    }
    Ok(())
}

fn measure(args: &Args, name: String, checkpoint: &Checkpoint, ids: &[u32]) -> Outcome<Row> {
    let window = args.window.min(checkpoint.config.max_position_embeddings);
    let options = LoadOptions { context_length: Some(window), logit_rows: Some(u32::MAX), ..args.gpu.options() };
    let engine = args.gpu.load(checkpoint, &options)?;
    let bar = ProgressBar::new(ids.len() as u64).with_message(name.clone());
    let mut session = Session::new(&engine)?;
    let found = block_on(perplexity(&mut session, ids, window, &mut |tokens| bar.set_position(tokens.into())))?;
    bar.finish_and_clear();
    Ok(Row { name, bytes: checkpoint.tensor_bytes(), found })
}
