//! One step, stage by stage: what each stage makes of the GPU's own input to it, against the CPU.

mod layer;

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::{try_join, try_join_all, try_join4};

use self::layer::Layer;
use super::samples::{self, Heads, Weights};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::inspect::{Comparison, Copied, CopiedStates, Runner};
use crate::ops::Op;
use crate::plan::Step;
use crate::reference::kernels::{self, LayerState, Mamba};
use crate::session::{Engine, Session};

/// A difference up to this share of the largest value is a device's own arithmetic. Sums in another
/// order are 5e-5 at most, and what is wrong is wrong by far more.
const TOLERANCE: f32 = 3e-4;

/// Layers that are looked at: one of each layout, and no more of them.
const MOST_LAYERS: usize = 3;

/// The comparison, step after step.
pub(super) struct Stages<'a> {
    engine: Rc<Engine>,
    checkpoint: &'a Checkpoint,
    weights: Weights<'a>,
    /// In order.
    layers: BTreeMap<u32, Looked>,
}

/// A step that has been submitted as a whole, and what it will have written: the device goes on
/// while the CPU compares.
pub(super) struct Submitted {
    step: Step,
    ids: Vec<u32>,
    embedded: Copied,
    layers: Vec<Ran>,
    /// Before the head.
    hidden: Copied,
    /// Where it is a stage of its own.
    normed: Option<Copied>,
    logits: Copied,
}

/// A layer of it.
struct Ran {
    layer: u32,
    /// What its stages have written, in order.
    copied: Vec<Copied>,
    /// Where everything about it is compared, and not only its matrices: in the first layer of
    /// another layout they alone are computed otherwise.
    left: Option<CopiedStates>,
}

/// A layer that is looked at.
struct Looked {
    input_layernorm: Vec<f32>,
    pre_ff_layernorm: Vec<f32>,
    mamba_norm: Option<Vec<f32>>,
    mamba: Mamba,
    heads: Heads,
    /// Keys, values and convolution of all heads.
    state: LayerState,
    /// SSM states of some.
    ssm: LayerState,
}

impl Looked {
    async fn load(checkpoint: &Checkpoint, layer: u32, start: u32) -> Result<Self> {
        let c = &checkpoint.config;
        let vector = async |suffix: &str, len: u32| {
            checkpoint.read_f32(&format!("model.layers.{layer}.{suffix}"), &[len.into()]).await
        };
        let mamba_norm = async {
            match c.mamba_rms_norm {
                true => vector("mamba.norm.weight", c.mamba_d_ssm).await.map(Some),
                false => Ok(None),
            }
        };
        let (input_layernorm, pre_ff_layernorm, mamba_norm, mamba) = try_join4(
            vector("input_layernorm.weight", c.hidden_size),
            vector("pre_ff_layernorm.weight", c.hidden_size),
            mamba_norm,
            Mamba::load(checkpoint, layer),
        )
        .await?;
        let heads = Heads::of(c, &mamba);
        let before = vec![0.0; (start * c.kv_dim()) as usize];
        Ok(Self {
            input_layernorm,
            pre_ff_layernorm,
            mamba_norm,
            mamba,
            state: LayerState { keys: before.clone(), values: before, ..LayerState::new(c) },
            ssm: LayerState::new(&heads.config),
            heads,
        })
    }
}

/// The first layer of each layout: formats decide which pipelines a layer has.
pub(super) fn representatives(checkpoint: &Checkpoint) -> Vec<u32> {
    let layout = |layer: u32| {
        let prefix = format!("model.layers.{layer}.");
        let tensors = checkpoint.tensors().filter_map(|t| Some((t.name.strip_prefix(&prefix)?, t.format)));
        tensors.map(|(name, format)| format!("{name} {format}\n")).collect::<String>()
    };
    let mut seen = Vec::new();
    let mut layers = Vec::new();
    for layer in 0..checkpoint.config.num_hidden_layers {
        let layout = layout(layer);
        if !seen.contains(&layout) {
            seen.push(layout);
            layers.push(layer);
        }
    }
    layers.truncate(MOST_LAYERS);
    layers
}

/// Hears comparisons until one is not close.
struct First {
    tolerance: f32,
    found: Option<Comparison>,
}

impl First {
    fn hear(&mut self, comparison: Comparison) {
        let comparison = Comparison { tolerance: self.tolerance, ..comparison };
        if self.found.is_none() && !comparison.is_close() {
            self.found = Some(comparison);
        }
    }
}

impl<'a> Stages<'a> {
    /// Before the first step, at position `start`, with zeros for the keys and values before it.
    pub async fn new(engine: &Rc<Engine>, checkpoint: &'a Checkpoint, start: u32) -> Result<Self> {
        let layers = representatives(checkpoint);
        let looked = try_join_all(layers.iter().map(|layer| Looked::load(checkpoint, *layer, start)));
        let (looked, weights) = try_join(looked, Weights::read(checkpoint, &layers)).await?;
        Ok(Self { engine: engine.clone(), checkpoint, weights, layers: layers.into_iter().zip(looked).collect() })
    }

    /// Reads `ids` in one step, with the layers that are looked at and no others; waits for nothing
    /// of it.
    pub async fn submit(&self, session: &mut Session, ids: &[u32]) -> Result<Submitted> {
        let mut runner = Runner::begin(session, ids).await?;
        let step = *runner.step();
        runner.must_run(Op::Embed, None)?;
        let embedded = runner.copied_of(Op::Embed, &samples::tokens(step.tokens))?;
        let mut layers = Vec::new();
        for (layer, looked) in &self.layers {
            runner.skip_to(Some(*layer));
            layers.push(self.run(&mut runner, *layer, looked, layers.is_empty())?);
        }
        runner.skip_to(None);
        let hidden = runner.copied_of(Op::MlpOut, &[step.tokens - 1])?;
        let normed = match runner.run(Op::FinalNorm, None)? {
            true => Some(runner.copied(Op::FinalNorm)?),
            false => None,
        };
        runner.must_run(Op::LmHead, None)?;
        let logits = runner.copied(Op::LmHead)?;
        runner.end();
        Ok(Submitted { step, ids: ids.to_vec(), embedded, layers, hidden, normed, logits })
    }

    /// Runs all stages of a layer, one after the other, and copies what they write and, of a
    /// `whole` layer, the states that it leaves: of some tokens alone, but for what every later
    /// token depends on.
    fn run(&self, runner: &mut Runner<'_>, layer: u32, looked: &Looked, whole: bool) -> Result<Ran> {
        let tokens = samples::tokens(runner.step().tokens);
        let mut copied = vec![runner.copied_of(Op::Embed, &tokens)?];
        for op in Op::LAYER {
            if runner.run(op, Some(layer))? {
                let between =
                    matches!(op, Op::ProjectIn | Op::Prepare | Op::Mixer | Op::Attention | Op::Ssm | Op::GatedNorm);
                copied.push(match whole && between {
                    true => runner.copied(op)?,
                    false => runner.copied_of(op, &tokens)?,
                });
            }
        }
        let left = whole.then(|| runner.copied_states(layer, Some(&looked.heads.heads)));
        Ok(Ran { layer, copied, left })
    }

    /// The first comparison of a step that is not close.
    pub async fn compare(&mut self, submitted: Submitted) -> Result<Option<Comparison>> {
        let Submitted { step, ids, embedded, layers, hidden, normed, logits } = submitted;
        let (c, model) = (&self.checkpoint.config, self.engine.model());
        let gpu = model.gpu();
        let tolerance = model.target().tolerance(TOLERANCE);
        let mut first = First { tolerance, found: None };

        let some: Vec<u32> = samples::tokens(step.tokens).iter().map(|t| ids[*t as usize]).collect();
        let rows = crate::reference::model::embeddings(self.checkpoint, &some);
        // All of it is on its way: what is waited for first costs nothing.
        let (expected, found) = (rows.await?, embedded.arrive(gpu).await?);
        first.hear(Comparison::of("embed", 1, &found, &expected));

        for ran in layers {
            let Some(looked) = self.layers.get_mut(&ran.layer).filter(|_| first.found.is_none()) else { continue };
            let mut written = Vec::new();
            for copied in ran.copied {
                written.push((copied.op, copied.arrive(gpu).await?));
            }
            let left = match ran.left {
                Some(left) => Some(left.arrive(gpu).await?),
                None => None,
            };
            let (weights, layer, first) = (&self.weights, ran.layer, &mut first);
            Layer { model, step, written, config: c, weights, layer, first }.compare(looked, left)?;
        }

        let hidden = hidden.arrive(gpu).await?;
        let mut x = kernels::rmsnorm(&hidden, self.weights.final_norm()?, c.rms_norm_eps);
        if let Some(normed) = normed {
            let found = normed.arrive(gpu).await?;
            first.hear(Comparison::of("final_layernorm", 1, &found, &x));
            x = found;
        }
        let found = logits.arrive(gpu).await?;
        let [(name, _), _] = samples::of_head(c);
        let expected = self.weights.products(name, &x, |_| c.lm_head_multiplier)?;
        let found: Vec<f32> = expected.rows.iter().map(|row| found[*row as usize]).collect();
        first.hear(Comparison::of("lm_head", 1, &found, &expected.values));
        Ok(first.found)
    }
}
