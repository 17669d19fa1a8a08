//! How exact the GPU's logits are: against the CPU twin in f64, which computes with the same
//! dequantized weights.
//!
//! What a block format loses against the weights that it was made from is not in these numbers; a
//! perplexity shows that. Here is only what this runtime adds: rounding of f32, and every mistake
//! that it might make.

use peregrine::adapter::Chosen;
use peregrine::checkpoint::Checkpoint;
use peregrine::inspect::spread_ids;
use peregrine::reference::{Real, model};
use peregrine::session::Session;
use peregrine::{Error, Result};

/// The largest difference of a logit that is rounding, as a share of the logits' standard
/// deviation: 2e-3 where that is 2.
pub const TOLERANCE: f64 = 1e-3;

/// The same where keys and values are kept in f16, whose own rounding is larger: beyond it,
/// something else is wrong.
pub const TOLERANCE_F16: f64 = 1e-2;

/// The same for keys and values in blocks of 8 bits.
pub const TOLERANCE_Q8: f64 = 0.1;

/// How far logits are from the exact ones, over some rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Rows \[V\] that were compared.
    pub rows: u32,
    /// Standard deviation of the exact logits within a row, mean over the rows.
    pub deviation: f64,
    /// Largest |found - exact|; infinite where a logit is not a number.
    pub largest: f64,
    /// Mean |found - exact|
    pub mean: f64,
    /// KL divergence of the found distribution from the exact one, in nats: the mean over the rows.
    pub kl: f64,
    /// Rows in which the same token is the likeliest.
    pub same_argmax: u32,
}

impl Difference {
    /// Of logits \[rows, V\]. A length that differs is an infinite difference.
    pub fn of<T: Real>(found: &[f32], exact: &[T], vocab_size: u32) -> Self {
        let width = vocab_size as usize;
        let none = Self { rows: 0, deviation: 0.0, largest: 0.0, mean: 0.0, kl: 0.0, same_argmax: 0 };
        if found.len() != exact.len() || !exact.len().is_multiple_of(width) || exact.is_empty() {
            return Self { largest: f64::INFINITY, mean: f64::INFINITY, kl: f64::INFINITY, ..none };
        }
        let mut sum = none;
        for (found, exact) in found.chunks_exact(width).zip(exact.chunks_exact(width)) {
            let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
            let exact: Vec<f64> = exact.iter().map(|v| (*v).into()).collect();
            let row = Self::row(&found, &exact);
            sum = Self {
                rows: sum.rows + 1,
                deviation: sum.deviation + row.deviation,
                largest: sum.largest.max(row.largest),
                mean: sum.mean + row.mean,
                kl: sum.kl + row.kl,
                same_argmax: sum.same_argmax + row.same_argmax,
            };
        }
        let rows = f64::from(sum.rows);
        Self { deviation: sum.deviation / rows, mean: sum.mean / rows, kl: sum.kl / rows, ..sum }
    }

    fn row(found: &[f64], exact: &[f64]) -> Self {
        let width = exact.len() as f64;
        let center = exact.iter().sum::<f64>() / width;
        let variance = exact.iter().map(|v| (v - center).powi(2)).sum::<f64>() / width;
        let distance =
            |(f, e): (&f64, &f64)| if f.is_finite() && e.is_finite() { (f - e).abs() } else { f64::INFINITY };
        let distances = || found.iter().zip(exact).map(distance);
        let (log_found, log_exact) = (log_softmax(found), log_softmax(exact));
        let kl: f64 = log_exact.iter().zip(&log_found).map(|(e, f)| e.exp() * (e - f)).sum();
        Self {
            rows: 1,
            deviation: variance.sqrt(),
            largest: distances().fold(0.0, f64::max),
            mean: distances().sum::<f64>() / width,
            // The sum of a divergence near 0 can round to less.
            kl: if kl.is_finite() { kl.max(0.0) } else { f64::INFINITY },
            same_argmax: u32::from(argmax(found) == argmax(exact)),
        }
    }

    /// Whether the largest difference is rounding, and the logits are such that this means
    /// something.
    pub fn is_exact(&self) -> bool {
        self.is_within(TOLERANCE)
    }

    /// Whether the largest difference is at most this share of the standard deviation.
    pub fn is_within(&self, tolerance: f64) -> bool {
        self.rows > 0 && self.deviation > 0.0 && self.largest <= tolerance * self.deviation
    }
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = logits.iter().map(|v| (v - largest).exp()).sum::<f64>().ln();
    logits.iter().map(|v| v - largest - total).collect()
}

fn argmax(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// What to compare.
#[derive(Clone, Copy, Debug)]
pub struct FidelityOptions {
    /// Tokens that are read in chunks.
    pub prompt_tokens: u32,
    /// Of these, how many of the last have their logits compared.
    pub last: u32,
    /// Tokens that are then read one by one; the logits after each are compared.
    pub decode_tokens: u32,
}

/// What came out.
#[derive(Clone, Copy, Debug)]
pub struct Fidelity {
    /// After the prompt.
    pub prefill: Difference,
    /// One token at a time.
    pub decode: Difference,
}

impl Fidelity {
    /// Whether both are exact.
    pub fn is_exact(&self) -> bool {
        self.is_within(TOLERANCE)
    }

    /// Whether in both the largest difference is at most this share of the standard deviation.
    pub fn is_within(&self, tolerance: f64) -> bool {
        self.prefill.is_within(tolerance) && self.decode.is_within(tolerance)
    }
}

/// The CPU twin's logits in `T` for the rows that `options` compares, with adapters. `on_layer`
/// hears how many layers are done, from 0 on.
///
/// # Errors
/// [`Error::Argument`] for no tokens; what the checkpoint says.
pub async fn exact<T: Real>(
    checkpoint: &Checkpoint,
    adapters: &[Chosen],
    options: &FidelityOptions,
    on_layer: &mut dyn FnMut(u32),
) -> Result<Vec<T>> {
    let FidelityOptions { prompt_tokens, last, decode_tokens } = *options;
    if last == 0 || last > prompt_tokens || decode_tokens == 0 {
        return Err(Error::Argument {
            field: "tokens".into(),
            expected: "at least one token in the prompt, one of it compared, and one after it".into(),
            found: format!("{prompt_tokens}, {last}, {decode_tokens}"),
        });
    }
    on_layer(0);
    let ids = spread_ids(checkpoint.config.vocab_size, prompt_tokens + decode_tokens);
    model::logits(checkpoint, adapters, &ids, last + decode_tokens, on_layer).await
}

/// Compares the session's logits with those of [`exact`] for the same options. The session is reset
/// first.
///
/// # Errors
/// What the device says. A difference is no error: it is in the result.
pub async fn compare<T: Real>(session: &mut Session, options: &FidelityOptions, exact: &[T]) -> Result<Fidelity> {
    let vocab_size = session.engine().config().vocab_size;
    let ids = spread_ids(vocab_size, options.prompt_tokens + options.decode_tokens);
    let (prompt, rest) = ids.split_at(options.prompt_tokens as usize);
    session.reset();
    let chunk = session.engine().model().chunk();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    session.forward(prompt, chunk, options.last, &mut |row| prefill.extend_from_slice(row)).await?;
    session.forward(rest, 1, options.decode_tokens, &mut |row| decode.extend_from_slice(row)).await?;
    let (exact_prefill, exact_decode) = exact.split_at((options.last as usize * vocab_size as usize).min(exact.len()));
    Ok(Fidelity {
        prefill: Difference::of(&prefill, exact_prefill, vocab_size),
        decode: Difference::of(&decode, exact_decode, vocab_size),
    })
}
