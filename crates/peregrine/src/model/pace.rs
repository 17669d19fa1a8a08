//! How fast a device reads prompts: whether a step must be submitted in parts, so that it can be stopped.

use std::cell::Cell;

use crate::ops::target::Target;

/// What is on the device when the caller stops should not take longer, seconds.
const PATIENCE: f64 = 0.1;

/// Dispatches that a software adapter gets at a time before it has shown how fast it is.
const CAREFUL: usize = 8;

/// Seconds that a dispatch takes for each token of its step.
pub(crate) struct Pace {
    found: Cell<Option<f64>>,
    is_software: bool,
}

impl Pace {
    pub fn of(target: &Target) -> Self {
        Self { found: Cell::new(None), is_software: target.is_software() }
    }

    /// Dispatches to submit at once, of a step of so many tokens. A GPU gets all of the first.
    pub fn part(&self, tokens: u32) -> usize {
        match self.found.get() {
            Some(seconds) => ((PATIENCE / (seconds * f64::from(tokens))) as usize).max(1),
            None if self.is_software => CAREFUL,
            None => usize::MAX,
        }
    }

    /// So long did so many dispatches of a step take.
    pub fn learn(&self, seconds: f64, dispatches: usize, tokens: u32) {
        // At least the step of the clock that browsers show.
        self.found.set(Some(seconds.max(1e-4) / (dispatches.max(1) as f64 * f64::from(tokens.max(1)))));
    }
}
