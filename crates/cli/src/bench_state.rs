//! `bench --state`: what it costs to fork, save, restore and edit a conversation, next to reading
//! it again.

use std::io::Write;

use peregrine::model::LoadOptions;
use peregrine_workbench::bench::{TURN, conversation, conversations};
use pollster::block_on;
use serde_json::Value;

use crate::bench::Args;
use crate::failure::{Failure, Outcome};
use crate::terminal::{self, note};

pub fn run(args: &Args) -> Outcome {
    let checkpoint = args.gpu.open(&args.model)?;
    let longest = args.contexts.iter().copied().max().unwrap_or(TURN);
    if let Some(context) = args.contexts.iter().find(|context| **context <= TURN) {
        return Err(Failure::input(format!("--contexts {context}: more than {TURN} tokens are needed")));
    }
    // A turn more, for what is read and made beyond the context.
    let context_length = Some(longest.saturating_add(2 * TURN));
    let engine =
        args.gpu.load(&checkpoint, &LoadOptions { chunk: args.chunk, context_length, ..args.gpu.options() })?;
    let mut rows = Vec::new();
    for context in &args.contexts {
        if *context + TURN > engine.model().context_length() {
            // The table has the others.
            note(&format!("a context of {context} tokens does not fit this model here, it is left out"));
            continue;
        }
        rows.push(block_on(conversation(&engine, *context, args.repeat))?);
    }
    let mut report = conversations(&engine)?;
    report["model"] = args.model.as_str().into();
    report["runs"] = args.repeat.into();
    report["contexts"] = rows.into();
    let mut out = terminal::stdout();
    if args.json {
        writeln!(out, "{}", terminal::json(&report))?;
        return Ok(());
    }
    table(&mut out, &report)
}

fn table(out: &mut impl Write, report: &Value) -> Outcome {
    let megabytes = |value: &Value| format!("{:.1} MB", value.as_f64().unwrap_or(0.0) / 1e6);
    let milliseconds = |value: &Value| format!("{:.1} ms", value.as_f64().unwrap_or(0.0) * 1e3);
    writeln!(out, "adapter          {}", terminal::line(report["adapter"].as_str().unwrap_or_default()))?;
    writeln!(
        out,
        "keys and values  {} bytes a token ({}); recurrent states {}\n",
        report["kv_bytes_per_token"],
        report["kv"].as_str().unwrap_or_default(),
        megabytes(&report["recurrent_bytes"]),
    )?;
    writeln!(
        out,
        "| context | read again | edit of the last {TURN} tokens | from the host's memory | fork | save | restore |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for row in report["contexts"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "| {} | {} | {} ({} tokens read) | {} ({} tokens read) | {} ({} copied) | {} ({}) | {} |",
            row["context"],
            milliseconds(&row["read_again_seconds"]),
            milliseconds(&row["edit_seconds"]),
            row["edit_tokens_read"],
            milliseconds(&row["edit_from_host_seconds"]),
            row["edit_from_host_tokens_read"],
            milliseconds(&row["fork_seconds"]),
            megabytes(&row["fork_bytes"]),
            milliseconds(&row["save_seconds"]),
            megabytes(&row["saved_bytes"]),
            milliseconds(&row["restore_seconds"]),
        )?;
    }
    Ok(())
}
