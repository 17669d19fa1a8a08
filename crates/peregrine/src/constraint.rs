//! What an answer must look like: which tokens may come next.
//!
//! The runtime knows three traits and no grammar. A [`Compiler`] makes a [`Grammar`] of what
//! somebody has asked for, a [`Spec`]; each answer begins a [`Constraint`] of its own, which is
//! told every token and says which may follow. What crosses the border are words and ids,
//! synchronously: natively a call of the `peregrine-grammar` crate, in a browser one into another
//! wasm module.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spec {
    /// A JSON object.
    JsonObject,
    /// JSON that this schema validates.
    JsonSchema {
        /// The schema: an object or a boolean.
        schema: Value,
        /// Refuse what cannot be enforced, instead of ignoring it with a warning.
        strict: bool,
    },
    /// A text that this regular expression matches as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A text of this grammar, in the Lark dialect of llguidance.
    Lark(String),
}

/// Makes grammars for the vocabulary of one model.
pub trait Compiler {
    /// # Errors
    /// [`Error::Grammar`](crate::Error::Grammar) for what cannot be used, with the place in it; the
    /// work is bounded.
    fn compile(&self, spec: &Spec) -> Result<Rc<dyn Grammar>>;
}

/// A compiled grammar. Answers share it.
pub trait Grammar {
    /// Before the first token of an answer.
    ///
    /// # Errors
    /// [`Error::Grammar`](crate::Error::Grammar).
    fn begin(&self) -> Result<Box<dyn Constraint>>;

    /// What of the [`Spec`] is not enforced, a line each.
    fn warnings(&self) -> &[String] {
        &[]
    }
}

/// How far one answer has come. The session calls [`Constraint::forced`] before every token,
/// [`Constraint::mask`] where nothing is forced, and [`Constraint::accept`] with what came.
pub trait Constraint {
    /// Sets bit `t % 32` of word `t / 32` for every token `t` that may come next. `mask` has
    /// [`mask_words`] words, all of them 0. Tokens that end the answer are none of its business:
    /// the session sets those, where [`Constraint::may_end`].
    ///
    /// # Errors
    /// [`Error::Grammar`](crate::Error::Grammar) where the work for this token would exceed its
    /// limits.
    fn mask(&mut self, mask: &mut [u32]) -> Result<()>;

    /// The answer goes on with this token.
    ///
    /// # Errors
    /// [`Error::Grammar`](crate::Error::Grammar) for a token that may not come.
    fn accept(&mut self, token: u32) -> Result<()>;

    /// Tokens that must come next, in this order; none where there is a choice. They are not
    /// accepted yet.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    fn forced(&mut self) -> Result<Vec<u32>>;

    /// Whether the answer may end here.
    fn may_end(&mut self) -> bool;

    /// Whether it must: it may, and nothing can follow.
    fn is_finished(&mut self) -> bool;
}

/// Words of a mask of so many tokens.
pub fn mask_words(vocab_size: u32) -> usize {
    vocab_size.div_ceil(32) as usize
}

/// Whether a mask lets a token come.
pub fn allows(mask: &[u32], token: u32) -> bool {
    mask.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
}

/// Lets a token come, or not.
pub fn allow(mask: &mut [u32], token: u32, may_come: bool) {
    if let Some(word) = mask.get_mut(token as usize / 32) {
        let bit = 1 << (token % 32);
        *word = if may_come { *word | bit } else { *word & !bit };
    }
}
