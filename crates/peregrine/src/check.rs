//! Comparison of the GPU with the CPU twin on any model: dispatch by dispatch, layer by layer,
//! states included.
//!
//! For every layer the GPU's own input is read back and given to the twin, so that an error shows
//! in the stage that makes it and not in all that follow. Before a dispatch runs, its output is
//! overwritten with NaN where it does not add to what is there: what a kernel forgets to write
//! cannot look right by accident. One layer's weights are on the CPU at a time.

mod neighbours;
mod runner;
mod walk;

pub(crate) use self::neighbours::kept;
pub(crate) use self::runner::{Copied, Runner, missing};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::reference::kernels::LayerState;
use crate::session::Session;

/// One comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which dispatch, or which state after it.
    pub stage: String,
    /// Tokens in the step.
    pub tokens: u32,
    /// Largest |GPU - CPU|, or infinity when one of them is not a number.
    pub difference: f32,
    /// Largest |CPU|: what the difference is measured against.
    pub magnitude: f32,
    /// Where the largest difference is: an index into the stage's output, token by token.
    pub index: usize,
    /// The GPU's value there.
    pub found: f32,
    /// The CPU's value there.
    pub expected: f32,
    /// The share of the largest value up to which a difference is rounding.
    pub tolerance: f32,
}

/// A difference up to this share of the largest value is rounding: sums of f32 in another order.
pub const TOLERANCE: f32 = 5e-5;
/// The same where both factors of a product were rounded to f16, by half a step of 2^-11 each:
/// cooperative matrices, and all that follows from them in a layer.
pub const TOLERANCE_F16: f32 = 4e-3;

impl Comparison {
    /// Compares two slices of the same meaning. A length that differs is a difference.
    pub fn of(stage: impl Into<String>, tokens: u32, found: &[f32], expected: &[f32]) -> Self {
        let magnitude = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let mut worst = Self {
            stage: stage.into(),
            tokens,
            difference: 0.0,
            magnitude,
            index: 0,
            found: 0.0,
            expected: 0.0,
            tolerance: TOLERANCE,
        };
        if found.len() != expected.len() {
            return Self { difference: f32::INFINITY, index: found.len().min(expected.len()), ..worst };
        }
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            let difference = if f.is_finite() && e.is_finite() { (f - e).abs() } else { f32::INFINITY };
            if difference > worst.difference {
                worst = Self { difference, index, found: *f, expected: *e, ..worst };
            }
        }
        worst
    }

    /// The difference as a share of the largest value.
    pub fn relative(&self) -> f32 {
        self.difference / self.magnitude.max(1e-3)
    }

    /// The name of the stage without its layer.
    pub fn kind(&self) -> &str {
        self.stage.split_once(", ").map_or(self.stage.as_str(), |(_, kind)| kind)
    }

    /// In words: where, and what was found instead of what.
    pub fn describe(&self) -> String {
        format!("{}: the device computes {:e} where the CPU has {:e}", self.stage, self.found, self.expected)
    }

    /// Whether the difference is rounding.
    pub fn is_close(&self) -> bool {
        // An infinite magnitude would excuse anything.
        self.difference.is_finite() && self.difference <= self.tolerance * self.magnitude.max(1e-3)
    }
}

/// The worst comparison of each kind of stage and how many there were, in the order of the model.
pub fn worst(results: &[Comparison]) -> Vec<(&Comparison, usize)> {
    let mut worst: Vec<(&Comparison, usize)> = Vec::new();
    for r in results {
        match worst.iter_mut().find(|(w, _)| w.kind() == r.kind()) {
            Some((w, count)) => {
                *count += 1;
                if r.relative() > w.relative() || !r.difference.is_finite() {
                    *w = r;
                }
            }
            None => worst.push((r, 1)),
        }
    }
    worst
}

/// `tokens` ids spread over the vocabulary, the same every time.
pub fn spread_ids(vocab_size: u32, tokens: u32) -> Vec<u32> {
    (1..=u64::from(tokens)).map(|i| (i * 2_654_435_761 % u64::from(vocab_size)) as u32).collect()
}

/// The steps that `check` takes by default: half of the tokens at once, then the rest one by one.
pub fn halves(tokens: u32) -> Vec<u32> {
    let mut steps = vec![tokens / 2];
    steps.extend(std::iter::repeat_n(1, (tokens - tokens / 2) as usize));
    steps
}

/// Reads `ids` in the given steps, comparing everything on the way; `on_result` hears of each
/// comparison as it is made. The session is reset first, and holds all of `ids` afterwards.
///
/// # Errors
/// What the checkpoint or the device say. A difference is not an error: it is in the comparisons.
pub async fn check(
    session: &mut Session,
    checkpoint: &Checkpoint,
    ids: &[u32],
    steps: &[u32],
    on_result: &mut dyn FnMut(&Comparison),
) -> Result<()> {
    session.reset();
    let cooperative = session.engine().model().target().cooperative;
    let c = checkpoint.config.clone();
    if let Some(token) = ids.iter().find(|id| **id >= c.vocab_size) {
        return Err(Error::TokenOutOfRange { token: *token, vocab_size: c.vocab_size });
    }
    let mut states: Vec<LayerState> = (0..c.num_hidden_layers).map(|_| LayerState::new(&c)).collect();
    let mut from = 0;
    for tokens in steps {
        let to = (from + *tokens as usize).min(ids.len());
        if from < to {
            let tolerance = if cooperative { TOLERANCE_F16 } else { TOLERANCE };
            let mut judge = |c: &Comparison| on_result(&Comparison { tolerance, ..c.clone() });
            walk::step(session, checkpoint, &ids[from..to], &mut states, &mut judge).await?;
        }
        from = to;
    }
    Ok(())
}
