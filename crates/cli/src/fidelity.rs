//! `fidelity`: the GPU's logits against the CPU twin in f64.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches};
use indicatif::ProgressBar;
use peregrine::Error;
use peregrine::checkpoint::Checkpoint;
use peregrine::model::KvType;
use peregrine::model::LoadOptions;
use peregrine::reference::Real;
use peregrine::session::Session;
use peregrine_workbench::fidelity::{
    Difference, Fidelity, FidelityOptions, TOLERANCE, TOLERANCE_F16, TOLERANCE_Q8, compare, exact as exact_logits,
};
use peregrine_workbench::part_file::PartFile;
use peregrine_workbench::quantize::QuantType;
use peregrine_workbench::synth::{Size, Store, SynthOptions, synth_folder, synth_to_file};
use pollster::block_on;
use serde_json::{Value, json};

use crate::common::GpuArgs;
use crate::failure::{Failure, Outcome};
use crate::terminal::{self, line, note};

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub; without
    /// MODEL, a small random model in every block format and container
    model: Option<String>,
    /// Without MODEL: only those with one of these words in their name, as in --only Q4_0,GPTQ
    #[arg(long, value_name = "WORDS", value_delimiter = ',', conflicts_with = "model")]
    only: Vec<String>,
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
    /// Write the CPU's logits that were compared with: rows of V numbers, f64 little-endian (f32
    /// with --single)
    #[arg(long, value_name = "FILE", requires = "model")]
    exact: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gpu: GpuArgs,
    #[command(flatten)]
    kv: KvChoice,
}

/// Whether `--kv` was given: without it several types are compared.
struct KvChoice {
    is_given: bool,
}

impl FromArgMatches for KvChoice {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { is_given: matches.value_source("kv") == Some(ValueSource::CommandLine) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for KvChoice {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// A model with one type of keys and values.
struct Row {
    name: String,
    kv: KvType,
    fidelity: Fidelity,
}

impl Row {
    /// The largest difference that is allowed, as a share of the standard deviation.
    fn tolerance(&self) -> f64 {
        match self.kv {
            KvType::F32 => TOLERANCE,
            KvType::F16 => TOLERANCE_F16,
            KvType::Q8 => TOLERANCE_Q8,
        }
    }
}

pub fn run(args: &Args) -> Outcome {
    let mut rows = Vec::new();
    let mut adapter = String::new();
    match &args.model {
        Some(model) => {
            let kv = if args.kv.is_given { vec![args.gpu.kv()] } else { KvType::ALL.to_vec() };
            adapter = one(args, model, &args.gpu.open(model)?, &kv, &mut rows)?;
        }
        None => {
            let cases = cases(&args.only);
            if cases.is_empty() {
                let words = args.only.join(",");
                return Err(Failure::input(format!("--only {words}: no format or container has such a name")));
            }
            for case in cases {
                let folder = tempfile::tempdir().map_err(Failure::writing("a temporary folder"))?;
                let path = case.make(folder.path())?;
                let checkpoint = args.gpu.open(&path.display().to_string())?;
                // What rounding loses does not depend on the weights' format: once is enough.
                let kv = match args.kv.is_given {
                    true => vec![args.gpu.kv()],
                    false if case.name.ends_with("mix Q4_K_M") => KvType::ALL.to_vec(),
                    false => vec![KvType::F32],
                };
                adapter = one(args, &case.name, &checkpoint, &kv, &mut rows)?;
            }
        }
    }
    if args.json {
        writeln!(terminal::stdout(), "{}", terminal::json(&json(&adapter, args, &rows)))?;
    } else {
        print(&adapter, args, &rows)?;
    }
    match rows.iter().find(|row| !row.fidelity.is_within(row.tolerance())) {
        None => Ok(()),
        Some(row) => Err(Failure::run(format!("{}: the logits differ by more than rounding", row.name))),
    }
}

/// A small random model in one form.
struct Case {
    name: String,
    options: SynthOptions,
    /// `None`: GGUF.
    store: Option<Store>,
}

impl Case {
    fn new(name: impl Into<String>, target: QuantType) -> Self {
        Self { name: name.into(), options: SynthOptions::new(Size::Toy, target, 1), store: None }
    }

    /// Writes it below `folder`. The result is what to open.
    fn make(&self, folder: &Path) -> Outcome<PathBuf> {
        match self.store {
            Some(store) => Ok(synth_folder(folder, &self.options, store).map(|()| folder.to_path_buf())?),
            None => Ok(synth_to_file(&folder.join("model.gguf"), &self.options, &mut |_, _| {})?),
        }
    }
}

/// Every block format by itself, the mixes of several, every container.
fn cases(only: &[String]) -> Vec<Case> {
    use QuantType::{F32, IQ4_NL, IQ4_XS, Q2_K, Q3_K_M, Q4_K_M, Q5_K_M};
    let pure = |target: &QuantType| {
        let mut case = Case::new(format!("GGUF, all {}", target.name().trim_end_matches("_M")), *target);
        case.options.pure = true;
        case
    };
    let mut cases: Vec<Case> = QuantType::ALL.iter().map(pure).collect();
    cases.extend(
        [Q5_K_M, Q4_K_M, Q3_K_M, Q2_K, IQ4_NL, IQ4_XS].map(|mix| Case::new(format!("GGUF, mix {}", mix.name()), mix)),
    );
    let gptq = |bits, desc_act| Some(Store::Gptq { bits, desc_act });
    for (name, files, store) in [
        ("GGUF, mix Q4_K_M, three files", 3, None),
        ("safetensors, BF16, two files", 2, Some(Store::BF16)),
        ("safetensors, GPTQ 4 bits", 1, gptq(4, false)),
        ("safetensors, GPTQ 4 bits, desc_act", 1, gptq(4, true)),
        ("safetensors, GPTQ 8 bits", 1, gptq(8, false)),
    ] {
        let mut case = Case::new(name, if store.is_some() { F32 } else { Q4_K_M });
        (case.options.files, case.store) = (files, store);
        cases.push(case);
    }
    cases.retain(|case| only.is_empty() || only.iter().any(|word| case.name.contains(word.as_str())));
    cases
}

/// Measures a model with each type of keys and values. The result is the adapter's name.
fn one(args: &Args, name: &str, checkpoint: &Checkpoint, kv: &[KvType], rows: &mut Vec<Row>) -> Outcome<String> {
    match args.single {
        true => measure::<f32>(args, name, checkpoint, kv, rows),
        false => measure::<f64>(args, name, checkpoint, kv, rows),
    }
}

/// Little-endian.
fn bytes_of<T: Real>(values: &[T], single: bool) -> Vec<u8> {
    let wide = values.iter().map(|value| (*value).into());
    match single {
        true => wide.flat_map(|value: f64| (value as f32).to_le_bytes()).collect(),
        false => wide.flat_map(f64::to_le_bytes).collect(),
    }
}

fn measure<T: Real>(
    args: &Args,
    name: &str,
    checkpoint: &Checkpoint,
    kv: &[KvType],
    rows: &mut Vec<Row>,
) -> Outcome<String> {
    let mut options = FidelityOptions {
        prompt_tokens: args.prompt_tokens,
        last: args.last.min(args.prompt_tokens),
        decode_tokens: args.decode_tokens,
    };
    let (mut exact, mut adapter) = (None, String::new());
    for kv in kv {
        let start = Instant::now();
        let engine =
            args.gpu.load(checkpoint, &LoadOptions { kv: *kv, logit_rows: Some(u32::MAX), ..args.gpu.options() })?;
        options.last = options.last.min(engine.model().logit_rows());
        let mut session = Session::new(&engine)?;
        let expected = match exact.take() {
            Some(expected) => expected,
            None => {
                let bar = ProgressBar::new(checkpoint.config.num_hidden_layers.into()).with_message("CPU twin");
                let start = Instant::now();
                let expected = block_on(exact_logits::<T>(checkpoint, session.adapters(), &options, &mut |n| {
                    bar.set_position(n.into())
                }))?;
                bar.finish_and_clear();
                if !args.json {
                    note(&format!("{name}: {:.1} s for the CPU", start.elapsed().as_secs_f64()));
                }
                if let Some(path) = &args.exact {
                    let mut file = PartFile::create(path)?;
                    let written = file.out().write_all(&bytes_of(&expected, args.single));
                    file.finish(written.map_err(|source| Error::Io { name: "the output".into(), source }))?;
                }
                expected
            }
        };
        let fidelity = block_on(compare(&mut session, &options, &expected))?;
        if !args.json {
            let seconds = start.elapsed().as_secs_f64();
            note(&format!("{name}, keys and values in {}: {seconds:.1} s in all", kv.name()));
        }
        rows.push(Row { name: name.into(), kv: *kv, fidelity });
        adapter = engine.gpu_name().into();
        exact = Some(expected);
    }
    Ok(adapter)
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
fn print(adapter: &str, args: &Args, rows: &[Row]) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    writeln!(out, "{}\n", line(&title(adapter, args)))?;
    writeln!(out, "| | keys, values | | largest difference | mean | KL, nats | same argmax | standard deviation |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for row in rows {
        for (kind, d) in [("prefill", &row.fidelity.prefill), ("decode", &row.fidelity.decode)] {
            let mark = if d.is_within(row.tolerance()) { "" } else { " **differs**" };
            writeln!(
                out,
                "| {} | {} | {kind} | {:.1e}{mark} | {:.1e} | {:.1e} | {} of {} | {:.2} |",
                line(&row.name),
                row.kv.name(),
                d.largest,
                d.mean,
                d.kl,
                d.same_argmax,
                d.rows,
                d.deviation
            )?;
        }
    }
    Ok(())
}

fn json(adapter: &str, args: &Args, rows: &[Row]) -> Value {
    let difference = |d: &Difference, tolerance: f64| {
        json!({"rows": d.rows, "largest": d.largest, "mean": d.mean, "kl": d.kl, "same_argmax": d.same_argmax,
            "deviation": d.deviation, "ok": d.is_within(tolerance)})
    };
    let models: Vec<Value> = rows
        .iter()
        .map(|row| {
            let (f, tolerance) = (&row.fidelity, row.tolerance());
            json!({"name": row.name, "kv": row.kv.name(), "tolerance_of_deviation": tolerance,
                "prefill": difference(&f.prefill, tolerance), "decode": difference(&f.decode, tolerance)})
        })
        .collect();
    json!({"adapter": adapter, "prompt_tokens": args.prompt_tokens, "decode_tokens": args.decode_tokens,
        "reference": if args.single { "f32" } else { "f64" },
        "ok": rows.iter().all(|row| row.fidelity.is_within(row.tolerance())), "models": models})
}
