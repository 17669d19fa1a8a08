//! `bench-table`: random models of official shapes, made, measured and checked in one run; tables
//! in Markdown.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::Gpu;
use peregrine::model::LoadOptions;
use peregrine_workbench::bench::{MOST_APART, ShapeOptions, check_shape, shape_speed};
use peregrine_workbench::synth::{Size, SynthOptions, synth_to_file};
use pollster::block_on;
use serde_json::{Value, json};

use crate::bench::timed;
use crate::common::GpuArgs;
use crate::failure::{Failure, Outcome};
use crate::terminal;

#[derive(clap::Args)]
pub struct Args {
    /// What to do: speed (each size and type at each context), growth (time against context and
    /// layers), check (the GPU against the CPU twin, on few layers of each size and type)
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
            if row["differ"] != 0 || row["samples_differ"] != 0 {
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
            if !row["prefill_against_decode"].as_f64().is_some_and(|difference| difference < MOST_APART) {
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
    let options = LoadOptions { chunk: Some(66), ..args.gpu.options() };
    let engine = args.gpu.load_on(gpu, checkpoint, &options)?;
    Ok(block_on(check_shape(&engine, checkpoint))?)
}

fn measure_model(args: &Args, gpu: &Gpu, checkpoint: &Checkpoint, path: &Path) -> Outcome<Value> {
    // Into the page cache, whatever wrote it.
    std::io::copy(&mut std::fs::File::open(path)?, &mut std::io::sink())?;
    let options = LoadOptions { chunk: args.chunk, ..args.gpu.options() };
    let (engine, load) = timed(|| args.gpu.load_on(gpu, checkpoint, &options))?;
    let (prompt_tokens, gen_tokens, contexts) = (args.prompt_tokens, args.gen_tokens, args.contexts.clone());
    let measured = ShapeOptions { prompt_tokens, gen_tokens, contexts };
    let mut row = block_on(shape_speed(&engine, checkpoint, &measured))?;
    row["load_seconds"] = load.into();
    row["open_to_first_token_seconds"] = (load + row["first_prompt_seconds"].as_f64().unwrap_or(0.0)).into();
    Ok(row)
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
            "| | {title} | prompt of 128 | of {} | ms a token{contexts} sampled at 0.8 | floor, ratio | dispatches | memory | first token |",
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
                number(&first["sampled"]["milliseconds_per_token"]),
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
            "{} {}, {} layers: {} comparisons with the CPU, {} differ (largest {:.1e}); {} samples, {} differ",
            row["size"].as_str().unwrap_or_default(),
            row["type"].as_str().unwrap_or_default(),
            row["layers"],
            row["comparisons"],
            row["differ"],
            row["worst"].as_f64().unwrap_or(f64::NAN),
            row["samples"],
            row["samples_differ"],
        )?;
    }
    Ok(())
}
