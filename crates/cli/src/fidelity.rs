//! `fidelity`: the GPU's logits against the CPU twin in f64.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use peregrine::checkpoint::Checkpoint;
use peregrine::fidelity::{Difference, Fidelity, FidelityOptions, TOLERANCE, measure};
use peregrine::model::LoadOptions;
use peregrine::session::Session;
use pollster::block_on;
use serde_json::{Value, json};

use crate::common::GpuArgs;
use crate::failure::{Failure, Outcome};

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// Tokens to read in chunks
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    prompt_tokens: u32,
    /// Of these, compare the logits after the last N (at most a chunk)
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
    /// Tokens to read one by one after that
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    decode_tokens: u32,
    /// The twin in f32, twice as fast
    #[arg(long)]
    single: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gpu: GpuArgs,
}

/// One line of the table.
struct Row {
    name: String,
    fidelity: Fidelity,
}

pub fn run(args: &Args) -> Outcome {
    let checkpoint = args.gpu.open(&args.model)?;
    let (adapter, row) = one(args, &args.model, &checkpoint)?;
    let rows = [row];
    if args.json {
        println!("{:#}", json(&adapter, args, &rows));
    } else {
        print(&adapter, args, &rows);
    }
    match rows.iter().find(|row| !row.fidelity.is_exact()) {
        None => Ok(()),
        Some(row) => Err(Failure::run(format!("{}: the logits differ by more than rounding", row.name))),
    }
}

/// Loads a model and measures it. The adapter's name comes with it.
fn one(args: &Args, name: &str, checkpoint: &Checkpoint) -> Outcome<(String, Row)> {
    let engine = args.gpu.load(checkpoint, &LoadOptions::default())?;
    let mut session = Session::new(&engine)?;
    let last = args.last.min(args.prompt_tokens).min(engine.model().logit_rows());
    let options = FidelityOptions { prompt_tokens: args.prompt_tokens, last, decode_tokens: args.decode_tokens };
    let bar = ProgressBar::new(checkpoint.config.num_hidden_layers.into()).with_message("CPU twin");
    let start = Instant::now();
    let mut twin = None;
    let mut on_layer = |done: u32| {
        twin.get_or_insert_with(Instant::now);
        bar.set_position(done.into());
    };
    let fidelity = match args.single {
        true => block_on(measure::<f32>(&mut session, checkpoint, &options, &mut on_layer))?,
        false => block_on(measure::<f64>(&mut session, checkpoint, &options, &mut on_layer))?,
    };
    bar.finish_and_clear();
    if !args.json {
        let (all, twin) = (start.elapsed(), twin.map_or(Duration::ZERO, |twin| twin.elapsed()));
        eprintln!("{name}: {:.1} s, of which {:.1} s for the CPU", all.as_secs_f64(), twin.as_secs_f64());
    }
    Ok((engine.gpu_name().into(), Row { name: name.into(), fidelity }))
}

fn title(adapter: &str, args: &Args) -> String {
    format!(
        "{adapter}: {} tokens in chunks, then {} one by one; against the CPU in {}",
        args.prompt_tokens,
        args.decode_tokens,
        if args.single { "f32" } else { "f64" }
    )
}

/// As Markdown.
fn print(adapter: &str, args: &Args, rows: &[Row]) {
    println!("{}\n", title(adapter, args));
    println!("| | | largest difference | mean | KL, nats | same argmax | standard deviation |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        for (kind, d) in [("prefill", &row.fidelity.prefill), ("decode", &row.fidelity.decode)] {
            let mark = if d.is_exact() { "" } else { " **differs**" };
            println!(
                "| {} | {kind} | {:.1e}{mark} | {:.1e} | {:.1e} | {} of {} | {:.2} |",
                row.name, d.largest, d.mean, d.kl, d.same_argmax, d.rows, d.deviation
            );
        }
    }
}

fn json(adapter: &str, args: &Args, rows: &[Row]) -> Value {
    let difference = |d: &Difference| {
        json!({"rows": d.rows, "largest": d.largest, "mean": d.mean, "kl": d.kl, "same_argmax": d.same_argmax,
            "deviation": d.deviation, "exact": d.is_exact()})
    };
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let f = &row.fidelity;
            json!({"name": row.name, "prefill": difference(&f.prefill), "decode": difference(&f.decode)})
        })
        .collect();
    json!({"adapter": adapter, "prompt_tokens": args.prompt_tokens, "decode_tokens": args.decode_tokens,
        "reference": if args.single { "f32" } else { "f64" }, "tolerance_of_deviation": TOLERANCE,
        "ok": rows.iter().all(|r| r["prefill"]["exact"] == true && r["decode"]["exact"] == true), "models": rows})
}
