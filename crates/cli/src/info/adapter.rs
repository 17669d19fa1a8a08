//! Adapters: one by itself, or beside the model.

use std::io::Write;

use indicatif::HumanBytes;
use peregrine::adapter::{Adapter, Summary};
use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::terminal::{self, line};

/// Tells what an adapter is.
pub fn alone(summary: &Summary, json: bool) -> Outcome {
    let Summary { name, kind, base, alpha, use_rslora, ranks, targets, parameters, bytes } = summary;
    let mut out = terminal::stdout();
    if json {
        let info = json!({
            "name": name,
            "container": kind.name().to_lowercase(),
            "type": "lora",
            "base": base,
            "alpha": alpha,
            "use_rslora": use_rslora,
            "rank": { "least": ranks.0, "most": ranks.1 },
            "targets": targets,
            "parameters": parameters,
            "bytes": bytes,
        });
        writeln!(out, "{}", terminal::json(&info))?;
        return Ok(());
    }
    let mut row = |key: &str, value: String| writeln!(out, "{key:<26} {}", line(&value));
    row("name", name.clone())?;
    row("LoRA adapter", kind.name().into())?;
    if let Some(base) = base {
        row("made for", base.clone())?;
    }
    row("rank", from_to(ranks.0, ranks.1))?;
    row("alpha", format!("{alpha}{}", if *use_rslora { ", over the root of the rank (rsLoRA)" } else { "" }))?;
    row("parameters", format!("{:.3} M", *parameters as f64 / 1e6))?;
    row("size", HumanBytes(*bytes).to_string())?;
    for (target, layers) in targets {
        row(&format!("  {target}"), format!("in {layers} layers"))?;
    }
    Ok(())
}

fn from_to(least: u64, most: u64) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// One beside the model, at this scale.
pub fn describe(adapter: &Adapter, scale: f32) -> Value {
    let (least, most) = adapter.ranks();
    let targets = adapter.targets().into_iter().map(|(target, layers)| (target.to_string(), json!(layers)));
    json!({
        "name": adapter.name(),
        "container": adapter.kind().name().to_lowercase(),
        "type": "lora",
        // As it was given: the nearest f64 of an f32 has more digits.
        "scale": scale.to_string().parse::<f64>().unwrap_or(scale.into()),
        "rank": { "least": least, "most": most },
        "targets": targets.collect::<serde_json::Map<_, _>>(),
        "bytes": adapter.bytes(),
    })
}

/// What [`describe`] says, on a line.
pub fn in_words(adapter: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let rank = from_to(number(&adapter["rank"]["least"]), number(&adapter["rank"]["most"]));
    let targets = adapter["targets"].as_object().into_iter().flatten();
    let targets: Vec<String> = targets.map(|(target, layers)| format!("{target} in {layers} layers")).collect();
    format!(
        "{} times {}, rank {rank}, {}; {}",
        adapter["name"].as_str().unwrap_or_default(),
        adapter["scale"],
        HumanBytes(number(&adapter["bytes"])),
        targets.join(", ")
    )
}
