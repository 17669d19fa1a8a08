//! `info`: what a model file is, or which adapters there are and what would answer.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use indicatif::HumanBytes;
use peregrine::adapter::{Base, Summary};
use peregrine::checkpoint::{Checkpoint, Container, TokenizerData};
use peregrine::config::{ARCHITECTURE, Config};
use peregrine::gpu::{Gpu, GpuOptions};
use peregrine::model::LoadOptions;
use peregrine::model::footprint::{Device, Footprint};
use peregrine::tokenizer::Tokenizer;
use pollster::block_on;
use serde_json::{Value, json};

use crate::common::open;
use crate::failure::{Failure, Outcome};
use crate::lora::LoraArgs;
use crate::terminal::{self, line};

mod adapter;

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub; or a LoRA
    /// adapter: a PEFT folder or a GGUF file
    model: Option<String>,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    lora: LoraArgs,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Outcome {
    if let Some(path) = args.model.as_deref().map(Path::new).filter(|path| block_on(Summary::is_adapter(path))) {
        if !args.lora.is_empty() {
            return Err(Failure::input("--lora names an adapter beside a model, and an adapter is no model: name one"));
        }
        return adapter::alone(&block_on(Summary::read(path))?, args.json);
    }
    let info = match &args.model {
        Some(model) => {
            let checkpoint = open(model)?;
            let adapters = args.lora.open(&Base::of(&checkpoint))?;
            let mut info = describe(&checkpoint);
            info["lora"] = adapters.iter().map(|(adapter, scale)| adapter::describe(adapter, *scale)).collect();
            info["memory"] =
                memory(&checkpoint, adapters.iter().map(|(adapter, _)| adapter.gpu_matrix_bytes()).sum(), args)?;
            info
        }
        None if asks_for_memory(&args.load) || !args.lora.is_empty() => {
            return Err(Failure::input("the options of a load and --lora say what a model needs: name one"));
        }
        None => {
            let adapters = block_on(peregrine::gpu::adapters());
            let describe = |a: &peregrine::gpu::AdapterSummary| json!({"name": a.name, "backend": a.backend, "software": a.software});
            // What a model would run on.
            let device = block_on(Gpu::new(&GpuOptions::default()))?;
            json!({
                "adapters": adapters.iter().map(describe).collect::<Vec<_>>(),
                "device": {
                    "kind": device.kind().name(),
                    "name": device.name(),
                    "why": device.why(),
                },
            })
        }
    };
    let mut out = terminal::stdout();
    match (args.json, &args.model) {
        (true, _) => writeln!(out, "{}", terminal::json(&info))?,
        (false, None) => adapters_table(&mut out, &info)?,
        (false, Some(_)) => model_table(&mut out, &info)?,
    }
    Ok(())
}

/// Whether a number is given that says how much memory a model may take.
fn asks_for_memory(load: &LoadOptions) -> bool {
    let LoadOptions { context_length, memory_budget, snapshot_budget, snapshot_host_budget, .. } = load;
    context_length.is_some()
        || [memory_budget, snapshot_budget, snapshot_host_budget].iter().any(|bytes| bytes.is_some())
}

fn describe(checkpoint: &Checkpoint) -> Value {
    // Format name: tensors, bytes.
    let mut formats: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let (tensors, bytes) = formats.entry(tensor.format.spec().name).or_default();
        *tensors += 1;
        *bytes += tensor.bytes;
    }
    let formats: serde_json::Map<_, _> = formats
        .into_iter()
        .map(|(name, (tensors, bytes))| (name.to_string(), json!({"tensors": tensors, "bytes": bytes})))
        .collect();
    json!({
        "name": checkpoint.name,
        "container": match checkpoint.container { Container::Gguf => "gguf", Container::Safetensors => "safetensors" },
        "architecture": ARCHITECTURE,
        "parameters": checkpoint.parameters(),
        "bytes": checkpoint.tensor_bytes(),
        "formats": formats,
        "config": config(&checkpoint.config),
        "tokenizer": tokenizer(checkpoint),
        "chat_template": checkpoint.chat_template.is_some(),
        "metadata": checkpoint.metadata.iter().map(|(k, v)| (k.clone(), json!(v))).collect::<serde_json::Map<_, _>>(),
    })
}

/// What a GPU with usual limits needs for it, beside so many bytes of adapters.
fn memory(checkpoint: &Checkpoint, adapters: u64, args: &Args) -> Outcome<Value> {
    let options = LoadOptions { memory_budget: None, ..args.load.clone() };
    let need = Footprint::of(checkpoint, &options, Device::default())?;
    let need = need.within(args.load.memory_budget.unwrap_or(u64::MAX).saturating_sub(adapters));
    let total = need.least() + adapters;
    let mut memory = json!({
        "context": need.context_length,
        "total": total,
        "weights": need.weights,
        "adapters": adapters,
        "kv_cache": need.kv_cache,
        "kv_growth": need.kv_growth,
        "states": need.states,
        "scratch": need.scratch,
        "snapshots": need.snapshots,
        "host_snapshots": need.host_snapshots,
    });
    if let Some(budget) = args.load.memory_budget {
        memory["budget"] = budget.into();
        // Of adapters only their matrices are known: a load says exactly whether they fit.
        memory["fits"] = json!((adapters == 0 || total > budget).then_some(total <= budget));
        let left = budget.saturating_sub(adapters);
        memory["largest_context"] = json!(Footprint::largest_context(checkpoint, &options, Device::default(), left)?);
    }
    Ok(memory)
}

/// The numbers under Hugging Face's names.
fn config(c: &Config) -> Value {
    json!({
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "num_hidden_layers": c.num_hidden_layers,
        "num_attention_heads": c.num_attention_heads,
        "num_key_value_heads": c.num_key_value_heads,
        "head_dim": c.head_dim,
        "intermediate_size": c.intermediate_size,
        "mamba_d_ssm": c.mamba_d_ssm,
        "mamba_n_heads": c.mamba_n_heads,
        "mamba_d_head": c.mamba_d_head,
        "mamba_n_groups": c.mamba_n_groups,
        "mamba_d_state": c.mamba_d_state,
        "mamba_d_conv": c.mamba_d_conv,
        "mamba_rms_norm": c.mamba_rms_norm,
        "tie_word_embeddings": c.tie_word_embeddings,
        "rms_norm_eps": c.rms_norm_eps,
        "rope_theta": c.rope_theta,
        "max_position_embeddings": c.max_position_embeddings,
    })
}

/// A tokenizer that cannot be used is part of the description, not the end of it.
fn tokenizer(checkpoint: &Checkpoint) -> Value {
    let pre = match &checkpoint.tokenizer {
        TokenizerData::Gguf { pre, .. } => json!(pre),
        TokenizerData::Json { .. } => Value::Null,
    };
    match Tokenizer::new(&checkpoint.tokenizer, checkpoint.config.vocab_size) {
        Ok(t) => json!({
            "pre": pre,
            "tokens": (0..t.vocab_size()).filter(|id| t.token_bytes(*id).is_some()).count(),
            "special": t.special_tokens().count(),
            "bos": t.bos(),
            "end": t.end_tokens(),
            "pad": t.pad(),
            "add_bos": t.add_bos(),
        }),
        Err(error) => json!({"pre": pre, "error": error.to_string()}),
    }
}

fn adapters_table(out: &mut impl Write, info: &Value) -> std::io::Result<()> {
    let adapters = info["adapters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if adapters.is_empty() {
        writeln!(out, "no GPU adapter found")?;
    }
    for adapter in adapters {
        let kind = if adapter["software"] == true { "software" } else { "GPU" };
        writeln!(out, "{:<10} {:<9} {}", plain(&adapter["backend"]), kind, plain(&adapter["name"]))?;
    }
    let device = &info["device"];
    let why = device["why"].as_str().map(|why| format!(", since {}", line(why))).unwrap_or_default();
    writeln!(out, "models run on {}{why}", plain(&device["name"]))
}

fn model_table(out: &mut impl Write, info: &Value) -> std::io::Result<()> {
    let mut row = |key: &str, value: String| writeln!(out, "{key:<26} {value}");
    let bytes = |v: &Value| HumanBytes(v.as_u64().unwrap_or(0)).to_string();
    row("name", plain(&info["name"]))?;
    row("architecture", format!("{} ({})", plain(&info["architecture"]), plain(&info["container"])))?;
    let parameters = info["parameters"].as_u64().unwrap_or(0) as f64;
    row("parameters", format!("{:.1} M", parameters / 1e6))?;
    row("weights", bytes(&info["bytes"]))?;
    for (format, sizes) in info["formats"].as_object().into_iter().flatten() {
        row(&format!("  {format}"), format!("{} in {} tensors", bytes(&sizes["bytes"]), sizes["tensors"]))?;
    }
    for adapter in info["lora"].as_array().into_iter().flatten() {
        row("LoRA adapter", line(&adapter::in_words(adapter)).into_owned())?;
    }
    let memory = &info["memory"];
    row("on the GPU", format!("{} with a context of {} tokens", bytes(&memory["total"]), memory["context"]))?;
    for (name, key) in [
        ("  weights", "weights"),
        ("  adapters", "adapters"),
        ("  keys and values", "kv_cache"),
        ("  while they grow", "kv_growth"),
        ("  states", "states"),
        ("  activations", "scratch"),
        ("and for snapshots, at most", "snapshots"),
        ("  in this machine's memory", "host_snapshots"),
    ] {
        if key != "adapters" || memory[key] != 0 {
            row(name, bytes(&memory[key]))?;
        }
    }
    if let (Some(budget), total) = (memory["budget"].as_u64(), memory["total"].as_u64().unwrap_or(0)) {
        let verdict = match (memory["fits"].as_bool(), &memory["largest_context"]) {
            (Some(true), _) => format!("fits, {} are left", HumanBytes(budget - total)),
            (None, _) => {
                format!("fits, if the adapters take no more than {} beside their matrices", HumanBytes(budget - total))
            }
            (_, Value::Null) => format!("does not fit: {} too much, with any context", HumanBytes(total - budget)),
            (_, n) => format!("does not fit: {} too much; a context of {n} tokens fits", HumanBytes(total - budget)),
        };
        row(&format!("  into {}", HumanBytes(budget)), verdict)?;
    }
    for (key, value) in info["config"].as_object().into_iter().flatten() {
        row(key, plain(value))?;
    }
    let tokenizer = &info["tokenizer"];
    row(
        "tokenizer",
        match tokenizer["error"].as_str() {
            Some(error) => format!("unusable: {}", line(error)),
            None => format!(
                "{} tokens, {} of them special; begin {}, end {}",
                tokenizer["tokens"], tokenizer["special"], tokenizer["bos"], tokenizer["end"]
            ),
        },
    )?;
    row("chat template", if info["chat_template"] == true { "yes" } else { "no" }.into())
}

/// Without the quotes of JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| line(&value.to_string()).into_owned(), |text| line(text).into_owned())
}
