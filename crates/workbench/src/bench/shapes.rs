//! A model of random numbers, of an official shape: checked against the CPU, and measured at
//! several contexts.

use std::rc::Rc;
use std::time::Instant;

use peregrine::Result;
use peregrine::checkpoint::Checkpoint;
use peregrine::inspect::Comparison;
use peregrine::plan::SamplingMode;
use peregrine::sampling::{Sampler, SamplingOptions};
use peregrine::session::{Engine, GenerateOptions, Piece, Session};
use serde_json::{Value, json};

use super::{ids, percentile};
use crate::check::check;
use crate::profile::{DeviceSpeed, TokenCost};

/// Difference of the logits of prefill from those of decode, over their standard deviation, beyond
/// which one of them is wrong. Keys and values in f16 alone make some thousandths of it.
pub const MOST_APART: f64 = 0.05;

/// What is measured.
#[derive(Clone, Debug)]
pub struct ShapeOptions {
    /// Tokens of the longer prompt by which prefill is measured; the shorter has 128.
    pub prompt_tokens: u32,
    /// Tokens of each answer.
    pub gen_tokens: u32,
    /// Tokens before the answers, ascending; what does not fit the model's context is left out.
    pub contexts: Vec<u32>,
}

/// Compares every dispatch and every state with the CPU twin, and the GPU's sampling with the
/// host's. The engine's chunk has room for 66 tokens.
///
/// # Errors
/// What the checkpoint or the device says.
pub async fn check_shape(engine: &Rc<Engine>, checkpoint: &Checkpoint) -> Result<Value> {
    // More than a tile of tokens at once, then one by one.
    let steps = [66, 1, 1];
    let mut session = Session::new(engine)?;
    let tokens = ids(steps.iter().sum(), 3, &session);
    let mut results: Vec<Comparison> = Vec::new();
    check(&mut session, checkpoint, &tokens, &steps, &mut |result| results.push(result.clone())).await?;
    let differ: Vec<&Comparison> = results.iter().filter(|r| !r.is_close()).collect();
    let relative = |r: &Comparison| f64::from(r.difference / r.magnitude.max(1e-3));
    let worst = results.iter().map(relative).fold(0.0, f64::max);
    // `check` leaves no logits on the host.
    session.prefill(&tokens[..1]).await?;
    let logits = session.logits().to_vec();
    let (mut samples, mut samples_differ) = (0, 0);
    for (top_k, top_p, min_p) in [(0, 1.0, 0.0), (40, 1.0, 0.0), (0, 0.9, 0.0), (100, 0.9, 0.05)] {
        let options = SamplingOptions { temperature: 1.0, top_k, top_p, min_p, ..SamplingOptions::default() };
        let mut sampler = Sampler::new(options.clone())?;
        for n in 0..if engine.model().samples_at_temperatures() { 10 } else { 0 } {
            let found = session.sample_on_gpu(&logits, &options, n, None).await?;
            samples += 1;
            samples_differ += u32::from(found != sampler.sample(&logits, &[])?);
        }
    }
    Ok(json!({
        "comparisons": results.len(),
        "differ": differ.len(),
        "first": differ.first().map(|r| &r.stage),
        "worst": worst,
        "samples": samples,
        "samples_differ": samples_differ,
    }))
}

/// Speed of prefill, and of decode at each context.
///
/// # Errors
/// What the device says.
pub async fn shape_speed(engine: &Rc<Engine>, checkpoint: &Checkpoint, options: &ShapeOptions) -> Result<Value> {
    let start = Instant::now();
    let mut session = Session::new(engine)?;
    let short = ids(128, 2, &session);
    session.complete(&short, &greedy(1), &mut |_| true).await?;
    let first_prompt = start.elapsed().as_secs_f64();
    let apart = prefill_against_decode(engine).await?;
    let mut prefill = Vec::new();
    for tokens in [128, options.prompt_tokens] {
        let prompt = ids(tokens, 2, &session);
        // Once to warm up, then the best of three: what disturbs only ever slows down.
        let mut best = f64::INFINITY;
        for _ in 0..4 {
            session.reset();
            let start = Instant::now();
            session.complete(&prompt, &greedy(1), &mut |_| true).await?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        prefill.push(json!({
            "tokens": tokens, "tokens_per_second": f64::from(tokens) / best, "time_to_first_token_seconds": best,
        }));
    }
    session.reset();
    let speed = DeviceSpeed::measure(engine.model()).await?;
    let (mut decode, mut read) = (Vec::new(), 0);
    for context in &options.contexts {
        if u64::from(*context) + 2 * u64::from(options.gen_tokens) > u64::from(engine.model().context_length())
            || *context <= read
        {
            continue;
        }
        let more = ids(*context - read, *context, &session);
        let start = Instant::now();
        session.prefill(&more).await?;
        let seconds = start.elapsed().as_secs_f64();
        let mut row = answer(&mut session, options, SamplingOptions::greedy()).await?;
        row["context"] = (*context).into();
        row["read_tokens_per_second"] = (f64::from(*context - read) / seconds).into();
        if decode.is_empty() {
            let sampled = SamplingOptions { temperature: 0.8, top_p: 0.95, ..SamplingOptions::default() };
            row["sampled"] = answer(&mut session, options, sampled).await?;
        }
        let cost = TokenCost::at(&session, *context + options.gen_tokens / 2, SamplingMode::Greedy);
        row["dispatches"] = cost.dispatches.into();
        row["bytes"] = cost.bytes().into();
        row["floor_milliseconds"] = speed.map(|speed| speed.floor(&cost) * 1e3).into();
        decode.push(row);
        read = session.position();
    }
    Ok(json!({
        "first_prompt_seconds": first_prompt,
        "prefill": prefill,
        "decode": decode,
        "prefill_against_decode": apart,
        "memory_ratio": engine.model().bytes() as f64 / checkpoint.tensor_bytes() as f64,
        "device": speed.map(|speed| json!({
            "gigabytes_per_second": speed.bytes_per_second * 1e-9,
            "microseconds_per_dispatch": speed.dispatch_seconds * 1e6,
        })),
    }))
}

/// The likeliest tokens, so many of them.
pub(super) fn greedy(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, sampling: SamplingOptions::greedy(), ignore_end: true, ..GenerateOptions::default() }
}

/// Milliseconds a token of an answer that goes on from where the session is.
async fn answer(session: &mut Session, options: &ShapeOptions, sampling: SamplingOptions) -> Result<Value> {
    let (mut tokens, mut last) = (Vec::new(), None);
    let mut on_piece = |_: Piece| {
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            tokens.push((now - last).as_secs_f64() * 1e3);
        }
        true
    };
    session.generate(&GenerateOptions { sampling, ..greedy(options.gen_tokens) }, &mut on_piece).await?;
    let mean = tokens.iter().sum::<f64>() / tokens.len() as f64;
    tokens.sort_by(f64::total_cmp);
    Ok(json!({
        "milliseconds_per_token": mean,
        "p50": percentile(&tokens, 0.5), "p90": percentile(&tokens, 0.9), "p99": percentile(&tokens, 0.99),
    }))
}

/// The largest difference of the logits after some tokens read at once and one by one, over their
/// standard deviation.
async fn prefill_against_decode(engine: &Rc<Engine>) -> Result<f64> {
    let tokens = ids(40, 5, &Session::new(engine)?);
    let mut rows = Vec::new();
    for step in [tokens.len(), 1] {
        let mut session = Session::new(engine)?;
        for part in tokens.chunks(step) {
            session.prefill(part).await?;
        }
        rows.push(session.logits().iter().map(|l| f64::from(*l)).collect::<Vec<_>>());
    }
    Ok(apart(&rows[0], &rows[1]))
}

/// The largest difference, over the standard deviation of `a`; infinite where one of them is no
/// number.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let mean = a.iter().sum::<f64>() / n;
    let deviation = (a.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let most = differences.fold(0.0, |most: f64, d| if d.is_finite() { most.max(d) } else { f64::INFINITY });
    if a.len() == b.len() { most / deviation } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::{MOST_APART, apart};

    #[test]
    fn logits_that_differ_are_seen() {
        let logits: Vec<f64> = (0..100).map(|i| f64::from(i % 7)).collect();
        assert_eq!(apart(&logits, &logits), 0.0);
        for wrong in [0.2, -0.2, f64::NAN, f64::INFINITY] {
            let mut other = logits.clone();
            other[3] += wrong;
            // JSON has no infinity, so it is null there, which is not below the limit either.
            assert!(apart(&logits, &other) > MOST_APART, "{wrong}");
        }
        assert!(apart(&logits, &logits[1..]) > MOST_APART);
    }
}
