//! `bench`: how fast a model runs here.

use std::io::Write;
use std::time::Instant;

use peregrine::model::LoadOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{GenerateOptions, Session};
use pollster::block_on;
use serde_json::json;

use crate::common::GpuArgs;
use crate::failure::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    pub model: String,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens of the answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    gen_tokens: u32,
    /// Tokens read before the prompt, which are not counted
    #[arg(long, value_name = "N", default_value_t = 0)]
    context: u32,
    /// Runs, of which the median counts; one more is made first to warm up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Tokens read at a time in prefill
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk: Option<u32>,
    /// Time every stage on the GPU: one token, and one chunk of the prompt
    #[arg(long)]
    profile: bool,
    /// Instead: what forking, saving, restoring and editing a conversation cost, next to reading it again
    #[arg(long, conflicts_with_all = ["profile", "prompt_tokens", "gen_tokens", "context"])]
    state: bool,
    /// Tokens of those conversations
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "512,4096,32768", requires = "state")]
    pub contexts: Vec<u32>,
    /// For programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gpu: GpuArgs,
}

/// Seconds of one run.
struct Run {
    prefill: f64,
    first_token: f64,
    decode: f64,
}

pub fn run(args: &Args) -> Outcome {
    if args.state {
        return crate::bench_state::run(args);
    }
    let checkpoint = args.gpu.open(&args.model)?;
    let start = Instant::now();
    let engine = args.gpu.load(&checkpoint, &LoadOptions { chunk: args.chunk, ..LoadOptions::default() })?;
    let load = start.elapsed().as_secs_f64();
    let mut session = Session::new(&engine)?;
    measure(args, &mut session)?;
    let runs = (0..args.repeat).map(|_| measure(args, &mut session)).collect::<Outcome<Vec<Run>>>()?;
    let median = |value: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (prefill, first_token, decode) = (median(|r| r.prefill), median(|r| r.first_token), median(|r| r.decode));
    // The first of the answer's tokens belongs to the prompt.
    let decoded = f64::from(args.gen_tokens - 1);
    let mut report = json!({
        "model": args.model,
        "adapter": engine.gpu_name(),
        "software": engine.model().gpu().is_software(),
        "weight_bytes": engine.model().weight_bytes(),
        "kv": engine.model().kv().kv().name(),
        "load_seconds": load,
        "context": args.context,
        "prompt_tokens": args.prompt_tokens,
        "gen_tokens": args.gen_tokens,
        "runs": args.repeat,
        "prefill_tokens_per_second": f64::from(args.prompt_tokens) / prefill,
        "time_to_first_token_seconds": first_token,
        "decode_tokens_per_second": decoded / decode,
        "decode_milliseconds_per_token": decode / decoded * 1e3,
        "dispatches_per_token": session.plan(false).dispatches().len(),
    });
    if args.profile {
        report["profile"] = profile(args, &mut session)?;
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{report:#}")?;
        return Ok(());
    }
    let number = |key: &str| report[key].as_f64().unwrap_or(0.0);
    writeln!(out, "adapter          {}", engine.gpu_name())?;
    writeln!(out, "loading          {load:.2} s")?;
    writeln!(out, "prefill          {:.1} tokens/s", number("prefill_tokens_per_second"))?;
    writeln!(out, "first token      {first_token:.3} s")?;
    writeln!(
        out,
        "decode           {:.1} tokens/s ({:.2} ms a token, {} dispatches)",
        number("decode_tokens_per_second"),
        number("decode_milliseconds_per_token"),
        report["dispatches_per_token"],
    )?;
    for part in ["token", "prefill"] {
        for stage in report["profile"][part].as_array().into_iter().flatten() {
            writeln!(
                out,
                "{part:<8} {:<18} {:>4} x {:>9.2} us = {:>9.3} ms {:>9.0} GB/s of weights",
                stage["name"].as_str().unwrap_or_default(),
                stage["dispatches"],
                stage["microseconds_each"].as_f64().unwrap_or(0.0),
                stage["milliseconds"].as_f64().unwrap_or(0.0),
                stage["weight_gigabytes_per_second"].as_f64().unwrap_or(0.0),
            )?;
        }
    }
    Ok(())
}

/// Stage by stage on the GPU's clock: a token after the prompt, and a chunk of a prompt.
fn profile(args: &Args, session: &mut Session) -> Outcome<serde_json::Value> {
    let mut parts = serde_json::Map::new();
    let chunk = session.engine().model().chunk().min(args.prompt_tokens);
    for (name, tokens) in [("token", 1), ("prefill", chunk)] {
        session.start_at(args.context + if tokens == 1 { args.prompt_tokens } else { 0 })?;
        let stages = block_on(peregrine::profile::profile(session, tokens, 20))?;
        let rows = stages.iter().map(|stage| {
            json!({
                "name": stage.name,
                "dispatches": stage.dispatches,
                "milliseconds": stage.seconds * 1e3,
                "microseconds_each": stage.seconds * 1e6 / f64::from(stage.dispatches.max(1)),
                "weight_gigabytes_per_second": stage.weight_bytes as f64 / stage.seconds * 1e-9,
            })
        });
        parts.insert(name.into(), rows.collect());
    }
    Ok(parts.into())
}

fn measure(args: &Args, session: &mut Session) -> Outcome<Run> {
    session.reset();
    if args.context > 0 {
        block_on(session.prefill(&ids(args.context, 1, session)))?;
    }
    let prompt = ids(args.prompt_tokens, 2, session);
    let start = Instant::now();
    block_on(session.prefill(&prompt))?;
    let prefill = start.elapsed().as_secs_f64();
    let options = GenerateOptions {
        max_tokens: args.gen_tokens,
        sampling: SamplingOptions::greedy(),
        ignore_end: true,
        ..GenerateOptions::default()
    };
    let answer = block_on(session.generate(&options, &mut |_| true))?;
    Ok(Run { prefill, first_token: prefill + answer.prefill_seconds, decode: answer.decode_seconds })
}

/// Tokens without meaning, the same each time.
pub fn ids(count: u32, seed: u32, session: &Session) -> Vec<u32> {
    let vocab_size = session.engine().config().vocab_size;
    let mut x = seed;
    let next = |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) % vocab_size
    };
    (0..count).map(next).collect()
}
