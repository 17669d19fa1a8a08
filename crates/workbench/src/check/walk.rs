//! One step: the stages of the plan in its order, each compared with its twin.

use peregrine::Result;
use peregrine::checkpoint::Checkpoint;
use peregrine::inspect::{Comparison, LayerStates, Runner, misplaced, missing, round_like_the_gpu};
use peregrine::ops::Op;
use peregrine::plan::Stage;
use peregrine::reference::kernels::{self, LayerState};
use peregrine::reference::model::{self, Layer};
use peregrine::session::Session;

/// Reads `ids` in one step, and compares all of it.
pub(super) async fn step(
    session: &mut Session,
    checkpoint: &Checkpoint,
    ids: &[u32],
    states: &mut [LayerState],
    on_result: &mut dyn FnMut(&Comparison),
) -> Result<()> {
    let runner = Runner::begin(session, ids).await?;
    let stages = runner.plan().stages();
    let mut walk = Walk { runner, checkpoint, ids, normed: None, on_result };
    for stages in stages.chunk_by(|a, b| a.layer == b.layer) {
        match stages[0].layer {
            Some(layer) => walk.layer(layer, stages, &mut states[layer as usize]).await?,
            None => walk.around(stages).await?,
        }
    }
    // A plan that leaves out a line of a layer shows in the next comparison; these two nothing
    // would follow.
    for op in [Op::Embed, Op::LmHead] {
        if !stages.iter().any(|stage| stage.op == op) {
            return Err(missing(op));
        }
    }
    walk.runner.end();
    Ok(())
}

/// Runs the plan stage by stage, and compares each with its twin.
struct Walk<'a> {
    runner: Runner<'a>,
    checkpoint: &'a Checkpoint,
    ids: &'a [u32],
    /// The last row of the residual stream after the final norm, the GPU's where that is a stage.
    normed: Option<Vec<f32>>,
    on_result: &'a mut dyn FnMut(&Comparison),
}

impl Walk<'_> {
    /// What comes before the layers, or after them.
    async fn around(&mut self, stages: &[Stage]) -> Result<()> {
        for stage in stages {
            let expected = match stage.op {
                Op::Embed => model::embeddings(self.checkpoint, self.ids).await?,
                Op::FinalNorm => self.final_norm().await?,
                Op::LmHead => {
                    let input = match self.normed.take() {
                        Some(normed) => normed,
                        None => self.final_norm().await?,
                    };
                    model::lm_head(self.checkpoint, &input).await?
                }
                // The host samples here; `tests/sampling.rs` compares what the GPU samples.
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
            self.runner.run(stage.op, stage.layer)?;
            let found = self.runner.rows(stage.op).await?;
            self.compare(*stage, &found, &expected)?;
            if stage.op == Op::FinalNorm {
                self.normed = Some(self.runner.output(stage.op).await?);
            }
        }
        Ok(())
    }

    /// The final norm of the GPU's own last row.
    async fn final_norm(&self) -> Result<Vec<f32>> {
        let c = &self.checkpoint.config;
        let stream = self.runner.output(Op::MlpOut).await?;
        let norm = self.checkpoint.read_f32("model.final_layernorm.weight", &[c.hidden_size.into()]).await?;
        Ok(kernels::rmsnorm(&stream[stream.len() - c.hidden_size as usize..], &norm, c.rms_norm_eps))
    }

    async fn layer(&mut self, i: u32, stages: &[Stage], state: &mut LayerState) -> Result<()> {
        let c = &self.checkpoint.config;
        let layer = Layer::load(self.checkpoint, i).await?.adapted(i, self.runner.session().adapters());
        // The twin goes on from the GPU's own residual stream, and from the keys and values that
        // the GPU keeps.
        let input = self.runner.output(Op::Embed).await?;
        let mut found = Vec::new();
        for stage in stages {
            self.runner.run(stage.op, stage.layer)?;
            found.push((*stage, self.runner.rows(stage.op).await?));
        }
        let left = self.runner.copied_states(i, None).arrive(self.runner.session().engine().model().gpu()).await?;
        let target = *self.runner.session().engine().model().target();
        let keep = |values: bool, at: usize, row: &mut [f32]| {
            let found = if values { &left.values } else { &left.keys }.get(at..at + row.len());
            round_like_the_gpu(target.kv, c.head_dim, target.rounds_factors(), found, row);
        };
        let trace = layer.forward(c, &input, self.runner.step().position, state, &keep);
        for (stage, rows) in found {
            let expected = trace.of(stage.op).ok_or_else(|| misplaced(stage))?;
            self.compare(stage, &rows, expected)?;
        }
        self.compare_states(i, &left, state);
        Ok(())
    }

    /// Compares rows with `expected`, whose rows have the same sections without gaps.
    fn compare(&mut self, stage: Stage, all: &[f32], expected: &[f32]) -> Result<()> {
        let output = self.runner.written(stage)?;
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
        Ok(())
    }

    fn compare_states(&mut self, layer: u32, found: &LayerStates, expected: &LayerState) {
        for (name, found, expected) in [
            ("keys", &found.keys, &expected.keys),
            ("values", &found.values, &expected.values),
            ("SSM state", &found.ssm, &expected.ssm),
            ("convolution state", &found.conv, &expected.conv),
        ] {
            let stage = format!("layer {layer}, {name}");
            (self.on_result)(&Comparison::of(stage, self.runner.step().tokens, found, expected));
        }
    }
}
