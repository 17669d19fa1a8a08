//! What it costs to fork, save, restore and edit a conversation, next to reading it again.

use std::rc::Rc;
use std::time::Instant;

use peregrine::checkpoint::MemorySource;
use peregrine::session::{Engine, Session};
use peregrine::{Error, Result};
use serde_json::{Value, json};

use super::{ids, median, shapes::greedy};

/// Tokens of the turn that is edited.
pub const TURN: u32 = 32;

/// Contexts from here on are read only once: they take seconds, and differ little.
const LONG: u32 = 8192;

/// What all of an engine's conversations have in common.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub fn conversations(engine: &Rc<Engine>) -> Result<Value> {
    let (session, kv) = (Session::new(engine)?, engine.model().kv());
    Ok(json!({
        "adapter": engine.gpu_name(),
        "software": engine.model().gpu().is_software(),
        "kv": kv.kv_type().name(),
        "kv_bytes_per_token": kv.bytes_of_page() / u64::from(peregrine::state::PAGE),
        "recurrent_bytes": session.state().recurrent_bytes(),
    }))
}

/// A conversation of `context` tokens, whose last turn of [`TURN`] is edited; medians over `repeat`
/// runs, after one to warm up.
///
/// # Errors
/// [`Error::Argument`] for a context of one turn or less, [`Error::ContextFull`], what the device
/// says.
pub async fn conversation(engine: &Rc<Engine>, context: u32, repeat: u32) -> Result<Value> {
    if context <= TURN {
        let expected = format!("more than {TURN} tokens");
        return Err(Error::Argument { field: "context".into(), expected, found: context.to_string() });
    }
    let gpu = engine.model().gpu();
    let mut session = Session::new(engine)?;
    let whole = ids(context, 1, &session);
    let stem = &whole[..(context - TURN) as usize];
    // Until the first token of an answer, each time. A part of it to warm up.
    let mut reads = Vec::new();
    session.complete(&whole[..whole.len().min(512)], &greedy(1), &mut |_| true).await?;
    for _ in 0..if context < LONG { repeat } else { 1 } {
        session.reset();
        let start = Instant::now();
        session.complete(&whole, &greedy(1), &mut |_| true).await?;
        reads.push(start.elapsed().as_secs_f64());
    }
    let read_again = median(reads);

    // A conversation up to its last turn, which is edited again and again.
    session.reset();
    session.complete(stem, &greedy(1), &mut |_| true).await?;
    let (edit, read) = edits(&mut session, stem, repeat, 1).await?;
    // The same with the place on the host, where it moves and stays.
    session.reset();
    session.set_snapshot_host_budget(u64::MAX);
    session.complete(stem, &greedy(1), &mut |_| true).await?;
    session.set_snapshot_budget(1);
    session.set_snapshot_budget(u64::MAX);
    let (edit_from_host, read_from_host) = edits(&mut session, stem, repeat, 2 + repeat).await?;
    gpu.sync().await?;
    let (mut fork, mut save, mut restore) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=repeat {
        let start = Instant::now();
        let forked = session.fork()?;
        gpu.sync().await?;
        fork.push(start.elapsed().as_secs_f64());
        drop(forked);
    }
    let mut file = Vec::new();
    for _ in 0..=repeat {
        file.clear();
        let start = Instant::now();
        let mut write = |bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok(())
        };
        session.save(&mut write).await?;
        save.push(start.elapsed().as_secs_f64());
    }
    let saved_bytes = file.len();
    let source = MemorySource::new("the state", file);
    for _ in 0..=repeat {
        let start = Instant::now();
        session.restore(&source).await?;
        restore.push(start.elapsed().as_secs_f64());
    }
    Ok(json!({
        "context": context,
        "read_again_seconds": read_again,
        "edit_seconds": edit,
        "edit_tokens_read": read,
        "edit_from_host_seconds": edit_from_host,
        "edit_from_host_tokens_read": read_from_host,
        "fork_seconds": median(fork.split_off(1)),
        "fork_bytes": session.state().recurrent_bytes(),
        "save_seconds": median(save.split_off(1)),
        "saved_bytes": saved_bytes,
        "restore_seconds": median(restore.split_off(1)),
    }))
}

/// Other last turns after `stem`, the first of them with that seed: seconds to the first token of
/// the answer, tokens that were read.
async fn edits(session: &mut Session, stem: &[u32], repeat: u32, seed: u32) -> Result<(f64, u32)> {
    let (mut seconds, mut read) = (Vec::new(), 0);
    for seed in seed + 1..=seed + 1 + repeat {
        let edited = [stem, &ids(TURN, seed, session)].concat();
        let start = Instant::now();
        let answer = session.complete(&edited, &greedy(1), &mut |_| true).await?;
        seconds.push(start.elapsed().as_secs_f64());
        read = answer.prompt_tokens - answer.cached_tokens;
    }
    Ok((median(seconds.split_off(1)), read))
}
