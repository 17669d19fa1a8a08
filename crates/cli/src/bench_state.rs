//! `bench --state`: what it costs to fork, save, restore and edit a conversation, next to reading it again.

use std::io::Write;
use std::rc::Rc;
use std::time::Instant;

use peregrine::checkpoint::MemorySource;
use peregrine::model::LoadOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{Engine, GenerateOptions, Session};
use pollster::block_on;
use serde_json::{Value, json};

use crate::bench::{Args, ids};
use crate::failure::{Failure, Outcome};
use crate::terminal::{self, note};

/// Tokens of the turn that is edited.
const TURN: u32 = 32;

/// Contexts from here on are read only once: they take seconds, and differ little.
const LONG: u32 = 8192;

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
        rows.push(measure(&engine, *context, args.repeat)?);
    }
    let state = Session::new(&engine)?;
    let kv = engine.model().kv();
    let page = u64::from(peregrine::state::PAGE);
    let report = json!({
        "model": args.model,
        "adapter": engine.gpu_name(),
        "software": engine.model().gpu().is_software(),
        "kv": kv.kv().name(),
        "kv_bytes_per_token": kv.bytes_of_page() / page,
        "recurrent_bytes": state.state().recurrent_bytes(),
        "runs": args.repeat,
        "contexts": rows,
    });
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

/// Medians of `repeat` runs, after one to warm up.
fn median(repeat: u32, mut run: impl FnMut() -> Outcome<f64>) -> Outcome<f64> {
    run()?;
    let mut seconds = (0..repeat).map(|_| run()).collect::<Outcome<Vec<f64>>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

fn measure(engine: &Rc<Engine>, context: u32, repeat: u32) -> Outcome<Value> {
    let gpu = engine.model().gpu();
    let mut session = Session::new(engine)?;
    let whole = ids(context, 1, &session);
    let stem = &whole[..(context - TURN) as usize];
    let options = GenerateOptions {
        max_tokens: 1,
        sampling: SamplingOptions::greedy(),
        ignore_end: true,
        ..GenerateOptions::default()
    };
    // Until the first token of an answer, each time. A part of it to warm up.
    let mut reads = Vec::new();
    block_on(session.complete(&whole[..whole.len().min(512)], &options, &mut |_| true))?;
    for _ in 0..if context < LONG { repeat } else { 1 } {
        session.reset();
        let start = Instant::now();
        block_on(session.complete(&whole, &options, &mut |_| true))?;
        reads.push(start.elapsed().as_secs_f64());
    }
    reads.sort_by(f64::total_cmp);
    let read_again = reads[reads.len() / 2];

    // A conversation up to its last turn, which is edited again and again.
    session.reset();
    block_on(session.complete(stem, &options, &mut |_| true))?;
    let mut seed = 1;
    let mut edits = |session: &mut Session| {
        let mut read = 0;
        let seconds = median(repeat, || {
            seed += 1;
            let edited = [stem, &ids(TURN, seed, session)].concat();
            let start = Instant::now();
            let answer = block_on(session.complete(&edited, &options, &mut |_| true))?;
            read = answer.prompt_tokens - answer.cached_tokens;
            Ok(start.elapsed().as_secs_f64())
        })?;
        Outcome::Ok((seconds, read))
    };
    let (edit, read) = edits(&mut session)?;
    // The same with the place on the host, where it moves and stays.
    session.reset();
    session.set_snapshot_host_budget(u64::MAX);
    block_on(session.complete(stem, &options, &mut |_| true))?;
    session.set_snapshot_budget(1);
    session.set_snapshot_budget(u64::MAX);
    let (edit_from_host, read_from_host) = edits(&mut session)?;
    block_on(gpu.sync())?;
    let fork = median(repeat, || {
        let start = Instant::now();
        let fork = session.fork()?;
        block_on(gpu.sync())?;
        let seconds = start.elapsed().as_secs_f64();
        drop(fork);
        Ok(seconds)
    })?;
    let mut file = Vec::new();
    let save = median(repeat, || {
        file.clear();
        let start = Instant::now();
        block_on(session.save(&mut |bytes| {
            file.extend_from_slice(bytes);
            Ok(())
        }))?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    let saved_bytes = file.len();
    let source = MemorySource::new("the state", file);
    let restore = median(repeat, || {
        let start = Instant::now();
        block_on(session.restore(&source))?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    Ok(json!({
        "context": context,
        "read_again_seconds": read_again,
        "edit_seconds": edit,
        "edit_tokens_read": read,
        "edit_from_host_seconds": edit_from_host,
        "edit_from_host_tokens_read": read_from_host,
        "fork_seconds": fork,
        "fork_bytes": session.state().recurrent_bytes(),
        "save_seconds": save,
        "saved_bytes": saved_bytes,
        "restore_seconds": restore,
    }))
}
