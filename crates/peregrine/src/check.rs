//! Comparison of the GPU with the CPU twin on any model: dispatch by dispatch, layer by layer, states included.
//!
//! For every layer the GPU's own input is read back and given to the twin, so that an error shows in the stage that makes it
//! and not in all that follow. Before a dispatch runs, its output is overwritten with NaN where it does not add to what is
//! there: what a kernel forgets to write cannot look right by accident. One layer's weights are on the CPU at a time.

mod neighbours;

use std::ops::Range;

use self::neighbours::kept;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::ops::Op;
use crate::plan::{Dispatch, Draw, Needed, Stage, Step};
use crate::reference::kernels::{self, LayerState};
use crate::reference::model::{self, Layer};
use crate::session::Session;

/// One comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which dispatch, or which state after it.
    pub stage: String,
    /// Tokens in the step.
    pub tokens: u32,
    /// Largest |GPU - CPU|, or infinity when one of them is not a number.
    pub difference: f32,
    /// Largest |CPU|: what the difference is measured against.
    pub magnitude: f32,
    /// Where the largest difference is: an index into the stage's output, token by token.
    pub index: usize,
    /// The GPU's value there.
    pub found: f32,
    /// The CPU's value there.
    pub expected: f32,
    /// The share of the largest value up to which a difference is rounding.
    pub tolerance: f32,
}

/// A difference up to this share of the largest value is rounding: sums of f32 in another order.
pub const TOLERANCE: f32 = 5e-5;
/// The same where both factors of a product were rounded to f16, by half a step of 2^-11 each: cooperative matrices, and all that
/// follows from them in a layer.
pub const TOLERANCE_F16: f32 = 4e-3;

impl Comparison {
    /// Compares two slices of the same meaning. A length that differs is a difference.
    pub fn of(stage: impl Into<String>, tokens: u32, found: &[f32], expected: &[f32]) -> Self {
        let magnitude = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let mut worst = Self {
            stage: stage.into(),
            tokens,
            difference: 0.0,
            magnitude,
            index: 0,
            found: 0.0,
            expected: 0.0,
            tolerance: TOLERANCE,
        };
        if found.len() != expected.len() {
            return Self { difference: f32::INFINITY, index: found.len().min(expected.len()), ..worst };
        }
        for (index, (f, e)) in found.iter().zip(expected).enumerate() {
            let difference = if f.is_finite() && e.is_finite() { (f - e).abs() } else { f32::INFINITY };
            if difference > worst.difference {
                worst = Self { difference, index, found: *f, expected: *e, ..worst };
            }
        }
        worst
    }

    /// Whether the difference is rounding.
    pub fn is_close(&self) -> bool {
        // An infinite magnitude would excuse anything.
        self.difference.is_finite() && self.difference <= self.tolerance * self.magnitude.max(1e-3)
    }
}

/// Reads `ids` in the given steps, comparing everything on the way; `on_result` hears of each comparison as it is made.
/// The session is reset first, and holds all of `ids` afterwards.
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
    let cooperative = session.engine().model().target().cooperative;
    let c = checkpoint.config.clone();
    if let Some(token) = ids.iter().find(|id| **id >= c.vocab_size) {
        return Err(Error::TokenOutOfRange { token: *token, vocab_size: c.vocab_size });
    }
    let mut states: Vec<LayerState> = (0..c.num_hidden_layers).map(|_| LayerState::new(&c)).collect();
    let mut from = 0;
    for tokens in steps {
        let to = (from + *tokens as usize).min(ids.len());
        if from < to {
            let tolerance = if cooperative { TOLERANCE_F16 } else { TOLERANCE };
            let mut judge = |c: &Comparison| on_result(&Comparison { tolerance, ..c.clone() });
            check_step(session, checkpoint, &ids[from..to], &mut states, &mut judge).await?;
        }
        from = to;
    }
    Ok(())
}

async fn check_step(
    session: &mut Session,
    checkpoint: &Checkpoint,
    ids: &[u32],
    states: &mut [LayerState],
    on_result: &mut dyn FnMut(&Comparison),
) -> Result<()> {
    let step = session.begin_step(ids, 1)?;
    let stages = session.plan(step.tokens > 1).stages();
    let mut walk = Walk { session, checkpoint, ids, step, normed: None, on_result };
    for stages in stages.chunk_by(|a, b| a.0.layer == b.0.layer) {
        match stages[0].0.layer {
            Some(layer) => walk.layer(layer, stages, &mut states[layer as usize]).await?,
            None => walk.around(stages).await?,
        }
    }
    // A plan that leaves out a layer shows in the next comparison; these two nothing would follow.
    for op in [Op::Embed, Op::LmHead] {
        if !stages.iter().any(|(stage, _)| stage.op == op) {
            return Err(Error::Gpu { detail: format!("the plan has no {} where the CPU twin has it", op.name()) });
        }
    }
    session.end_step(&step);
    session.remember(ids);
    Ok(())
}

/// Some stages of a plan, with the indices of their dispatches.
type Stages = [(Stage, Range<usize>)];

/// Runs the plan stage by stage.
struct Walk<'a> {
    session: &'a mut Session,
    checkpoint: &'a Checkpoint,
    ids: &'a [u32],
    step: Step,
    /// The last row of the residual stream after the final norm, the GPU's where that is a stage.
    normed: Option<Vec<f32>>,
    on_result: &'a mut dyn FnMut(&Comparison),
}

impl Walk<'_> {
    /// What comes before the layers, or after them.
    async fn around(&mut self, stages: &Stages) -> Result<()> {
        let checkpoint = self.checkpoint;
        let c = &checkpoint.config;
        for (stage, dispatches) in stages {
            let expected = match stage.op {
                Op::Embed => model::embeddings(checkpoint, self.ids).await?,
                Op::FinalNorm => self.final_norm().await?,
                Op::LmHead => {
                    let input = match self.normed.take() {
                        Some(normed) => normed,
                        None => self.final_norm().await?,
                    };
                    model::lm_head(checkpoint, &input).await?
                }
                // Drawn by the host here; `tests/drawing.rs` compares it.
                Op::Sample => continue,
                Op::InputNorm
                | Op::ProjectIn
                | Op::Prepare
                | Op::Mixer
                | Op::Attention
                | Op::Ssm
                | Op::GatedNorm
                | Op::ProjectOut
                | Op::MlpNorm
                | Op::MlpIn
                | Op::MlpOut => return Err(misplaced(*stage)),
            };
            self.run(*stage, dispatches).await?;
            let found = self.rows(*stage).await?;
            self.compare(*stage, &found, &expected);
            if stage.op == Op::FinalNorm {
                self.normed = Some(found[..c.hidden_size as usize].to_vec());
            }
        }
        Ok(())
    }

    /// The final norm of the GPU's own last row.
    async fn final_norm(&self) -> Result<Vec<f32>> {
        let c = &self.checkpoint.config;
        let stream = self.residual().await?;
        let norm = self.checkpoint.read_f32("model.final_layernorm.weight", &[c.hidden_size.into()]).await?;
        Ok(kernels::rmsnorm(&stream[stream.len() - c.hidden_size as usize..], &norm, c.rms_norm_eps))
    }

    async fn layer(&mut self, i: u32, stages: &Stages, state: &mut LayerState) -> Result<()> {
        let c = &self.checkpoint.config;
        let layer = Layer::load(self.checkpoint, i).await?;
        // The twin goes on from the GPU's own residual stream, and from the keys and values that the GPU keeps.
        let input = self.residual().await?;
        let mut found = Vec::new();
        for (stage, dispatches) in stages {
            self.run(*stage, dispatches).await?;
            found.push((*stage, self.rows(*stage).await?));
        }
        let cache = self.cache(i).await?;
        let target = *self.session.engine().model().target();
        let keep = |values: bool, at: usize, row: &mut [f32]| {
            let found = cache[usize::from(values)].get(at..at + row.len());
            kept(target.kv, c.head_dim, target.cooperative, found, row);
        };
        let trace = layer.forward(c, &input, self.step.position, state, &keep);
        for (stage, rows) in found {
            self.compare(stage, &rows, trace.of(stage.op).ok_or_else(|| misplaced(stage))?);
        }
        self.compare_states(i, &cache, state).await
    }

    /// Poisons the stage's output and runs its dispatches.
    async fn run(&self, stage: Stage, dispatches: &Range<usize>) -> Result<()> {
        let model = self.session.engine().model();
        let output = model.written(stage.op, self.step.tokens).ok_or_else(|| misplaced(stage))?;
        if !output.adds {
            for row in 0..output.rows {
                for section in &output.sections {
                    let poison = vec![f32::NAN; section.len as usize];
                    let at = 4 * (u64::from(row) * u64::from(output.stride) + u64::from(section.first));
                    model.gpu.write(output.buffer, at, bytemuck::cast_slice(&poison));
                }
            }
        }
        let plan = self.session.plan(self.step.tokens > 1);
        let mut encoder = model.gpu.device().create_command_encoder(&Default::default());
        // Pieces of attention are put together in any case, to be compared; project_out puts two together once more.
        let seen =
            |d: &&Dispatch| d.is_needed(&self.step, Draw::Host) || (d.needed == Needed::Splits && self.step.splits > 1);
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for dispatch in plan.dispatches()[dispatches.clone()].iter().filter(seen) {
            dispatch.encode(&mut pass, &self.step, model.kv());
        }
        drop(pass);
        model.gpu.queue().submit([encoder.finish()]);
        Ok(())
    }

    /// The residual stream \[T, D\], as the GPU has it.
    async fn residual(&self) -> Result<Vec<f32>> {
        let model = self.session.engine().model();
        let (width, stride) = (model.config.hidden_size as usize, model.strides.hidden);
        let all = model.gpu.read(&model.scratch.h, 0, u64::from(self.step.tokens) * u64::from(stride)).await?;
        Ok(all.chunks_exact(stride as usize).flat_map(|row| &row[..width]).copied().collect())
    }

    /// The rows that a stage has written, gaps included.
    async fn rows(&self, stage: Stage) -> Result<Vec<f32>> {
        let model = self.session.engine().model();
        let output = model.written(stage.op, self.step.tokens).ok_or_else(|| misplaced(stage))?;
        model.gpu.read(output.buffer, 0, u64::from(output.rows) * u64::from(output.stride)).await
    }

    /// Compares rows with `expected`, whose rows have the same sections without gaps.
    fn compare(&mut self, stage: Stage, all: &[f32], expected: &[f32]) {
        let Some(output) = self.session.engine().model().written(stage.op, self.step.tokens) else { return };
        let width = expected.len() / output.rows as usize;
        for section in &output.sections {
            let cut = |rows: &[f32], width: usize, first: u32| -> Vec<f32> {
                let range = first as usize..(first + section.len) as usize;
                rows.chunks_exact(width).flat_map(|row| &row[range.clone()]).copied().collect()
            };
            let found = cut(all, output.stride as usize, section.first);
            let expected = cut(expected, width, section.twin);
            let mut name = stage.to_string();
            if !section.name.is_empty() {
                name += &format!(" ({})", section.name);
            }
            (self.on_result)(&Comparison::of(name, output.rows, &found, &expected));
        }
    }

    /// Keys and values of a layer with those of this step.
    async fn cache(&self, layer: u32) -> Result<[Vec<f32>; 2]> {
        let gpu = &self.session.engine().model().gpu;
        let end = self.step.position + self.step.tokens;
        self.session.state().keys_and_values(gpu, layer as usize, 0, end).await
    }

    async fn compare_states(&mut self, layer: u32, cache: &[Vec<f32>; 2], expected: &LayerState) -> Result<()> {
        let [keys, values] = cache;
        let model = self.session.engine().model();
        let state = self.session.state();
        let ssm = &state.layers[layer as usize].ssm;
        let ssm = model.gpu.read(ssm, 0, expected.ssm.len() as u64).await?;
        let end = self.step.position + self.step.tokens;
        let conv = state.conv_columns(&model.gpu, &model.config, layer as usize, end).await?;
        for (name, found, expected) in [
            ("keys", keys, &expected.keys),
            ("values", values, &expected.values),
            ("SSM state", &ssm, &expected.ssm),
            ("convolution state", &conv, &expected.conv),
        ] {
            let stage = format!("layer {layer}, {name}");
            (self.on_result)(&Comparison::of(stage, self.step.tokens, found, expected));
        }
        Ok(())
    }
}

/// A stage that the twin does not have where the plan has it.
fn misplaced(stage: Stage) -> Error {
    Error::Gpu { detail: format!("the plan has \"{stage}\" where the CPU twin has no such line") }
}
