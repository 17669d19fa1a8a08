//! A conversation with a model: prefill in chunks, decode, sampling, stopping; tokens and pieces of
//! text come out.

mod adapters;
mod ahead;
mod answer;
mod constrained;
mod copies;
mod decoder;
mod engine;
mod masks;
mod next_token;
mod not_finite;
mod overflow;
mod prefix_cache;
mod prompt;
mod requests;
mod saved;
mod snapshots;
mod speed;
mod steps;
mod warm_up;

use std::rc::Rc;

pub use self::answer::{Finish, GenerateOptions, Generated, Overflow, Piece};
use self::copies::Copies;
use self::decoder::Decoder;
pub(crate) use self::decoder::spread_logits;
pub use self::engine::Engine;
use self::prefix_cache::PrefixCache;
pub use self::saved::Unread;
pub use self::snapshots::Snapshot;
pub use self::speed::expected_speed;
use crate::chat::Transcript;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::state::State;

/// One sequence of tokens over a shared model.
pub struct Session {
    engine: Rc<Engine>,
    decoder: Decoder,
    /// Everything read or about to be.
    ids: Vec<u32>,
    /// How many at the end of `ids` the model has not run yet: the newest sampled token, or a
    /// prompt that was interrupted.
    pending: usize,
    /// What `ids` stand for, where they came from a chat and nothing in them is without a text.
    consumed: Option<Transcript>,
    /// The recurrent states at an answer's anchor.
    anchored: Option<Copies>,
    /// Whether an answer may still go back to them.
    anchor_is_used: bool,
    /// Logits after the last token that was run.
    logits: Vec<f32>,
    /// Places to go back to.
    prefix_cache: PrefixCache,
    /// Messages that were left out of the conversation because it did not fit.
    dropped: usize,
    /// What the caller wants to find in the file of a saved session.
    note: Option<String>,
}

impl Session {
    /// A session that has read nothing, with the adapters that the engine says
    /// ([`Engine::use_adapters`]).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(engine: &Rc<Engine>) -> Result<Self> {
        let mut session = Self {
            decoder: Decoder::new(&engine.model, engine.default_adapters())?,
            prefix_cache: PrefixCache::new(&engine.model),
            engine: engine.clone(),
            ids: Vec::new(),
            pending: 0,
            consumed: None,
            anchored: None,
            anchor_is_used: false,
            logits: Vec::new(),
            dropped: 0,
            note: None,
        };
        session.keep_budget();
        Ok(session)
    }

    /// The shared model, tokenizer and template.
    pub fn engine(&self) -> &Rc<Engine> {
        &self.engine
    }

    /// Tokens that the model has read.
    pub fn position(&self) -> u32 {
        self.decoder.state.position
    }

    /// Most tokens that it can read.
    fn context_length(&self) -> u32 {
        self.decoder.state.context_length()
    }

    /// Whether one more token can be read.
    fn has_room(&self) -> bool {
        self.position() < self.context_length()
    }

    /// The states, for tests and `check`.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn state(&self) -> &State {
        &self.decoder.state
    }

    /// Bytes on the GPU of all that a session has and that does not grow.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn fixed_bytes(&self) -> u64 {
        self.decoder.fixed_bytes()
    }

    /// The plan for one token or for many.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn plan(&self, many: bool) -> &Plan {
        self.decoder.plan(many)
    }

    /// What [`Session::set_note`] was given, or what was saved with the session that this one was
    /// restored from.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// A text that is saved with the session: the messages of its conversation, say.
    pub fn set_note(&mut self, note: Option<String>) {
        self.note = note;
    }

    /// Logits \[V\] after the last token; empty before the first.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Forgets everything that was read, snapshots too.
    pub fn reset(&mut self) {
        self.forget();
        self.prefix_cache.clear();
        self.dropped = 0;
        self.note = None;
    }

    /// Is at the beginning, and can still go to its snapshots.
    fn forget(&mut self) {
        self.decoder.clear();
        self.ids.clear();
        self.pending = 0;
        self.consumed = None;
        self.logits.clear();
        self.prefix_cache.leave();
    }

    /// Starts at another position, as if that many tokens had been read and forgotten: for tests of
    /// high positions.
    ///
    /// # Errors
    /// [`Error::ContextFull`].
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn start_at(&mut self, position: u32) -> Result<()> {
        self.reset();
        self.decoder.state.position = position;
        Ok(())
    }

    /// Reads tokens; the logits after the last are then in [`Session::logits`].
    ///
    /// # Errors
    /// [`Error::TokenOutOfRange`] and [`Error::ContextFull`] before anything is read; what the
    /// device says.
    pub async fn prefill(&mut self, ids: &[u32]) -> Result<()> {
        self.settle();
        self.admit(ids)?;
        self.push(ids);
        self.consumed = None;
        self.catch_up(None).await.map(|_| ())
    }

    /// Reads tokens and gives the logits after each of the last `last` of them, in order, a row
    /// \[V\] at a time. `chunk`: tokens a step, 1 for decode.
    ///
    /// # Errors
    /// As [`Session::prefill`]; [`Error::Argument`] for a chunk of 0 or more than the model was
    /// loaded for.
    pub async fn forward(&mut self, ids: &[u32], chunk: u32, last: u32, on_row: &mut dyn FnMut(&[f32])) -> Result<()> {
        if chunk == 0 || chunk > self.engine.model.chunk() {
            return Err(Error::Argument {
                field: "chunk".into(),
                expected: format!("1 to {}", self.engine.model.chunk()),
                found: chunk.to_string(),
            });
        }
        self.settle();
        self.admit(ids)?;
        self.catch_up(None).await?;
        let total = ids.len() as u32;
        let wanted_from = total - last.min(total);
        let vocab = self.engine.config().vocab_size as usize;
        let mut done = 0;
        while done < total {
            let mut tokens = chunk.min(total - done);
            // No more rows than a step can make.
            let most = self.engine.model.logit_rows();
            tokens = tokens.min(wanted_from.saturating_sub(done) + most);
            let rows = (done + tokens).saturating_sub(wanted_from.max(done));
            let part = ids[done as usize..(done + tokens) as usize].to_vec();
            self.engine.model.turns.free().await;
            self.step(&part, rows)?;
            self.ids.extend(&part);
            self.logits.clear();
            let values = self.decoder.read_logits(rows).await?;
            values.chunks_exact(vocab).for_each(&mut *on_row);
            if rows > 0 {
                self.logits = values[values.len() - vocab..].to_vec();
            }
            done += tokens;
        }
        self.consumed = None;
        Ok(())
    }

    /// Goes on from the tokens read so far. `on_piece` is told every token as it comes; `false`
    /// stops.
    ///
    /// # Errors
    /// [`Error::Sampling`], [`Error::Argument`] when nothing has been read yet, what the device
    /// says.
    pub async fn generate(
        &mut self,
        options: &GenerateOptions,
        on_piece: &mut dyn FnMut(Piece) -> bool,
    ) -> Result<Generated> {
        self.settle();
        self.answer(options, None, 0, self.ids.len() as u32, on_piece).await
    }

    /// Whether the tokens are all that the states have read: not so after [`Session::start_at`].
    fn is_known(&self) -> bool {
        self.ids.len() - self.pending == self.position() as usize
    }

    fn fits(&self, needed: u64) -> Result<()> {
        let context_length = u64::from(self.context_length());
        if needed > context_length {
            return Err(Error::ContextFull { needed, context_length });
        }
        Ok(())
    }

    fn admit(&self, ids: &[u32]) -> Result<()> {
        check_range(ids, self.engine.config())?;
        self.fits(u64::from(self.position()) + self.pending as u64 + ids.len() as u64)
    }

    fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.pending += ids.len();
    }
}

/// cos and sin \[T, hd / 2, 2\] of the positions from `position` on; angles in f64, since at base
/// 1e11 the fastest pair's angle is the position itself, and f32 has no fraction left at 262,143.
#[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
pub(crate) fn rope_table(frequencies: &[f64], position: u32, tokens: u32) -> Vec<f32> {
    (position..position + tokens)
        .flat_map(|p| frequencies.iter().map(move |f| (f64::from(p) * f).sin_cos()))
        .flat_map(|(sin, cos)| [cos as f32, sin as f32])
        .collect()
}

fn check_range(ids: &[u32], config: &Config) -> Result<()> {
    match ids.iter().find(|id| **id >= config.vocab_size) {
        Some(token) => Err(Error::TokenOutOfRange { token: *token, vocab_size: config.vocab_size }),
        None => Ok(()),
    }
}
