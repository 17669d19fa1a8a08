//! How fast a model runs here. Natively only: a page's clock is too coarse. What is measured comes
//! as the JSON that the program prints.

mod lora;
mod masks;
mod shapes;
mod state;

use std::time::Instant;

use peregrine::Result;
use peregrine::checkpoint::Checkpoint;
use peregrine::plan::SamplingMode;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{GenerateOptions, Piece, Session};
use serde_json::{Value, json};

pub use self::lora::adapted;
pub use self::masks::masked;
pub use self::shapes::{MOST_APART, ShapeOptions, check_shape, shape_speed};
pub use self::state::{TURN, conversation, conversations};
use crate::profile::{DeviceSpeed, TokenCost, profile};

/// What is run.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Tokens read before the prompt, which are not counted.
    pub context: u32,
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Tokens of the answer, at least 2.
    pub gen_tokens: u32,
    /// The answer's temperature; `None` or 0: the likeliest tokens.
    pub temperature: Option<f32>,
    /// Runs, of which the median counts, at least 1; one more is made first to warm up.
    pub repeat: u32,
}

impl BenchOptions {
    /// How answers of that many tokens are made.
    pub fn generate(&self, max_tokens: u32) -> GenerateOptions {
        let sampling = match self.temperature {
            Some(temperature) if temperature > 0.0 => SamplingOptions { temperature, ..SamplingOptions::default() },
            _ => SamplingOptions::greedy(),
        };
        GenerateOptions { max_tokens, sampling, ignore_end: true, ..GenerateOptions::default() }
    }
}

/// Seconds of one run.
struct Run {
    prefill: f64,
    first_token: f64,
    /// Of each token of the answer but the first.
    tokens: Vec<f64>,
}

impl Run {
    fn decode(&self) -> f64 {
        self.tokens.iter().sum()
    }

    async fn measure(session: &mut Session, options: &BenchOptions) -> Result<Self> {
        session.reset();
        if options.context > 0 {
            session.prefill(&ids(options.context, 1, session)).await?;
        }
        let prompt = ids(options.prompt_tokens, 2, session);
        let start = Instant::now();
        session.prefill(&prompt).await?;
        let prefill = start.elapsed().as_secs_f64();
        let (mut first_token, mut tokens, mut last) = (0.0, Vec::new(), start);
        let mut on_piece = |_: Piece| {
            let now = Instant::now();
            match first_token == 0.0 {
                true => first_token = (now - start).as_secs_f64(),
                false => tokens.push((now - last).as_secs_f64()),
            }
            last = now;
            true
        };
        session.generate(&options.generate(options.gen_tokens), &mut on_piece).await?;
        Ok(Self { prefill, first_token, tokens })
    }
}

/// Speed of prefill and decode, what a token must cost here at least, and the memory of all of it.
///
/// # Errors
/// [`Error::ContextFull`](peregrine::Error::ContextFull) for more tokens than the context has; what
/// the device says.
pub async fn speed(session: &mut Session, checkpoint: &Checkpoint, options: &BenchOptions) -> Result<Value> {
    let mut runs = Vec::new();
    for _ in 0..=options.repeat {
        runs.push(Run::measure(session, options).await?);
    }
    let runs = runs.split_off(1);
    let engine = session.engine();
    let model = engine.model();
    let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
    let (prefill, first_token, decode) = (of(|r| r.prefill), of(|r| r.first_token), of(Run::decode));
    // The first of the answer's tokens belongs to the prompt.
    let decoded = f64::from(options.gen_tokens - 1);
    let mut tokens: Vec<f64> = runs.iter().flat_map(|run| &run.tokens).map(|seconds| seconds * 1e3).collect();
    tokens.sort_by(f64::total_cmp);

    let mode = if options.temperature.is_some_and(|t| t > 0.0) { SamplingMode::Random } else { SamplingMode::Greedy };
    // In the middle of the answer.
    let token = TokenCost::at(session, options.context + options.prompt_tokens + options.gen_tokens / 2, mode);
    let floor = DeviceSpeed::measure(model).await?.map(|speed| {
        let floor = speed.floor(&token) * 1e3;
        json!({
            "milliseconds_per_token": floor,
            "ratio": decode / decoded * 1e3 / floor,
            "gigabytes_per_second": speed.bytes_per_second * 1e-9,
            "microseconds_per_dispatch": speed.dispatch_seconds * 1e6,
        })
    });
    let stored = checkpoint.tensor_bytes();
    let (weights, scratch) = (model.bytes() - model.scratch_bytes(), model.scratch_bytes());
    Ok(json!({
        "adapter": engine.gpu_name(),
        "device": model.gpu().kind().name(),
        "software": model.gpu().is_software(),
        "weight_bytes": model.weight_bytes(),
        "kv": model.kv().kv_type().name(),
        "context": options.context,
        "prompt_tokens": options.prompt_tokens,
        "gen_tokens": options.gen_tokens,
        "temperature": options.temperature.unwrap_or(0.0),
        "runs": options.repeat,
        "prefill_tokens_per_second": f64::from(options.prompt_tokens) / prefill,
        "time_to_first_token_seconds": first_token,
        "decode_tokens_per_second": decoded / decode,
        "decode_milliseconds_per_token": decode / decoded * 1e3,
        "decode_milliseconds_percentiles": percentiles(&tokens),
        "dispatches_per_token": token.dispatches,
        "bytes_per_token": {
            "weights": token.weight_bytes,
            "states": token.state_bytes,
            "keys_and_values": token.kv_bytes,
            "all": token.bytes(),
        },
        "floor": floor,
        "memory": {
            "stored_weights": stored,
            "weights": weights,
            "scratch": scratch,
            "states": session.fixed_bytes(),
            "keys_and_values": model.kv().bytes(),
            "driver": model.gpu().allocated_bytes(),
            "ratio": (weights + scratch) as f64 / stored as f64,
        },
    }))
}

/// Stage by stage on the GPU's clock: a token after the prompt, and a chunk of a prompt.
///
/// # Errors
/// As [`profile`].
pub async fn stages(session: &mut Session, options: &BenchOptions) -> Result<Value> {
    let mut parts = serde_json::Map::new();
    let chunk = session.engine().model().chunk().min(options.prompt_tokens);
    for (name, tokens) in [("token", 1), ("prefill", chunk)] {
        session.start_at(options.context + if tokens == 1 { options.prompt_tokens } else { 0 })?;
        let stages = profile(session, tokens, 20).await?;
        let rows = stages.iter().map(|stage| {
            json!({
                "name": stage.name(),
                "dispatches": stage.dispatches,
                "milliseconds": stage.seconds * 1e3,
                "microseconds_each": stage.seconds * 1e6 / f64::from(stage.dispatches.max(1)),
                "weight_gigabytes_per_second": stage.weight_bytes as f64 / stage.seconds * 1e-9,
            })
        });
        parts.insert(name.into(), rows.collect());
    }
    Ok(parts.into())
}

/// Tokens without meaning, the same each time.
pub fn ids(count: u32, seed: u32, session: &Session) -> Vec<u32> {
    let vocab_size = session.engine().config().vocab_size;
    let mut x = seed;
    let next = |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) % vocab_size
    };
    (0..count).map(next).collect()
}

/// Of at least one value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The value below which a share of them lies, nearest rank; 0 where there is none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}

fn percentiles(sorted: &[f64]) -> Value {
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| percentile(sorted, share));
    json!({ "p50": p50, "p90": p90, "p99": p99 })
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let sorted: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(
            [0.0, 0.1, 0.5, 0.51, 0.99, 1.0].map(|share| percentile(&sorted, share)),
            [1.0, 1.0, 5.0, 6.0, 10.0, 10.0]
        );
        assert_eq!((percentile(&[], 0.5), percentile(&[7.0], 0.01)), (0.0, 7.0));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
