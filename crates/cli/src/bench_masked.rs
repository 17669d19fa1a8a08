//! `bench --json-schema`: what a grammar costs a token.
//!
//! Both kinds of answers are made in turns in the same run. A token that is drawn under a mask costs the mask, and the wait that
//! nothing is queued behind it; a token that must come is not drawn at all, and costs its share of a step that reads several. Both are
//! told apart, since how many must come is the schema's.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::time::Instant;

use peregrine::Result;
use peregrine::constraint::{Constraint, Grammar};
use peregrine::session::{GenerateOptions, Session};
use pollster::block_on;
use serde_json::{Value, json};

use crate::bench::{Args, generate, ids, percentile};
use crate::failure::Outcome;
use crate::format::Format;

/// A grammar whose calls are timed. An answer that is finished begins anew, so that it is as long as the other.
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

/// Decode of both kinds; medians over the runs.
pub fn run(args: &Args, format: &Format, session: &mut Session) -> Outcome<Value> {
    let engine = session.engine().clone();
    let start = Instant::now();
    let grammar = format.compile(&engine)?;
    let compile = start.elapsed().as_secs_f64();
    let spent = Rc::new(Spent::default());
    let timed: Rc<dyn Grammar> = Rc::new(Timed { grammar, spent: spent.clone() });
    let plain = generate(args.gen_tokens, args);
    let masked = GenerateOptions { grammar: Some(timed), ..plain.clone() };
    let (mut free, mut constrained) = (Vec::new(), Vec::new());
    for run in 0..=args.repeat {
        // The first warms up.
        if run == 1 {
            spent.masks.borrow_mut().clear();
            spent.others.set(0.0);
            spent.forced.set(0);
            (free, constrained) = (Vec::new(), Vec::new());
        }
        free.push(decode(args, session, &plain)?);
        constrained.push(decode(args, session, &masked)?);
    }
    let (free, constrained) = (median(free), median(constrained));
    let mut masks = spent.masks.take();
    masks.sort_by(f64::total_cmp);
    let tokens = f64::from(args.gen_tokens * args.repeat);
    let micro = |share: f64| if masks.is_empty() { 0.0 } else { percentile(&masks, share) * 1e6 };
    Ok(json!({
        "compile_seconds": compile,
        "milliseconds_per_token": constrained * 1e3,
        "plain_milliseconds_per_token": free * 1e3,
        "ratio": constrained / free,
        "forced_share": f64::from(spent.forced.get()) / tokens,
        "mask_microseconds": { "p50": micro(0.5), "p90": micro(0.9), "p99": micro(0.99) },
        "other_microseconds_per_token": spent.others.get() / tokens * 1e6,
    }))
}

/// Seconds a token after the first.
fn decode(args: &Args, session: &mut Session, options: &GenerateOptions) -> Outcome<f64> {
    session.reset();
    let prompt = ids(args.prompt_tokens, 2, session);
    let answer = block_on(session.complete(&prompt, options, &mut |_| true))?;
    Ok(answer.decode_seconds / (answer.ids.len().max(2) - 1) as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// For a person.
pub fn table(out: &mut impl Write, report: &Value) -> Outcome {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    if report.is_null() {
        return Ok(());
    }
    writeln!(
        out,
        "by schema        {:.2} ms a token, {:.3} times the {:.2} without it; {:.0}% of the tokens had to come",
        number("/milliseconds_per_token"),
        number("/ratio"),
        number("/plain_milliseconds_per_token"),
        number("/forced_share") * 100.0,
    )?;
    writeln!(
        out,
        "  its masks      half below {:.0} us, 90% below {:.0}, 99% below {:.0}; {:.0} us a token for the rest; compiled in {:.2} s",
        number("/mask_microseconds/p50"),
        number("/mask_microseconds/p90"),
        number("/mask_microseconds/p99"),
        number("/other_microseconds_per_token"),
        number("/compile_seconds"),
    )?;
    Ok(())
}
