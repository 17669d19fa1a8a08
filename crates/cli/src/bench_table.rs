//! `bench-table`: random models of official shapes, made, measured and checked in one run; tables in Markdown.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::Gpu;
use peregrine::inspect::Comparison;
use peregrine::model::LoadOptions;
use peregrine::plan::Draw;
use peregrine::sampling::{Sampler, SamplingOptions};
use peregrine::session::{Engine, GenerateOptions, Session};
use peregrine_workbench::check::check;
use peregrine_workbench::profile::{DeviceSpeed, TokenCost};
use peregrine_workbench::synth::{Size, SynthOptions, synth_to_file};
use pollster::block_on;
use serde_json::{Value, json};

use crate::bench::{ids, percentile, timed};
use crate::common::GpuArgs;
use crate::failure::{Failure, Outcome};
use crate::terminal;

#[derive(clap::Args)]
pub struct Args {
    /// What to do: speed (each size and type at each context), growth (time against context and layers), check (the GPU against the
    /// CPU twin, on few layers of each size and type)
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', default_value = "speed,growth,check",
          value_parser = ["speed", "growth", "check"])]
    sections: Vec<String>,
    /// Sizes, as for `synth`; growth is measured with the last of them
    #[arg(long, value_name = "SIZE,SIZE", value_delimiter = ',', default_value = "0.5b,1.5b,1.5b-deep")]
    sizes: Vec<Size>,
    /// Types, as for `synth`; growth is measured with the first of them
    #[arg(long, value_name = "TYPE,TYPE", value_delimiter = ',', default_value = "Q4_K_M,Q8_0")]
    types: Vec<String>,
    /// Tokens before the answer
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "128,2048,8192,32768")]
    contexts: Vec<u32>,
    /// Layers of the models whose growth is measured
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "8,16,32,66")]
    layers: Vec<u32>,
    /// Tokens of the prompt by which prefill is measured
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    prompt_tokens: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..))]
    gen_tokens: u32,
    /// Tokens read at a time in prefill
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: Option<u32>,
    /// Where the models are made, and left; otherwise in a folder that is deleted
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gpu: GpuArgs,
}

/// Difference of the logits of prefill from those of decode, over their standard deviation, beyond which one of them is wrong. Keys
/// and values in f16 alone make some thousandths of it.
const MOST: f64 = 0.05;

/// Layers of the models that are compared with the CPU twin, which is slow.
const CHECKED_LAYERS: u32 = 3;

pub fn run(args: &Args) -> Outcome {
    let start = Instant::now();
    let temporary = tempfile::tempdir()?;
    let folder = args.folder.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::input(format!("--folder {}: {error}", folder.display())))?;
    let gpu = args.gpu.device()?;
    let wanted = |section: &str| args.sections.iter().any(|s| s == section);
    let (Some(last), Some(first)) = (args.sizes.last(), args.types.first()) else {
        return Err(Failure::input("--sizes, --types: at least one of each"));
    };
    let mut out = terminal::stdout();
    let mut report = json!({ "adapter": gpu.name(), "software": gpu.is_software() });
    let mut wrong = Vec::new();
    if wanted("check") {
        let mut rows = Vec::new();
        for (size, kind) in each(args) {
            let row = with_file(folder, *size, kind, Some(CHECKED_LAYERS), args, &gpu, check_model)?;
            if row["differ"] != 0 || row["draws_differ"] != 0 {
                wrong.push(format!("{} {kind}: {row}", size.name()));
            }
            rows.push(row);
        }
        report["check"] = rows.into();
    }
    for (section, runs) in [
        ("speed", each(args).map(|(size, kind)| (*size, kind, None)).collect::<Vec<_>>()),
        ("growth", args.layers.iter().map(|layers| (*last, first.as_str(), Some(*layers))).collect()),
    ] {
        if !wanted(section) {
            continue;
        }
        let mut rows = Vec::new();
        for (size, kind, layers) in runs {
            let row = with_file(folder, size, kind, layers, args, &gpu, measure_model)?;
            if !row["prefill_against_decode"].as_f64().is_some_and(|difference| difference < MOST) {
                wrong.push(format!("{} {kind}: prefill and decode differ: {row}", size.name()));
            }
            rows.push(row);
        }
        report[section] = rows.into();
    }
    report["seconds"] = start.elapsed().as_secs_f64().into();
    match args.json {
        true => writeln!(out, "{}", terminal::json(&report))?,
        false => tables(&mut out, args, &report)?,
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::run(wrong.join("; "))),
    }
}

fn each(args: &Args) -> impl Iterator<Item = (&Size, &str)> {
    args.sizes.iter().flat_map(|size| args.types.iter().map(move |kind| (size, kind.as_str())))
}

/// Makes a model, if it is not there from the last time, and does something with it.
fn with_file(
    folder: &Path,
    size: Size,
    kind: &str,
    layers: Option<u32>,
    args: &Args,
    gpu: &Gpu,
    work: fn(&Args, &Gpu, &Checkpoint, &Path) -> Outcome<Value>,
) -> Outcome<Value> {
    let options = SynthOptions { layers, ..SynthOptions::new(size, kind.parse()?, 1) };
    let suffix = layers.map(|layers| format!("-{layers}")).unwrap_or_default();
    let path = folder.join(format!("{}{suffix}-{kind}.gguf", size.name()));
    if !path.exists() {
        // Whole or not at all.
        let part = path.with_extension("part");
        synth_to_file(&part, &options, &mut |_, _| {})?;
        std::fs::rename(&part, &path)?;
    }
    let name = path.to_str().ok_or_else(|| Failure::input(format!("{}: the path is not UTF-8", path.display())))?;
    let checkpoint = args.gpu.open(name)?;
    let mut row = json!({ "size": size.name(), "type": kind, "layers": checkpoint.config.num_hidden_layers });
    let found = work(args, gpu, &checkpoint, &path)?;
    row.as_object_mut().into_iter().for_each(|row| row.extend(found.as_object().cloned().unwrap_or_default()));
    if args.folder.is_none() {
        std::fs::remove_file(&path)?;
    }
    Ok(row)
}

fn check_model(args: &Args, gpu: &Gpu, checkpoint: &Checkpoint, _: &Path) -> Outcome<Value> {
    // More than a tile of tokens at once, then one by one.
    let steps = [66, 1, 1];
    let engine = args.gpu.load_on(gpu, checkpoint, &LoadOptions { chunk: Some(66), ..LoadOptions::default() })?;
    let mut session = Session::new(&engine)?;
    let tokens = ids(steps.iter().sum(), 3, &session);
    let mut results: Vec<Comparison> = Vec::new();
    block_on(check(&mut session, checkpoint, &tokens, &steps, &mut |result| results.push(result.clone())))?;
    let differ: Vec<&Comparison> = results.iter().filter(|r| !r.is_close()).collect();
    let relative = |r: &Comparison| f64::from(r.difference / r.magnitude.max(1e-3));
    let worst = results.iter().map(relative).fold(0.0, f64::max);
    // `check` leaves no logits on the host.
    block_on(session.prefill(&tokens[..1]))?;
    let logits = session.logits().to_vec();
    let (mut draws, mut draws_differ) = (0, 0);
    for (top_k, top_p, min_p) in [(0, 1.0, 0.0), (40, 1.0, 0.0), (0, 0.9, 0.0), (100, 0.9, 0.05)] {
        let options = SamplingOptions { temperature: 1.0, top_k, top_p, min_p, ..SamplingOptions::default() };
        let mut sampler = Sampler::new(options.clone())?;
        for n in 0..if engine.model().draws_at_temperatures() { 10 } else { 0 } {
            let found = block_on(session.draw_on_gpu(&logits, &options, n, None))?;
            draws += 1;
            draws_differ += u32::from(found != sampler.sample(&logits, &[])?);
        }
    }
    Ok(json!({
        "comparisons": results.len(),
        "differ": differ.len(),
        "first": differ.first().map(|r| &r.stage),
        "worst": worst,
        "draws": draws,
        "draws_differ": draws_differ,
    }))
}

fn measure_model(args: &Args, gpu: &Gpu, checkpoint: &Checkpoint, path: &Path) -> Outcome<Value> {
    // Into the page cache, whatever wrote it.
    std::io::copy(&mut std::fs::File::open(path)?, &mut std::io::sink())?;
    let options = LoadOptions { chunk: args.chunk, ..LoadOptions::default() };
    let start = Instant::now();
    let (engine, load) = timed(|| args.gpu.load_on(gpu, checkpoint, &options))?;
    let mut session = Session::new(&engine)?;
    let short = ids(128, 2, &session);
    block_on(session.complete(&short, &greedy(1), &mut |_| true))?;
    let first_token = start.elapsed().as_secs_f64();
    let agree = prefill_against_decode(&engine)?;
    let mut prefill = Vec::new();
    for tokens in [128, args.prompt_tokens] {
        let prompt = ids(tokens, 2, &session);
        // Once to warm up, then the best of three: what disturbs only ever slows down.
        let mut best = f64::INFINITY;
        for _ in 0..4 {
            session.reset();
            best = best.min(timed(|| Ok(block_on(session.complete(&prompt, &greedy(1), &mut |_| true))?))?.1);
        }
        prefill.push(json!({
            "tokens": tokens, "tokens_per_second": f64::from(tokens) / best, "time_to_first_token_seconds": best,
        }));
    }
    session.reset();
    let speed = block_on(DeviceSpeed::measure(engine.model()))?;
    let (mut decode, mut read) = (Vec::new(), 0);
    for context in &args.contexts {
        if u64::from(*context) + 2 * u64::from(args.gen_tokens) > u64::from(engine.model().context_length())
            || *context <= read
        {
            continue;
        }
        let more = ids(*context - read, *context, &session);
        let (_, seconds) = timed(|| Ok(block_on(session.prefill(&more))?))?;
        let mut row = answer(args, &mut session, SamplingOptions::greedy())?;
        row["context"] = (*context).into();
        row["read_tokens_per_second"] = (f64::from(*context - read) / seconds).into();
        if decode.is_empty() {
            let drawn = SamplingOptions { temperature: 0.8, top_p: 0.95, ..SamplingOptions::default() };
            row["drawn"] = answer(args, &mut session, drawn)?;
        }
        let cost = TokenCost::at(&session, *context + args.gen_tokens / 2, Draw::Likeliest);
        row["dispatches"] = cost.dispatches.into();
        row["bytes"] = cost.bytes().into();
        row["floor_milliseconds"] = speed.map(|speed| speed.floor(&cost) * 1e3).into();
        decode.push(row);
        read = session.position();
    }
    let model = engine.model();
    Ok(json!({
        "load_seconds": load,
        "open_to_first_token_seconds": first_token,
        "prefill": prefill,
        "decode": decode,
        "prefill_against_decode": agree,
        "memory_ratio": model.bytes() as f64 / checkpoint.tensor_bytes() as f64,
        "device": speed.map(|speed| json!({
            "gigabytes_per_second": speed.bytes_per_second * 1e-9,
            "microseconds_per_dispatch": speed.dispatch_seconds * 1e6,
        })),
    }))
}

fn greedy(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, sampling: SamplingOptions::greedy(), ignore_end: true, ..GenerateOptions::default() }
}

/// Milliseconds a token of an answer that goes on from where the session is.
fn answer(args: &Args, session: &mut Session, sampling: SamplingOptions) -> Outcome<Value> {
    let (mut tokens, mut last) = (Vec::new(), None);
    block_on(session.generate(&GenerateOptions { sampling, ..greedy(args.gen_tokens) }, &mut |_| {
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            tokens.push((now - last).as_secs_f64() * 1e3);
        }
        true
    }))?;
    let mean = tokens.iter().sum::<f64>() / tokens.len() as f64;
    tokens.sort_by(f64::total_cmp);
    Ok(json!({
        "milliseconds_per_token": mean,
        "p50": percentile(&tokens, 0.5), "p90": percentile(&tokens, 0.9), "p99": percentile(&tokens, 0.99),
    }))
}

/// The largest difference of the logits after some tokens read at once and one by one, over their standard deviation.
fn prefill_against_decode(engine: &Rc<Engine>) -> Outcome<f64> {
    let tokens = ids(40, 5, &Session::new(engine)?);
    let mut rows = Vec::new();
    for step in [tokens.len(), 1] {
        let mut session = Session::new(engine)?;
        for part in tokens.chunks(step) {
            block_on(session.prefill(part))?;
        }
        rows.push(session.logits().iter().map(|l| f64::from(*l)).collect::<Vec<_>>());
    }
    Ok(apart(&rows[0], &rows[1]))
}

/// The largest difference, over the standard deviation of `a`; infinite where one of them is no number.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let mean = a.iter().sum::<f64>() / n;
    let deviation = (a.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let most = differences.fold(0.0, |most: f64, d| if d.is_finite() { most.max(d) } else { f64::INFINITY });
    if a.len() == b.len() { most / deviation } else { f64::INFINITY }
}

fn tables(out: &mut impl Write, args: &Args, report: &Value) -> Outcome {
    let number = |value: &Value| value.as_f64().map(|n| format!("{n:.2}")).unwrap_or_else(|| "–".into());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    writeln!(
        out,
        "{}; {:.0} s in all\n",
        report["adapter"].as_str().unwrap_or_default(),
        report["seconds"].as_f64().unwrap_or(0.0)
    )?;
    let contexts: String = args.contexts.iter().map(|context| format!(" at {context} |")).collect();
    for (section, title) in [("speed", "type"), ("growth", "layers")] {
        if report[section].is_null() {
            continue;
        }
        writeln!(
            out,
            "| | {title} | prompt of 128 | of {} | ms a token{contexts} drawn at 0.8 | floor, ratio | dispatches | memory | first token |",
            args.prompt_tokens
        )?;
        writeln!(out, "|{}", "---|".repeat(9 + args.contexts.len()))?;
        for row in list(&report[section]) {
            let name = if section == "speed" { &row["type"] } else { &row["layers"] };
            write!(out, "| {} | {} |", row["size"].as_str().unwrap_or_default(), name.to_string().trim_matches('"'))?;
            for prefill in list(&row["prefill"]) {
                write!(out, " {:.0} tokens/s |", prefill["tokens_per_second"].as_f64().unwrap_or(0.0))?;
            }
            let decode = list(&row["decode"]);
            for context in &args.contexts {
                let at = decode.iter().find(|d| d["context"] == *context);
                write!(out, " {} |", at.map_or("–".into(), |at| number(&at["milliseconds_per_token"])))?;
            }
            let first = decode.first().unwrap_or(&Value::Null);
            let ratio = match (first["milliseconds_per_token"].as_f64(), first["floor_milliseconds"].as_f64()) {
                (Some(found), Some(floor)) => format!("{floor:.2}, {:.2}", found / floor),
                _ => "–".into(),
            };
            writeln!(
                out,
                " {} | {ratio} | {} | {} | {} s |",
                number(&first["drawn"]["milliseconds_per_token"]),
                first["dispatches"],
                number(&row["memory_ratio"]),
                number(&row["open_to_first_token_seconds"]),
            )?;
        }
        writeln!(out)?;
    }
    if !report["growth"].is_null() {
        writeln!(out, "| layers | context | ms a token | dispatches | bytes a token | read before it |")?;
        writeln!(out, "|---|---|---|---|---|---|")?;
        for row in list(&report["growth"]) {
            for decode in list(&row["decode"]) {
                writeln!(
                    out,
                    "| {} | {} | {} | {} | {:.1} MB | {:.0} tokens/s |",
                    row["layers"],
                    decode["context"],
                    number(&decode["milliseconds_per_token"]),
                    decode["dispatches"],
                    decode["bytes"].as_f64().unwrap_or(0.0) / 1e6,
                    decode["read_tokens_per_second"].as_f64().unwrap_or(0.0),
                )?;
            }
        }
        writeln!(out)?;
    }
    for row in list(&report["check"]) {
        writeln!(
            out,
            "{} {}, {} layers: {} comparisons with the CPU, {} differ (largest {:.1e}); {} draws, {} differ",
            row["size"].as_str().unwrap_or_default(),
            row["type"].as_str().unwrap_or_default(),
            row["layers"],
            row["comparisons"],
            row["differ"],
            row["worst"].as_f64().unwrap_or(f64::NAN),
            row["draws"],
            row["draws_differ"],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MOST, apart};

    #[test]
    fn logits_that_differ_are_seen() {
        let logits: Vec<f64> = (0..100).map(|i| f64::from(i % 7)).collect();
        assert_eq!(apart(&logits, &logits), 0.0);
        for wrong in [0.2, -0.2, f64::NAN, f64::INFINITY] {
            let mut other = logits.clone();
            other[3] += wrong;
            // JSON has no infinity, so it is null there, which is not below the limit either.
            assert!(apart(&logits, &other) > MOST, "{wrong}");
        }
        assert!(apart(&logits, &logits[1..]) > MOST);
    }
}
