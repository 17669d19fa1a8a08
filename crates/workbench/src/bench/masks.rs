//! What a grammar costs a token.
//!
//! Both kinds of answers are made in turns in the same run. A token that is sampled under a mask
//! costs the mask, and the wait that nothing is queued behind it; a token that must come is not
//! sampled at all, and costs its share of a step that reads several. Both are told apart, since how
//! many must come is the schema's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use peregrine::Result;
use peregrine::constraint::{Constraint, Grammar};
use peregrine::session::{GenerateOptions, Session};
use serde_json::{Value, json};

use super::{BenchOptions, ids, median, percentiles};

/// A grammar whose calls are timed. An answer that is finished begins anew, so that it is as long
/// as the other.
struct Timed {
    grammar: Rc<dyn Grammar>,
    spent: Rc<Spent>,
}

#[derive(Default)]
struct Spent {
    /// Seconds of each mask.
    masks: RefCell<Vec<f64>>,
    /// Seconds of all else that a token costs in the grammar.
    others: Cell<f64>,
    forced: Cell<u32>,
}

impl Grammar for Timed {
    fn begin(&self) -> Result<Box<dyn Constraint>> {
        let (grammar, spent) = (self.grammar.clone(), self.spent.clone());
        Ok(Box::new(Running { inner: grammar.begin()?, grammar, spent }))
    }
}

struct Running {
    inner: Box<dyn Constraint>,
    grammar: Rc<dyn Grammar>,
    spent: Rc<Spent>,
}

impl Running {
    fn timed<T>(&mut self, call: impl FnOnce(&mut dyn Constraint) -> T) -> T {
        let start = Instant::now();
        let found = call(&mut *self.inner);
        self.spent.others.set(self.spent.others.get() + start.elapsed().as_secs_f64());
        found
    }
}

impl Constraint for Running {
    fn mask(&mut self, mask: &mut [u32]) -> Result<()> {
        let start = Instant::now();
        let made = self.inner.mask(mask);
        self.spent.masks.borrow_mut().push(start.elapsed().as_secs_f64());
        made
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        self.timed(|inner| inner.accept(token))?;
        if self.inner.is_finished() {
            self.inner = self.grammar.begin()?;
        }
        Ok(())
    }

    fn forced(&mut self) -> Result<Vec<u32>> {
        let forced = self.timed(|inner| inner.forced())?;
        self.spent.forced.set(self.spent.forced.get() + forced.len() as u32);
        Ok(forced)
    }

    fn may_end(&mut self) -> bool {
        false
    }

    fn is_finished(&mut self) -> bool {
        false
    }
}

/// Decode with a grammar and without: medians over the runs.
///
/// # Errors
/// What the grammar or the device says.
pub async fn masked(session: &mut Session, grammar: Rc<dyn Grammar>, options: &BenchOptions) -> Result<Value> {
    let spent = Rc::new(Spent::default());
    let timed: Rc<dyn Grammar> = Rc::new(Timed { grammar, spent: spent.clone() });
    let plain = options.generate(options.gen_tokens);
    let under_masks = GenerateOptions { grammar: Some(timed), ..plain.clone() };
    let (mut free, mut constrained) = (Vec::new(), Vec::new());
    for run in 0..=options.repeat {
        // The first warms up.
        if run == 1 {
            spent.masks.borrow_mut().clear();
            spent.others.set(0.0);
            spent.forced.set(0);
            (free, constrained) = (Vec::new(), Vec::new());
        }
        free.push(decode(session, options, &plain).await?);
        constrained.push(decode(session, options, &under_masks).await?);
    }
    let (free, constrained) = (median(free), median(constrained));
    let mut masks: Vec<f64> = spent.masks.take().iter().map(|seconds| seconds * 1e6).collect();
    masks.sort_by(f64::total_cmp);
    let tokens = f64::from(options.gen_tokens * options.repeat);
    Ok(json!({
        "milliseconds_per_token": constrained * 1e3,
        "plain_milliseconds_per_token": free * 1e3,
        "ratio": constrained / free,
        "forced_share": f64::from(spent.forced.get()) / tokens,
        "mask_microseconds": percentiles(&masks),
        "other_microseconds_per_token": spent.others.get() / tokens * 1e6,
    }))
}

/// Seconds a token after the first.
async fn decode(session: &mut Session, options: &BenchOptions, how: &GenerateOptions) -> Result<f64> {
    session.reset();
    let prompt = ids(options.prompt_tokens, 2, session);
    let answer = session.complete(&prompt, how, &mut |_| true).await?;
    Ok(answer.decode_seconds / (answer.ids.len().max(2) - 1) as f64)
}
