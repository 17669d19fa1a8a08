//! `check`: a device against the CPU twin, dispatch by dispatch, on any model.

use std::io::Write;
use std::time::Instant;

use peregrine::gpu::{DeviceKind, Gpu, GpuOptions, Reduction, ShapeClass};
use peregrine::inspect::{Comparison, spread_ids};
use peregrine::model::KvType;
use peregrine::model::LoadOptions;
use peregrine::selfcheck::self_check;
use peregrine::session::{Engine, Session};
use peregrine_workbench::check::{check, halves, worst};
use pollster::block_on;
use serde_json::json;

use crate::common::{open, without_gpu};
use crate::failure::{Failure, Outcome};
use crate::lora::LoraArgs;
use crate::terminal::{self, line, note};

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// Tokens to read: first half of them at once, then the rest one by one
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(2..=512))]
    tokens: u32,
    /// Check every kernel variant that this device can run, not only the one it uses
    #[arg(long)]
    all_variants: bool,
    /// Only the quick comparison that runs before the first answer on a device, and how long it
    /// takes
    #[arg(long)]
    quick: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Whose results are compared: gpu (default), also one in software; cpu, the processor's own
    /// kernels; or auto, what would answer
    #[arg(long, value_name = "KIND", default_value = "gpu", hide_default_value = true)]
    device: DeviceKind,
    /// Part of the name of the GPU adapter to use (`peregrine info` lists them)
    #[arg(long, value_name = "NAME")]
    adapter: Option<String>,
    #[command(flatten)]
    lora: LoraArgs,
}

/// The ways a device can be driven, by name. The processor differs only in how it keeps keys and
/// values.
fn variants(args: &Args) -> Outcome<Vec<(&'static str, GpuOptions, KvType)>> {
    let options = GpuOptions { device: args.device, adapter: args.adapter.clone(), ..GpuOptions::default() };
    let is_processor = args.device != DeviceKind::Gpu && block_on(Gpu::new(&options))?.is_processor();
    let shaped = |shapes, reduction| GpuOptions { shapes: Some(shapes), reduction: Some(reduction), ..options.clone() };
    let mut variants = vec![("default", options.clone(), KvType::default())];
    if args.all_variants && is_processor {
        variants.extend([
            ("keys and values in f32", options.clone(), KvType::F32),
            ("keys and values in 8 bits", options, KvType::Q8),
        ]);
    } else if args.all_variants {
        let f16 = KvType::F16;
        let software = || shaped(ShapeClass::Software, Reduction::Workgroup);
        let cooperative = || GpuOptions { cooperative: true, ..options.clone() };
        let hardware = || shaped(ShapeClass::Hardware, Reduction::Workgroup);
        variants.extend([
            ("baseline limits, no features", GpuOptions { baseline: true, ..options.clone() }, f16),
            ("software shapes", software(), f16),
            ("software shapes, keys and values in f32", software(), KvType::F32),
            ("software shapes, keys and values in 8 bits", software(), KvType::Q8),
            ("GPU shapes, workgroup sums", hardware(), f16),
            ("GPU shapes, keys and values in f32", hardware(), KvType::F32),
            ("GPU shapes, keys and values in 8 bits", hardware(), KvType::Q8),
            ("GPU shapes, subgroup sums", shaped(ShapeClass::Hardware, Reduction::Subgroup), f16),
            ("cooperative matrices", cooperative(), f16),
            ("cooperative matrices, keys and values in f32", cooperative(), KvType::F32),
            ("cooperative matrices, keys and values in 8 bits", cooperative(), KvType::Q8),
        ]);
    }
    Ok(variants)
}

pub fn run(args: &Args) -> Outcome {
    let checkpoint = open(&args.model)?;
    let ids = spread_ids(checkpoint.config.vocab_size, args.tokens);
    let steps = halves(args.tokens);

    let mut reports = Vec::new();
    let mut first_difference = None;
    for (name, options, kv) in variants(args)? {
        let gpu = match block_on(Gpu::new(&options)) {
            Err(error) if options.reduction == Some(Reduction::Subgroup) || options.cooperative => {
                note(&format!("{name}: {error}"));
                continue;
            }
            gpu => gpu.map_err(without_gpu)?,
        };
        // A chunk must hold the first step.
        let load = LoadOptions { chunk: Some(args.tokens), kv, ..LoadOptions::default() };
        let engine = block_on(Engine::load(&gpu, &checkpoint, &load, &mut |_| {}))?;
        args.lora.apply(&engine)?;
        if args.quick {
            let start = Instant::now();
            let failed = block_on(self_check(&engine, &checkpoint))?;
            let seconds = start.elapsed().as_secs_f64();
            let outcome = failed.as_deref().unwrap_or("results are right");
            if args.json {
                reports.push(json!({ "variant": name, "gpu": gpu.name(), "failed": failed, "seconds": seconds }));
            } else {
                writeln!(terminal::stdout(), "{} ({name}): {}; {seconds:.3} s", line(gpu.name()), line(outcome))?;
            }
            first_difference = first_difference.or(failed.map(|what| format!("{what} ({name})")));
            continue;
        }
        let mut session = Session::new(&engine)?;
        let mut results: Vec<Comparison> = Vec::new();
        block_on(check(&mut session, &checkpoint, &ids, &steps, &mut |r| results.push(r.clone())))?;
        let differs = results.iter().find(|r| !r.is_close());
        if let Some(r) = differs
            && first_difference.is_none()
        {
            first_difference = Some(format!(
                "{} at index {}, largest value {:.3e} ({name}, step of {} tokens)",
                r.describe(),
                r.index,
                r.magnitude,
                r.tokens
            ));
        }
        reports.push(if args.json {
            report_json(name, &gpu, &results, differs)
        } else {
            print_table(name, &gpu, &results)?;
            serde_json::Value::Null
        });
    }
    if args.json {
        let report = json!({ "model": args.model, "tokens": args.tokens, "ok": first_difference.is_none(), "variants": reports });
        writeln!(terminal::stdout(), "{}", terminal::json(&report))?;
    }
    match first_difference {
        Some(what) => Err(Failure::run(format!("first stage that differs: {what}"))),
        None => Ok(()),
    }
}

fn print_table(name: &str, gpu: &Gpu, results: &[Comparison]) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    writeln!(out, "{} ({name}; {:?} shapes, {:?} sums)", line(gpu.name()), gpu.shapes(), gpu.reduction())?;
    writeln!(out, "  {:<28} {:>6}  {:>10}  {:>10}  worst at", "stage", "times", "difference", "of largest")?;
    for (r, count) in worst(results) {
        let mark = if r.is_close() { "" } else { "  DIFFERS" };
        let place = if r.stage == r.kind() { "" } else { r.stage.split(", ").next().unwrap_or("") };
        writeln!(
            out,
            "  {:<28} {count:>6}  {:>10.2e}  {:>10.2e}  {place}{mark}",
            r.kind(),
            r.difference,
            r.relative()
        )?;
    }
    let differ = results.iter().filter(|r| !r.is_close()).count();
    writeln!(out, "  {} comparisons, {differ} differ\n", results.len())
}

fn report_json(name: &str, gpu: &Gpu, results: &[Comparison], differs: Option<&Comparison>) -> serde_json::Value {
    let stages: Vec<_> = worst(results)
        .into_iter()
        .map(|(r, count)| {
            json!({ "stage": r.kind(), "count": count, "difference": r.difference, "relative": r.relative(), "worst": r.stage })
        })
        .collect();
    json!({
        "variant": name,
        "gpu": gpu.name(),
        "comparisons": results.len(),
        "differ": results.iter().filter(|r| !r.is_close()).count(),
        "first": differs.map(Comparison::describe),
        "stages": stages,
    })
}
