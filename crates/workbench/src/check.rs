//! Comparison of the GPU with the CPU twin on any model: dispatch by dispatch, layer by layer,
//! states included.
//!
//! For every layer the GPU's own input is read back and given to the twin, so that an error shows
//! in the stage that makes it and not in all that follow. Before a dispatch runs, its output is
//! overwritten with NaN where it does not add to what is there: what a kernel forgets to write
//! cannot look right by accident. One layer's weights are on the CPU at a time.

mod walk;

use peregrine::checkpoint::Checkpoint;
use peregrine::inspect::{Comparison, TOLERANCE};
use peregrine::reference::kernels::LayerState;
use peregrine::session::Session;
use peregrine::{Error, Result};

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
    let tolerance = session.engine().model().target().tolerance(TOLERANCE);
    let c = checkpoint.config.clone();
    if let Some(token) = ids.iter().find(|id| **id >= c.vocab_size) {
        return Err(Error::TokenOutOfRange { token: *token, vocab_size: c.vocab_size });
    }
    let mut states: Vec<LayerState> = (0..c.num_hidden_layers).map(|_| LayerState::new(&c)).collect();
    let mut from = 0;
    for tokens in steps {
        let to = (from + *tokens as usize).min(ids.len());
        if from < to {
            let mut judge = |c: &Comparison| on_result(&Comparison { tolerance, ..c.clone() });
            walk::step(session, checkpoint, &ids[from..to], &mut states, &mut judge).await?;
        }
        from = to;
    }
    Ok(())
}
