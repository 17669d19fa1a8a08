//! A compiled grammar, and an answer by it.

use std::sync::{Arc, Mutex, PoisonError};

use llguidance::Matcher;
use llguidance::api::StopReason;
use peregrine::constraint::{Constraint, Grammar};
use peregrine::{Error, Result};

use crate::place;

/// A grammar before the first token. Cheap to clone.
#[derive(Clone)]
pub struct Compiled {
    start: Arc<Mutex<Matcher>>,
    warnings: Arc<[String]>,
}

impl Compiled {
    pub(crate) fn new(mut start: Matcher) -> Self {
        let warnings = start.grammar_warnings().iter().map(|warning| place::line(warning)).collect();
        Self { start: Arc::new(Mutex::new(start)), warnings }
    }
}

impl Grammar for Compiled {
    fn begin(&self) -> Result<Box<dyn Constraint>> {
        let start = self.start.lock().unwrap_or_else(PoisonError::into_inner);
        // A copy of everything: what one answer costs does not depend on others.
        Ok(Box::new(Running { matcher: start.deep_clone() }))
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

const NOTHING_GOES_ON: &str = "no answer is possible from here: nothing satisfies the schema or grammar, or no token of the vocabulary goes on with it";

/// An answer on its way.
struct Running {
    matcher: Matcher,
}

impl Running {
    fn failed(&self, error: &str) -> Error {
        let detail = match self.matcher.stop_reason() {
            StopReason::LexerTooComplex | StopReason::ParserTooComplex => {
                "the grammar is too complex for the next token: simplify it"
            }
            StopReason::NoExtensionBias => NOTHING_GOES_ON,
            _ if error.contains("NoExtensionBias") => NOTHING_GOES_ON,
            _ => error,
        };
        Error::Grammar { place: "constraint".into(), detail: place::line(detail) }
    }
}

impl Constraint for Running {
    fn mask(&mut self, mask: &mut [u32]) -> Result<()> {
        let allowed = self.matcher.compute_mask().map_err(|error| self.failed(&error.to_string()))?;
        mask.iter_mut().zip(allowed.as_slice()).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        self.matcher.consume_token(token).map_err(|error| self.failed(&error.to_string()))
    }

    fn forced(&mut self) -> Result<Vec<u32>> {
        let forced = self.matcher.compute_ff_tokens();
        match self.matcher.get_error() {
            Some(error) => Err(self.failed(&error)),
            None => Ok(forced),
        }
    }

    fn may_end(&mut self) -> bool {
        self.matcher.is_accepting().unwrap_or(false)
    }

    fn is_finished(&mut self) -> bool {
        self.matcher.is_stopped() && self.matcher.stop_reason().is_ok()
    }
}
