//! `bench`: how fast a model runs here.

use std::io::Write;
use std::time::Instant;

use peregrine::model::LoadOptions;
use peregrine::session::{Engine, Session};
use peregrine_workbench::bench::{BenchOptions, adapted, ids, masked, speed, stages};
use pollster::block_on;
use serde_json::{Value, json};

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
    /// Sample the answer at this temperature instead of taking the likeliest tokens
    #[arg(long, value_name = "X", value_parser = temperature)]
    temperature: Option<f32>,
    /// Make answers by the schema in this file, too: what its masks cost a token, next to the same
    /// without them
    #[arg(long, value_name = "FILE")]
    json_schema: Option<String>,
    /// Time every stage on the GPU: one token, and one chunk of the prompt
    #[arg(long)]
    profile: bool,
    /// Instead: what forking, saving, restoring and editing a conversation cost, next to reading it
    /// again
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
    let bench = args.options();
    let (checkpoint, open) = timed(|| args.gpu.open(&args.model))?;
    let (gpu, device) = timed(|| args.gpu.device())?;
    let options = LoadOptions { chunk: args.chunk, ..args.gpu.options() };
    let (engine, model) = timed(|| args.gpu.load_on(&gpu, &checkpoint, &options))?;
    let (mut session, first_prompt) = timed(|| {
        let mut session = Session::new(&engine)?;
        let prompt = ids(args.prompt_tokens, 2, &session);
        block_on(session.complete(&prompt, &bench.generate(1), &mut |_| true))?;
        Ok(session)
    })?;
    let mut report = block_on(speed(&mut session, &checkpoint, &bench))?;
    report["model"] = args.model.as_str().into();
    report["load_seconds"] = model.into();
    report["loading"] = Loading { open, device, model, first_prompt }.report(&engine);
    if !session.adapters().is_empty() {
        report["lora"] = block_on(adapted(&mut session, &bench))?;
    }
    if let Some(format) = &format {
        let (grammar, compile) = timed(|| format.compile(&engine))?;
        let mut masks = block_on(masked(&mut session, grammar, &bench))?;
        masks["compile_seconds"] = compile.into();
        report["json_schema"] = masks;
    }
    if args.profile {
        report["profile"] = block_on(stages(&mut session, &bench))?;
    }
    let mut out = terminal::stdout();
    if args.json {
        writeln!(out, "{}", terminal::json(&report))?;
        return Ok(());
    }
    table(&mut out, &report)?;
    adapters_table(&mut out, &report["lora"])?;
    masks_table(&mut out, &report["json_schema"])?;
    stages_table(&mut out, &report["profile"])
}

impl Args {
    fn options(&self) -> BenchOptions {
        BenchOptions {
            context: self.context,
            prompt_tokens: self.prompt_tokens,
            gen_tokens: self.gen_tokens,
            temperature: self.temperature,
            repeat: self.repeat,
        }
    }
}

impl Loading {
    fn report(&self, engine: &Engine) -> Value {
        let Self { open, device, model, first_prompt } = *self;
        let times = engine.model().load_times();
        json!({
            "open_to_first_token_seconds": open + device + model + first_prompt,
            "open_seconds": open,
            "device_seconds": device,
            "model_seconds": model,
            "read_seconds": times.read,
            "repack_seconds": times.repack,
            "upload_seconds": times.upload,
            "pipeline_seconds": times.pipelines,
            "pipelines": engine.model().pipeline_count(),
            "first_prompt_seconds": first_prompt,
        })
    }
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

fn table(out: &mut impl Write, report: &Value) -> Outcome {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
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

/// What adapters cost, where there are any.
fn adapters_table(out: &mut impl Write, report: &Value) -> Outcome {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    if report.is_null() {
        return Ok(());
    }
    writeln!(
        out,
        "with adapters    prefill {:.1} tokens/s instead of {:.1} ({:.3} times as long), decode {:.3} ms a token instead of {:.3} ({:.3} times)",
        number("/prefill_tokens_per_second"),
        number("/plain_prefill_tokens_per_second"),
        number("/prefill_ratio"),
        number("/decode_milliseconds_per_token"),
        number("/plain_decode_milliseconds_per_token"),
        number("/decode_ratio"),
    )?;
    Ok(())
}

/// What masks cost, where that was asked for.
fn masks_table(out: &mut impl Write, report: &Value) -> Outcome {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    if report.is_null() {
        return Ok(());
    }
    writeln!(
        out,
        "by schema        {:.2} ms a token, {:.3} times the {:.2} without it; {:.0}% of the tokens had to come",
        number("/milliseconds_per_token"),
        number("/ratio"),
        number("/plain_milliseconds_per_token"),
        number("/forced_share") * 100.0,
    )?;
    writeln!(
        out,
        "  its masks      half below {:.0} us, 90% below {:.0}, 99% below {:.0}; {:.0} us a token for the rest; compiled in {:.2} s",
        number("/mask_microseconds/p50"),
        number("/mask_microseconds/p90"),
        number("/mask_microseconds/p99"),
        number("/other_microseconds_per_token"),
        number("/compile_seconds"),
    )?;
    Ok(())
}

/// What the stages cost, where that was asked for.
fn stages_table(out: &mut impl Write, profile: &Value) -> Outcome {
    for part in ["token", "prefill"] {
        for stage in profile[part].as_array().into_iter().flatten() {
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
