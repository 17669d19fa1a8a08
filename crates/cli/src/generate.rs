//! `generate`: continues a text, without any chat template; freely, or by a schema, an expression
//! or a grammar.

use std::io::Write;
use std::path::PathBuf;

use peregrine::checkpoint::FileSource;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{Finish, GenerateOptions, Generated, Session};
use pollster::block_on;
use serde_json::json;

use crate::common::{GpuArgs, SamplingArgs, read_ids, read_text};
use crate::failure::Outcome;
use crate::format::FormatArgs;
use crate::terminal;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("input").required(true).args(["prompt", "prompt_file", "ids"])))]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// The text to continue; control tokens in it are recognized
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// The text from a file, UTF-8, as it is; - for standard input. An argument has at most 128 KiB
    /// on Linux, a file any length
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<String>,
    /// Token ids instead, taken as they are: integers separated by white space; - for standard
    /// input
    #[arg(long, value_name = "FILE")]
    ids: Option<String>,
    /// Most tokens to make
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: u32,
    /// Go on after an end token
    #[arg(long)]
    ignore_end: bool,
    /// Go on from a state that `prefill` has made; the prompt, if there is one, comes after it
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// End the answer before this text (may be given several times)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// One JSON object instead of a stream of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    gpu: GpuArgs,
}

pub fn run(args: &Args) -> Outcome {
    let sampling = args.sampling.options(SamplingOptions { top_p: 1.0, ..SamplingOptions::default() })?;
    let prompt = args.prompt_file.as_deref().map(read_text).transpose()?.or_else(|| args.prompt.clone());
    let format = args.format.read()?;
    let checkpoint = args.gpu.open(&args.model)?;
    let vocab_size = checkpoint.config.vocab_size;
    let given = args.ids.as_deref().map(|path| read_ids(path, vocab_size)).transpose()?;
    let engine = args.gpu.load(&checkpoint, &args.gpu.options())?;
    let grammar = format.map(|format| format.compile(&engine)).transpose()?;
    let ids = match (given, &prompt) {
        (Some(ids), _) => ids,
        (None, prompt) => {
            let tokenizer = engine.tokenizer();
            let begins = args.state.is_none() && tokenizer.add_bos();
            tokenizer.encode(prompt.as_deref().unwrap_or_default(), begins)?
        }
    };
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampling,
        ignore_end: args.ignore_end,
        stop: args.stop.clone(),
        grammar,
        ..GenerateOptions::default()
    };
    let mut session = Session::new(&engine)?;
    let start = std::time::Instant::now();
    if let Some(path) = &args.state {
        block_on(session.restore(&FileSource::open(path)?))?;
    }
    block_on(session.prefill(&ids))?;
    let prefill_seconds = start.elapsed().as_secs_f64();

    let mut out = terminal::stdout();
    let mut written = Ok(());
    let mut printed = 0;
    let answer = block_on(session.generate(&options, &mut |piece| {
        if !args.json {
            printed += piece.text.len();
            written = write!(out, "{}", piece.text).and_then(|()| out.flush());
        }
        written.is_ok()
    }))?;
    written?;
    if args.json {
        let prefill_seconds = prefill_seconds + answer.prefill_seconds;
        writeln!(out, "{}", terminal::json(&describe(&answer, prefill_seconds, engine.gpu_name())))?;
    } else {
        writeln!(out, "{}", &answer.text[printed..])?;
    }
    Ok(())
}

fn describe(answer: &Generated, prefill_seconds: f64, adapter: &str) -> serde_json::Value {
    json!({
        "text": answer.text,
        "ids": answer.ids,
        "finish": finish(answer.finish),
        "prompt_tokens": answer.prompt_tokens,
        "prefill_seconds": prefill_seconds,
        "decode_seconds": answer.decode_seconds,
        "tokens_per_second": answer.tokens_per_second(),
        "adapter": adapter,
    })
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Context => "context",
        Finish::Cancelled => "cancelled",
    }
}
