//! What drives the device for one sequence: its states, the recorded plans and what they are bound
//! to, and the steps that are queued.
//!
//! A decoder knows tokens only on their way to the device. What they stand for, which of them are
//! still to be read and where to go back to is the [`Session`](super::Session)'s. Room for a step's
//! tokens is made before it begins, since snapshots may have to go for it.

mod gpu_sampling;
mod sampled;
mod submit;

use std::rc::Rc;

pub(crate) use self::gpu_sampling::spread_logits;
pub(super) use self::sampled::SampledTokens;
use super::copies::Readable;
use super::rope_table;
use crate::adapter::Chosen;
use crate::error::Result;
use crate::gpu::Reading;
use crate::model::Model;
use crate::model::turns::Turn;
use crate::ops::lora::Adapted;
use crate::ops::sample::SamplingBuffers;
use crate::plan::{Call, Plan, SamplingMode, Step};
use crate::state::{Page, State, splits};

/// The states of one sequence, and the plans that run steps over them.
pub(crate) struct Decoder {
    model: Rc<Model>,
    pub(super) state: State,
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
    /// Steps that run on tokens which the host does not know yet.
    ahead: u32,
    /// How many there may be, where tests say so.
    steps_ahead: Option<u32>,
    /// A step is under way whose dispatches are not all submitted: the states are between two
    /// tokens.
    halfway: bool,
}

impl Decoder {
    /// Before the first token.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn new(model: &Rc<Model>, adapted: Option<Rc<Adapted>>) -> Result<Self> {
        let c = model.config();
        let state = State::new(model.gpu(), c, model.kv())?;
        let next = SamplingBuffers::new(model.gpu(), c.vocab_size, model.chunk())?;
        let half = c.head_dim / 2;
        let frequencies = (0..half).map(|i| c.rope_theta.powf(-f64::from(2 * i) / f64::from(c.head_dim))).collect();
        Ok(Self {
            decode: model.plan(&state, &next, false, adapted.as_deref()),
            prefill: model.plan(&state, &next, true, adapted.as_deref()),
            adapted,
            masked: None,
            model: model.clone(),
            state,
            next,
            frequencies,
            ahead: 0,
            steps_ahead: None,
            halfway: false,
        })
    }

    /// Bytes on the GPU of all that does not grow.
    pub fn fixed_bytes(&self) -> u64 {
        self.state.fixed_bytes() + self.next.bytes()
    }

    /// The plan for one token or for many.
    pub fn plan(&self, many: bool) -> &Plan {
        if many { &self.prefill } else { &self.decode }
    }

    /// What its plans have of adapters on the GPU.
    pub fn adapted(&self) -> Option<&Rc<Adapted>> {
        self.adapted.as_ref()
    }

    /// What the plan for one token or for many is made of.
    pub fn calls(&self, many: bool) -> Vec<Call> {
        self.model.record(&self.state, &self.next, many, self.adapted.as_deref())
    }

    /// The adapters that its plans have, in an order of their own.
    pub fn adapters(&self) -> &[Chosen] {
        self.adapted.as_ref().map_or(&[], |adapted| &adapted.chosen)
    }

    /// The plans with these adapters and no others, to be given to [`Decoder::adapt`].
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) with the name of the kernel that the device refuses.
    pub async fn plans(&self, adapted: Option<&Adapted>) -> Result<[Plan; 2]> {
        self.model.plans(&self.state, &self.next, adapted).await
    }

    /// Goes on with these adapters, in plans of [`Decoder::plans`].
    pub fn adapt(&mut self, [decode, prefill]: [Plan; 2], adapted: Option<Rc<Adapted>>) {
        (self.decode, self.prefill, self.adapted) = (decode, prefill, adapted);
    }

    /// Goes on with the adapters of another one of the same model, and with what it has read: costs
    /// a copy of the recurrent states.
    pub fn continue_from(&mut self, other: &Self) {
        if self.adapters() != other.adapters() {
            let adapted = other.adapted.clone();
            let plan = |many| self.model.plan(&self.state, &self.next, many, adapted.as_deref());
            let plans = [plan(false), plan(true)];
            self.adapt(plans, adapted);
        }
        let gpu = self.model.gpu();
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        for (from, to) in other.state.layers.iter().zip(&self.state.layers) {
            encoder.copy_buffer_to_buffer(&from.conv, 0, &to.conv, 0, from.conv.size());
            encoder.copy_buffer_to_buffer(&from.ssm, 0, &to.ssm, 0, from.ssm.size());
        }
        gpu.queue().submit([encoder.finish()]);
        self.state.position = other.state.position;
        self.state.pages.become_those(&other.state.pages.share(other.state.position));
    }

    /// The states are being written from outside: parts of them are another conversation's.
    pub fn begin_restoring(&mut self) {
        self.halfway = true;
    }

    /// They are those of a sequence of so many tokens.
    pub fn end_restoring(&mut self, position: u32) {
        self.state.position = position;
        self.halfway = false;
    }

    /// Is at the beginning.
    pub fn clear(&mut self) {
        self.state.clear(self.model.gpu());
        self.ahead = 0;
        self.halfway = false;
    }

    /// Is at a place of which there are copies.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) before anything has changed.
    pub(super) fn put_back(&mut self, position: u32, pages: &[Page], copies: &Readable<'_>) -> Result<()> {
        copies.put_back(self.model.gpu(), &self.state)?;
        self.state.position = position;
        self.state.pages.become_those(pages);
        self.ahead = 0;
        self.halfway = false;
        Ok(())
    }

    /// The same of a place that it has come from, whose pages it has still.
    ///
    /// # Errors
    /// As [`Decoder::put_back`].
    pub(super) fn rewind(&mut self, position: u32, copies: &Readable<'_>) -> Result<()> {
        copies.put_back(self.model.gpu(), &self.state)?;
        self.retract_to(position);
        self.ahead = 0;
        Ok(())
    }

    /// The token that was sampled is not to be read: the steps that were queued on it and after it
    /// have been halted.
    pub fn take_back(&mut self) {
        self.retract_to(self.state.position - self.ahead);
        self.ahead = 0;
    }

    fn retract_to(&mut self, position: u32) {
        // Where nothing is taken back, the page that this would be in may have others' rows there.
        if position < self.state.position {
            self.state.pages.retract(position, self.state.position);
        }
        self.state.position = position;
    }

    /// Whether the states have read whole tokens, all of them known to the host.
    pub fn is_settled(&self) -> bool {
        self.ahead == 0 && !self.halfway
    }

    /// Steps that run on tokens which the host does not know yet.
    pub fn ahead(&self) -> u32 {
        self.ahead
    }

    /// How many steps may run on tokens which the host does not know yet, as far as the device's
    /// pace says.
    pub fn most_ahead(&self) -> u32 {
        self.steps_ahead.unwrap_or_else(|| self.model.pace.steps_ahead())
    }

    /// For tests: [`Decoder::most_ahead`], whatever the device's pace.
    pub fn set_most_ahead(&mut self, steps: Option<u32>) {
        self.steps_ahead = steps;
    }

    /// The host knows the token of one more step. Whether that step runs already.
    pub fn catches_up(&mut self) -> bool {
        let runs = self.ahead > 0;
        self.ahead -= u32::from(runs);
        runs
    }

    /// Waits until no other session of the model is in the middle of a step, and keeps others from
    /// beginning one.
    pub async fn turn(&self) -> Turn {
        let turns = &self.model.turns;
        turns.free().await;
        turns.take()
    }

    /// Queues one step over `ids` with logits for the last `rows` tokens.
    pub fn step(&mut self, ids: &[u32], rows: u32) {
        let step = self.begin_step(ids, rows);
        self.submit(&step, SamplingMode::Host, 0..self.dispatches(&step));
        self.end_step(&step);
    }

    /// Queues a step of one token whose context is cut into more splits than it is long enough for.
    pub fn step_in_splits(&mut self, id: u32, splits: u32) {
        let step = Step { splits, ..self.begin_step(&[id], 1) };
        self.model.gpu.write(&self.model.step, 0, bytemuck::bytes_of(&step));
        self.submit(&step, SamplingMode::Host, 0..self.dispatches(&step));
        self.end_step(&step);
    }

    /// Writes what the dispatches of a step read. `check` runs them one by one in between.
    pub fn begin_step(&self, ids: &[u32], rows: u32) -> Step {
        self.begin(ids.len() as u32, Some(ids), rows)
    }

    /// The same of one token, the one that was sampled last.
    pub fn begin_on_sampled(&self) -> Step {
        self.begin(1, None, 1)
    }

    fn begin(&self, tokens: u32, ids: Option<&[u32]>, rows: u32) -> Step {
        let model = &self.model;
        let position = self.state.position;
        let splits = if tokens > 1 { 1 } else { splits(position + 1) };
        let step = Step { tokens, position, first: tokens - rows, splits };
        let rope = rope_table(&self.frequencies, position, tokens);
        model.gpu.write(&model.step, 0, bytemuck::bytes_of(&step));
        if let Some(ids) = ids {
            model.gpu.write(&self.next.ids, 0, bytemuck::cast_slice(ids));
            // What the host gives is to be read, whatever was sampled before it.
            model.gpu.write(&self.next.control, 0, &[0; 16]);
        }
        let fused = model.target.tokens(tokens > 1).fused();
        model.gpu.write(if fused { &model.scratch.turns } else { &model.scratch.rope }, 0, bytemuck::cast_slice(&rope));
        step
    }

    /// All dispatches of a step are submitted.
    pub fn end_step(&mut self, step: &Step) {
        self.state.position += step.tokens;
        self.halfway = false;
    }

    /// The same of a step that runs on a token which the host does not know yet.
    pub fn end_step_ahead(&mut self, step: &Step) {
        self.end_step(step);
        self.ahead += 1;
    }

    /// The logits \[rows, V\] of the step that was queued last.
    ///
    /// # Errors
    /// What the device says.
    pub async fn read_logits(&self, rows: u32) -> Result<Vec<f32>> {
        self.model.gpu.arrive_once(self.reading_of_logits(rows)).await
    }

    /// The same, asked for now and read later: what follows may overwrite them.
    pub fn reading_of_logits(&self, rows: u32) -> Reading {
        let model = &self.model;
        let bytes = 4 * u64::from(rows) * u64::from(model.config.vocab_size);
        model.gpu.reading_of(&[(model.scratch.logits.clone(), 0, bytes)])
    }
}
