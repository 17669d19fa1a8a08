//! A conversation with a model: prefill in chunks, decode, sampling, stopping; tokens and pieces of
//! text come out.

mod adapters;
mod ahead;
mod answer;
mod constrained;
mod copies;
mod decoder;
mod gpu_sampling;
mod masks;
mod not_finite;
mod overflow;
mod parts;
mod prefix_cache;
mod prompt;
mod requests;
mod saved;
mod snapshots;
mod speed;
mod warm_up;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

pub use self::answer::{Finish, GenerateOptions, Generated, Overflow, Piece};
use self::copies::Copies;
pub(crate) use self::gpu_sampling::spread_logits;
use self::prefix_cache::PrefixCache;
pub use self::saved::Unread;
pub use self::snapshots::Snapshot;
pub use self::speed::expected_speed;
use crate::adapter::Registry;
use crate::chat::{ChatTemplate, Transcript};
use crate::checkpoint::{Checkpoint, Container};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::model::{LoadOptions, Model, Progress};
use crate::ops::lora::Adapted;
use crate::ops::sample::SamplingBuffers;
use crate::plan::Plan;
use crate::state::State;
use crate::tokenizer::Tokenizer;

/// A model with its tokenizer and chat template; sessions share it.
pub struct Engine {
    model: Model,
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    container: Container,
    adapters: RefCell<Registry>,
    /// Whether the GPU samples right under a mask; not known before it was tried.
    masks: Cell<Option<bool>>,
}

impl Engine {
    /// Loads all of it from a checkpoint.
    ///
    /// # Errors
    /// What checkpoint, tokenizer, template or device say.
    pub async fn load(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Rc<Self>> {
        // The tokenizer first: what is wrong with it shows before gigabytes are loaded.
        let tokenizer = Tokenizer::new(&checkpoint.tokenizer, checkpoint.config.vocab_size)?;
        let template = checkpoint
            .chat_template
            .as_ref()
            .map(|source| ChatTemplate::new(source, tokenizer.bos_text(), tokenizer.eos_text()))
            .transpose()?
            .map(|template| template.with_tokens(&checkpoint.named_tokens));
        let model = Model::load(gpu, checkpoint, options, progress).await?;
        let (tokenizer, container) = (Arc::new(tokenizer), checkpoint.container);
        let (adapters, masks) = (RefCell::default(), Cell::new(None));
        Ok(Rc::new(Self { model, tokenizer, template, container, adapters, masks }))
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The same for whoever goes to another thread with it, or makes grammars of its tokens.
    pub fn shared_tokenizer(&self) -> Arc<Tokenizer> {
        self.tokenizer.clone()
    }

    /// The chat template, where the checkpoint has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// What is wrong with the model's file without making it useless, each in a line for a person.
    pub fn warnings(&self) -> Vec<String> {
        self.template.iter().flat_map(|template| self.tokenizer.warnings(template.source())).collect()
    }

    /// The adapter's name.
    pub fn gpu_name(&self) -> &str {
        self.model.gpu().name()
    }
}

/// One sequence of tokens over a shared model.
pub struct Session {
    engine: Rc<Engine>,
    state: State,
    /// Where its next token is sampled.
    next: SamplingBuffers,
    decode: Plan,
    prefill: Plan,
    /// The adapters of both.
    adapted: Option<Rc<Adapted>>,
    /// Samples under a mask; made when the first answer wants it.
    masked: Option<Plan>,
    /// Base of the angle of each pair of an attention head: theta^(-2i/hd), f64.
    frequencies: Vec<f64>,
    /// Everything read or about to be.
    ids: Vec<u32>,
    /// How many at the end of `ids` the model has not run yet: the newest sampled token, or a
    /// prompt that was interrupted.
    pending: usize,
    /// What `ids` stand for, where they came from a chat and nothing in them is without a text.
    consumed: Option<Transcript>,
    /// Steps that run on tokens that are not in `ids` yet, while an answer is sampled on the GPU.
    ahead: u32,
    /// How many there may be, where tests say so.
    steps_ahead: Option<u32>,
    /// The recurrent states at an answer's anchor.
    anchored: Option<Copies>,
    /// Whether an answer may still go back to them.
    anchor_is_used: bool,
    /// A step is under way whose dispatches are not all submitted: the states are between two
    /// tokens.
    halfway: bool,
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
        let model = &engine.model;
        let c = model.config();
        let state = State::new(model.gpu(), c, model.context_length(), model.kv())?;
        let next = SamplingBuffers::new(model.gpu(), c.vocab_size, model.chunk())?;
        let adapted = engine.default_adapters();
        let half = c.head_dim / 2;
        let frequencies = (0..half).map(|i| c.rope_theta.powf(-f64::from(2 * i) / f64::from(c.head_dim))).collect();
        let mut session = Self {
            decode: model.plan(&state, &next, false, adapted.as_deref()),
            prefill: model.plan(&state, &next, true, adapted.as_deref()),
            adapted,
            masked: None,
            engine: engine.clone(),
            state,
            next,
            frequencies,
            ids: Vec::new(),
            pending: 0,
            consumed: None,
            ahead: 0,
            steps_ahead: None,
            anchored: None,
            anchor_is_used: false,
            halfway: false,
            logits: Vec::new(),
            prefix_cache: PrefixCache::new(model),
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
        self.state.position
    }

    /// The states, for tests and `check`.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Bytes on the GPU of all that a session has and that does not grow.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn fixed_bytes(&self) -> u64 {
        self.state.fixed_bytes() + self.next.bytes()
    }

    /// The plan for one token or for many.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn plan(&self, many: bool) -> &Plan {
        if many { &self.prefill } else { &self.decode }
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
        self.state.clear(self.engine.model.gpu());
        self.ids.clear();
        self.pending = 0;
        self.consumed = None;
        self.ahead = 0;
        self.halfway = false;
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
        self.state.position = position;
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
            self.ids.extend(&part);
            self.step(&part, rows)?;
            let values = self.read_logits(rows).await?;
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
        self.ids.len() - self.pending == self.state.position as usize
    }

    fn fits(&self, needed: u64) -> Result<()> {
        let context_length = u64::from(self.state.context_length);
        if needed > context_length {
            return Err(Error::ContextFull { needed, context_length });
        }
        Ok(())
    }

    fn admit(&self, ids: &[u32]) -> Result<()> {
        check_range(ids, self.engine.config())?;
        self.fits(u64::from(self.state.position) + self.pending as u64 + ids.len() as u64)
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
