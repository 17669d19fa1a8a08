//! `bench`: how fast a model runs here.

use std::io::Write;
use std::time::Instant;

use peregrine::checkpoint::Checkpoint;
use peregrine::model::LoadOptions;
use peregrine::plan::Draw;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{GenerateOptions, Session};
use peregrine_workbench::profile::{DeviceSpeed, TokenCost};
use pollster::block_on;
use serde_json::json;

use crate::common::GpuArgs;
use crate::failure::Outcome;
use crate::format::json_schema;
use crate::terminal;

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    pub model: String,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Tokens of the answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    pub gen_tokens: u32,
    /// Tokens read before the prompt, which are not counted
    #[arg(long, value_name = "N", default_value_t = 0)]
    context: u32,
    /// Runs, of which the median counts; one more is made first to warm up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Tokens read at a time in prefill
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk: Option<u32>,
    /// Draw the answer at this temperature instead of taking the likeliest tokens
    #[arg(long, value_name = "X", value_parser = temperature)]
    pub temperature: Option<f32>,
    /// Make answers by the schema in this file, too: what its masks cost a token, next to the same without them
    #[arg(long, value_name = "FILE")]
    json_schema: Option<String>,
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
    /// Of each token of the answer but the first.
    tokens: Vec<f64>,
}

impl Run {
    fn decode(&self) -> f64 {
        self.tokens.iter().sum()
    }
}

/// Until the first answer, seconds.
struct Loading {
    open: f64,
    device: f64,
    model: f64,
    first_prompt: f64,
}

pub fn run(args: &Args) -> Outcome {
    if args.state {
        return crate::bench_state::run(args);
    }
    let format = args.json_schema.as_deref().map(json_schema).transpose()?;
    let (checkpoint, open) = timed(|| args.gpu.open(&args.model))?;
    let (gpu, device) = timed(|| args.gpu.device())?;
    let options = LoadOptions { chunk: args.chunk, ..args.gpu.options() };
    let (engine, model) = timed(|| args.gpu.load_on(&gpu, &checkpoint, &options))?;
    let (session, first_prompt) = timed(|| {
        let mut session = Session::new(&engine)?;
        let prompt = ids(args.prompt_tokens, 2, &session);
        block_on(session.complete(&prompt, &generate(1, args), &mut |_| true))?;
        Ok(session)
    })?;
    let loading = Loading { open, device, model, first_prompt };
    let mut session = session;
    measure(args, &mut session)?;
    let runs = (0..args.repeat).map(|_| measure(args, &mut session)).collect::<Outcome<Vec<Run>>>()?;
    let mut report = report(args, &checkpoint, &session, &loading, &runs)?;
    if let Some(format) = &format {
        report["json_schema"] = crate::bench_masked::run(args, format, &mut session)?;
    }
    if args.profile {
        report["profile"] = profile(args, &mut session)?;
    }
    let mut out = terminal::stdout();
    if args.json {
        writeln!(out, "{}", terminal::json(&report))?;
        return Ok(());
    }
    table(&mut out, &report)?;
    crate::bench_masked::table(&mut out, &report["json_schema"])?;
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
        let stages = block_on(peregrine_workbench::profile::profile(session, tokens, 20))?;
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

fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err("a number of at least 0 is needed".into()),
    }
}

/// What work gives, and its seconds.
pub fn timed<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, f64)> {
    let start = Instant::now();
    Ok((work()?, start.elapsed().as_secs_f64()))
}

/// How the answers are made: the likeliest tokens, or by the arguments.
pub fn generate(max_tokens: u32, args: &Args) -> GenerateOptions {
    let sampling = match args.temperature {
        Some(temperature) if temperature > 0.0 => SamplingOptions { temperature, ..SamplingOptions::default() },
        _ => SamplingOptions::greedy(),
    };
    GenerateOptions { max_tokens, sampling, ignore_end: true, ..GenerateOptions::default() }
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
    let (mut first_token, mut tokens, mut last) = (0.0, Vec::new(), start);
    block_on(session.generate(&generate(args.gen_tokens, args), &mut |_| {
        let now = Instant::now();
        match first_token == 0.0 {
            true => first_token = (now - start).as_secs_f64(),
            false => tokens.push((now - last).as_secs_f64()),
        }
        last = now;
        true
    }))?;
    Ok(Run { prefill, first_token, tokens })
}

/// The value below which a share of them lies; nearest rank.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn report(
    args: &Args,
    checkpoint: &Checkpoint,
    session: &Session,
    loading: &Loading,
    runs: &[Run],
) -> Outcome<serde_json::Value> {
    let engine = session.engine();
    let model = engine.model();
    let median = |value: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (prefill, first_token, decode) = (median(|r| r.prefill), median(|r| r.first_token), median(Run::decode));
    // The first of the answer's tokens belongs to the prompt.
    let decoded = f64::from(args.gen_tokens - 1);
    let mut tokens: Vec<f64> = runs.iter().flat_map(|run| &run.tokens).map(|seconds| seconds * 1e3).collect();
    tokens.sort_by(f64::total_cmp);

    let draw = if args.temperature.is_some_and(|t| t > 0.0) { Draw::Weighted } else { Draw::Likeliest };
    // In the middle of the answer.
    let token = TokenCost::at(session, args.context + args.prompt_tokens + args.gen_tokens / 2, draw);
    let speed = block_on(DeviceSpeed::measure(model))?;
    let floor = speed.map(|speed| {
        let floor = speed.floor(&token) * 1e3;
        json!({
            "milliseconds_per_token": floor,
            "ratio": decode / decoded * 1e3 / floor,
            "gigabytes_per_second": speed.bytes_per_second * 1e-9,
            "microseconds_per_dispatch": speed.dispatch_seconds * 1e6,
        })
    });
    let stored = checkpoint.tensor_bytes();
    let (weights, scratch) = (model.bytes() - model.scratch_bytes(), model.scratch_bytes());
    let states = session.state();
    let Loading { open, device, model: load, first_prompt } = *loading;
    let times = model.load_times();
    Ok(json!({
        "model": args.model,
        "adapter": engine.gpu_name(),
        "device": model.gpu().kind().name(),
        "software": model.gpu().is_software(),
        "weight_bytes": model.weight_bytes(),
        "kv": model.kv().kv().name(),
        "load_seconds": load,
        "loading": {
            "open_to_first_token_seconds": open + device + load + first_prompt,
            "open_seconds": open,
            "device_seconds": device,
            "model_seconds": load,
            "read_seconds": times.read,
            "repack_seconds": times.repack,
            "upload_seconds": times.upload,
            "pipeline_seconds": times.pipelines,
            "pipelines": model.pipeline_count(),
            "first_prompt_seconds": first_prompt,
        },
        "context": args.context,
        "prompt_tokens": args.prompt_tokens,
        "gen_tokens": args.gen_tokens,
        "temperature": args.temperature.unwrap_or(0.0),
        "runs": args.repeat,
        "prefill_tokens_per_second": f64::from(args.prompt_tokens) / prefill,
        "time_to_first_token_seconds": first_token,
        "decode_tokens_per_second": decoded / decode,
        "decode_milliseconds_per_token": decode / decoded * 1e3,
        "decode_milliseconds_percentiles": {
            "p50": percentile(&tokens, 0.5),
            "p90": percentile(&tokens, 0.9),
            "p99": percentile(&tokens, 0.99),
        },
        "dispatches_per_token": token.dispatches,
        "bytes_per_token": {
            "weights": token.weight_bytes,
            "states": token.state_bytes,
            "keys_and_values": token.kv_bytes,
            "all": token.bytes(),
        },
        "floor": floor,
        "memory": {
            "stored_weights": stored,
            "weights": weights,
            "scratch": scratch,
            "states": states.fixed_bytes(),
            "keys_and_values": model.kv().bytes(),
            "driver": model.gpu().allocated_bytes(),
            "ratio": (weights + scratch) as f64 / stored as f64,
        },
    }))
}

fn table(out: &mut impl Write, report: &serde_json::Value) -> Outcome {
    let number = |path: &str| report.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    let megabytes = |path: &str| number(path) / 1e6;
    writeln!(out, "adapter          {}", terminal::line(report["adapter"].as_str().unwrap_or_default()))?;
    writeln!(
        out,
        "loading          {:.2} s to the first token: open {:.2}, device {:.2}, model {:.2}, first prompt {:.2}",
        number("/loading/open_to_first_token_seconds"),
        number("/loading/open_seconds"),
        number("/loading/device_seconds"),
        number("/loading/model_seconds"),
        number("/loading/first_prompt_seconds"),
    )?;
    writeln!(
        out,
        "  of the model   read {:.2} s, repack {:.2}, upload {:.2}, {} pipelines {:.2}",
        number("/loading/read_seconds"),
        number("/loading/repack_seconds"),
        number("/loading/upload_seconds"),
        report["loading"]["pipelines"],
        number("/loading/pipeline_seconds"),
    )?;
    writeln!(out, "prefill          {:.1} tokens/s", number("/prefill_tokens_per_second"))?;
    writeln!(out, "first token      {:.3} s", number("/time_to_first_token_seconds"))?;
    writeln!(
        out,
        "decode           {:.1} tokens/s ({:.2} ms a token; half below {:.2}, 90% below {:.2}, 99% below {:.2})",
        number("/decode_tokens_per_second"),
        number("/decode_milliseconds_per_token"),
        number("/decode_milliseconds_percentiles/p50"),
        number("/decode_milliseconds_percentiles/p90"),
        number("/decode_milliseconds_percentiles/p99"),
    )?;
    writeln!(
        out,
        "a token          {} dispatches, {:.1} MB (weights {:.1}, states {:.1}, keys and values {:.1})",
        report["dispatches_per_token"],
        megabytes("/bytes_per_token/all"),
        megabytes("/bytes_per_token/weights"),
        megabytes("/bytes_per_token/states"),
        megabytes("/bytes_per_token/keys_and_values"),
    )?;
    if !report["floor"].is_null() {
        writeln!(
            out,
            "its floor        {:.3} ms at {:.0} GB/s and {:.2} us a dispatch; it takes {:.2} times as long",
            number("/floor/milliseconds_per_token"),
            number("/floor/gigabytes_per_second"),
            number("/floor/microseconds_per_dispatch"),
            number("/floor/ratio"),
        )?;
    }
    writeln!(
        out,
        "GPU memory       weights {:.1} MB and scratch {:.1}: {:.3} times what is stored; states {:.1}, keys and values {:.1}",
        megabytes("/memory/weights"),
        megabytes("/memory/scratch"),
        number("/memory/ratio"),
        megabytes("/memory/states"),
        megabytes("/memory/keys_and_values"),
    )?;
    Ok(())
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
