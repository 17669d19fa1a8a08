//! How fast a device is. How fast it reads prompts says whether a step must be submitted in parts,
//! so that it can be stopped; how fast it writes, how many steps are to be queued.
//!
//! Of prompts only whole steps of many tokens teach it. The clock and the answers of a browser are
//! as coarse as 100 ms, so a small piece of work says nothing of a large one, and every part that
//! is waited for costs that long.

use std::cell::Cell;

use crate::ops::target::Target;

/// A step that takes no longer than this is submitted whole, seconds.
const PATIENCE: f64 = 0.5;

/// The same where the thread that computes it is the one that hears of all else.
const PATIENCE_HERE: f64 = 0.1;

/// The part of that which a part of a step takes that takes longer.
const PART: f64 = 0.5;

/// A token that takes longer than this, seconds, hides the way to the device and back behind one
/// step: what is queued beyond it would only be done for nothing where an answer ends.
const QUICK: f64 = 5e-3;

/// The share of the newest token in the mean, where it was quicker than that and where it was not:
/// one that was waited for by chance says less.
const QUICKER: f64 = 0.5;
const SLOWER: f64 = 0.125;

/// What a device has shown so far.
pub(crate) struct Pace {
    /// Seconds for each block of tokens.
    found: Cell<Option<f64>>,
    /// Seconds from a token to the next one, the newest ones most.
    token: Cell<Option<f64>>,
    /// Tokens of a block: [`Target::block`].
    block: u32,
    /// [`Target::first_dispatches`].
    first: Option<usize>,
    /// [`Target::most_steps_ahead`].
    ahead: u32,
    patience: f64,
}

impl Pace {
    pub fn of(target: &Target) -> Self {
        Self {
            found: Cell::new(None),
            token: Cell::new(None),
            block: target.block(),
            first: target.first_dispatches(),
            ahead: target.most_steps_ahead(),
            patience: if target.is_here() { PATIENCE_HERE } else { PATIENCE },
        }
    }

    /// Dispatches to submit at once, of a step of so many tokens with so many dispatches. A GPU
    /// gets all of the first step.
    pub fn part(&self, tokens: u32, dispatches: usize) -> usize {
        match self.found.get().map(|seconds| seconds * self.blocks(tokens)) {
            Some(seconds) if seconds <= self.patience => dispatches,
            Some(seconds) => ((dispatches as f64 * PART * self.patience / seconds).ceil() as usize).max(1),
            None => self.first.unwrap_or(dispatches),
        }
    }

    /// A whole step of so many tokens took so long. One of a single block says nothing: a tick of a
    /// coarse clock would count for each block of a long one.
    pub fn learn(&self, seconds: f64, tokens: u32) {
        if self.blocks(tokens) > 1.0 {
            self.found.set(Some(seconds / self.blocks(tokens)));
        }
    }

    /// Whether a step has taught it.
    pub fn is_known(&self) -> bool {
        self.found.get().is_some()
    }

    /// A token of an answer came so long after the one before it.
    pub fn learn_token(&self, seconds: f64) {
        let mean = self.token.get().unwrap_or(seconds);
        let share = if seconds < mean { QUICKER } else { SLOWER };
        self.token.set(Some(mean + share * (seconds - mean)));
    }

    /// How many steps of an answer to queue on tokens that are not known yet.
    pub fn steps_ahead(&self) -> u32 {
        match self.token.get() {
            Some(seconds) if seconds < QUICK => self.ahead,
            _ => 1,
        }
    }

    fn blocks(&self, tokens: u32) -> f64 {
        f64::from(tokens.div_ceil(self.block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> Pace {
        Pace { found: Cell::new(None), token: Cell::new(None), block: 64, first: None, ahead: 4, patience: PATIENCE }
    }

    fn software() -> Pace {
        Pace { block: 8, first: Some(8), ahead: 1, ..gpu() }
    }

    /// Reads steps of so many tokens on a device that takes so long for each of 500 dispatches,
    /// where an answer comes after a multiple of `clock` seconds; how many parts each had.
    fn read(pace: &Pace, steps: &[u32], seconds: f64, clock: f64) -> Vec<usize> {
        let dispatches = 500;
        let mut parts = Vec::new();
        for tokens in steps {
            let (mut first, mut count, mut spent) = (0, 0, 0.0);
            let part = pace.part(*tokens, dispatches);
            while first < dispatches {
                let now = part.min(dispatches - first);
                spent += (now as f64 * seconds / clock).ceil() * clock;
                first += now;
                count += 1;
            }
            pace.learn(spent, *tokens);
            parts.push(count);
        }
        parts
    }

    #[test]
    fn a_fast_gpu_behind_a_slow_answer_gets_whole_steps() {
        assert_eq!(read(&gpu(), &[512, 1, 2, 300, 1, 512], 1e-5, 0.1), [1; 6]);
        assert_eq!(read(&gpu(), &[2, 64, 512], 1e-5, 0.2), [1; 3]);
    }

    #[test]
    fn a_fast_software_adapter_does_not_stay_careful() {
        let parts = read(&software(), &[64; 8], 1e-5, 0.1);
        assert_eq!(parts[0], 63);
        assert_eq!(parts[7], 1, "{parts:?}");
    }

    #[test]
    fn only_where_tokens_are_quick_several_steps_are_queued() {
        let gpu = gpu();
        assert_eq!(gpu.steps_ahead(), 1, "nothing is known");
        gpu.learn_token(0.2); // the first one finds cold caches
        assert_eq!(gpu.steps_ahead(), 1);
        (0..8).for_each(|_| gpu.learn_token(1e-3));
        assert_eq!(gpu.steps_ahead(), gpu.ahead);
        gpu.learn_token(0.02); // somebody else had the GPU
        assert_eq!(gpu.steps_ahead(), gpu.ahead);
        (0..20).for_each(|_| gpu.learn_token(0.03));
        assert_eq!(gpu.steps_ahead(), 1);
        let software = software();
        software.learn_token(1e-3);
        assert_eq!(software.steps_ahead(), 1);
    }

    #[test]
    fn what_computes_here_lets_others_in_more_often() {
        let here = Pace { patience: PATIENCE_HERE, ..software() };
        // 200 ms a step, in parts of 50.
        let parts = read(&here, &[64, 64], 4e-4, 1e-6);
        assert_eq!(parts, [63, 4]);
    }

    #[test]
    fn a_slow_device_gets_parts_that_can_be_stopped_between() {
        // Ten seconds a step, in parts of a quarter of a second.
        let parts = read(&gpu(), &[512, 512, 512], 0.02, 1e-4);
        assert_eq!(parts[0], 1);
        assert!((35..=45).contains(&parts[1]) && parts[1] == parts[2], "{parts:?}");
    }
}
