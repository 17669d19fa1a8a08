//! One step, stage by stage: what each stage makes of the GPU's own input to it, against the CPU.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::{try_join, try_join_all, try_join4};

use super::samples::{self, Heads, Products, Weights};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Result;
use crate::inspect::{Comparison, Copied, CopiedStates, LayerStates, Runner, missing, round_like_the_gpu};
use crate::model::Model;
use crate::ops::Op;
use crate::ops::attention::reference::attention_at;
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

/// One layer in one step.
struct Layer<'a> {
    model: &'a Model,
    step: Step,
    /// What its stages have written, in order.
    written: Vec<(Op, Vec<f32>)>,
    config: &'a Config,
    weights: &'a Weights<'a>,
    layer: u32,
    first: &'a mut First,
}

impl Layer<'_> {
    fn compare(mut self, looked: &mut Looked, left: Option<LayerStates>) -> Result<()> {
        let c = self.config;
        let tokens = samples::tokens(self.step.tokens);

        let h = self.must(Op::Embed)?;
        let u = self.norm(Op::InputNorm, &h, &looked.input_layernorm);
        let proj = self.must(Op::ProjectIn)?;
        let (mixed, normed) = match left {
            Some(left) => {
                self.project_in(
                    &u,
                    &samples::pick(&proj, (c.q_dim() + 2 * c.kv_dim() + c.in_proj_rows()) as usize, &tokens),
                )?;
                self.mixers(looked, &proj, &left)?
            }
            None => {
                self.project_in(&u, &proj)?;
                self.mixed(looked)?
            }
        };

        let h1 = self.must(Op::ProjectOut)?;
        let attention = self.rows("self_attn.o_proj.weight", &mixed, |_| c.attention_out_multiplier)?;
        let ssm = self.rows("mamba.out_proj.weight", &normed, |_| c.ssm_out_multiplier)?;
        self.added("project_out", &h, &h1, &[&attention, &ssm]);

        let u = self.norm(Op::MlpNorm, &h1, &looked.pre_ff_layernorm);
        let ff = self.must(Op::MlpIn)?;
        let gate = self.rows("feed_forward.gate_proj.weight", &u, |_| c.mlp_multipliers[0])?;
        let up = self.rows("feed_forward.up_proj.weight", &u, |_| 1.0)?;
        let values = kernels::swiglu(&gate.values, &up.values);
        self.selected("mlp_in", &ff, 0, &Products { values, ..gate });

        let h2 = self.must(Op::MlpOut)?;
        let down = self.rows("feed_forward.down_proj.weight", &ff, |_| c.mlp_multipliers[1])?;
        self.added("mlp_out", &h1, &h2, &[&down]);
        Ok(())
    }

    /// What lies between the linear layers, as it is: the attention heads' output and the SSM
    /// heads' after the norm, of some tokens.
    fn mixed(&mut self, looked: &Looked) -> Result<(Vec<f32>, Vec<f32>)> {
        let c = self.config;
        let (attention, ssm) = match self.maybe(Op::Mixer) {
            Some(mixed) => split(&mixed, c),
            None => (self.must(Op::Attention)?, self.must(Op::Ssm)?),
        };
        let normed = match (&looked.mamba_norm, self.maybe(Op::GatedNorm)) {
            (Some(_), Some(normed)) => split(&normed, c).1,
            // Part of project_out.
            (Some(weight), None) => kernels::gated_norm(c, weight, &ssm),
            (None, _) => ssm,
        };
        Ok((attention, normed))
    }

    /// Some rows of each matrix that `project_in` puts together: `u` [tokens, D], `proj`
    /// [tokens, q k v z x B C dt].
    fn project_in(&mut self, u: &[f32], proj: &[f32]) -> Result<()> {
        let c = self.config;
        let (q, kv, a) = (c.q_dim(), c.kv_dim(), c.attention_in_multiplier);
        let mut first = 0;
        for (name, rows, scale) in [("q", q, a), ("k", kv, a * c.key_multiplier), ("v", kv, a)] {
            let tensor = format!("self_attn.{name}_proj.weight");
            let expected = self.rows(&tensor, u, |_| scale)?;
            self.selected(&format!("project_in ({name})"), proj, first, &expected);
            first += rows;
        }
        let ends = samples::in_proj_ends(c);
        let scale = |row: u32| {
            let section = ends.iter().position(|end| row < *end).unwrap_or(4);
            c.ssm_in_multiplier * c.ssm_multipliers[section]
        };
        let expected = self.rows("mamba.in_proj.weight", u, scale)?;
        self.selected("project_in (z x B C dt)", proj, first, &expected);
        Ok(())
    }

    /// What lies between the linear layers, compared. Returns of some tokens what [`Layer::mixed`]
    /// does.
    fn mixers(&mut self, looked: &mut Looked, proj: &[f32], left: &LayerStates) -> Result<(Vec<f32>, Vec<f32>)> {
        let c = self.config;
        let step = self.step;
        let prepared = self.maybe(Op::Prepare);
        let both = self.maybe(Op::Mixer);
        let (attention, ssm) = match both {
            Some(mixed) => split(&mixed, c),
            None => (self.must(Op::Attention)?, self.must(Op::Ssm)?),
        };
        let normed = self.maybe(Op::GatedNorm).map(|mixed| split(&mixed, c).1);

        let target = self.model.target();
        let keep = |values: bool, at: usize, row: &mut [f32]| {
            let found = if values { &left.values } else { &left.keys }.get(at..at + row.len());
            round_like_the_gpu(target.kv, c.head_dim, target.rounds_factors(), found, row);
        };
        let state = &mut looked.state;
        let expected = kernels::prepare(c, &looked.mamba, proj, step.position, state, &keep);
        if let Some(found) = &prepared {
            // Sections of their own: delta beside q could hide.
            let widths = [c.q_dim(), c.conv_dim(), c.mamba_n_heads, c.mamba_n_heads];
            for (name, found, expected) in sections(["q", "x B C", "delta", "decay"], widths, found, &expected) {
                self.hear(&format!("prepare ({name})"), &found, &expected);
            }
        }
        let ready = prepared.as_ref().unwrap_or(&expected);
        self.hear("keys", &left.keys, &state.keys);
        self.hear("values", &left.values, &state.values);
        let tokens = samples::tokens(step.tokens);
        let attention = samples::pick(&attention, c.q_dim() as usize, &tokens);
        self.hear("attention", &attention, &attention_at(c, ready, state, &tokens));
        self.hear("convolution state", &left.conv, &state.conv);

        let heads = &looked.heads;
        let (some_proj, some_ready) = (heads.proj(c, proj), heads.ready(c, ready));
        let expected = kernels::selective_scan(&heads.config, &heads.mamba, &some_proj, &some_ready, &mut looked.ssm);
        let found: Vec<f32> = ssm.chunks_exact(c.mamba_d_ssm as usize).flat_map(|row| heads.channels(row)).collect();
        self.hear("ssm", &found, &expected);
        self.hear("SSM state", &left.ssm, &looked.ssm.ssm);
        let some = |all: &[f32]| samples::pick(all, c.mamba_d_ssm as usize, &tokens);
        let normed = match (&looked.mamba_norm, normed) {
            (Some(weight), Some(found)) => {
                self.hear("gated_norm", &found, &kernels::gated_norm(c, weight, &ssm));
                some(&found)
            }
            // Part of project_out.
            (Some(weight), None) => kernels::gated_norm(c, weight, &some(&ssm)),
            (None, _) => some(&ssm),
        };
        Ok((attention, normed))
    }

    /// A norm's output: the GPU's where it is a stage of its own, else the CPU's.
    fn norm(&mut self, op: Op, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let expected = kernels::rmsnorm(x, weight, self.config.rms_norm_eps);
        let Some(found) = self.maybe(op) else { return expected };
        self.hear(op.name(), &found, &expected);
        found
    }

    /// The output of a stage that every plan has.
    fn must(&mut self, op: Op) -> Result<Vec<f32>> {
        self.maybe(op).ok_or_else(|| missing(op))
    }

    /// The output of a stage, where the plan has it.
    fn maybe(&mut self, op: Op) -> Option<Vec<f32>> {
        let at = self.written.iter().position(|(written, _)| *written == op)?;
        Some(self.written.swap_remove(at).1)
    }

    fn rows(&self, suffix: &str, x: &[f32], scale: impl Fn(u32) -> f32) -> Result<Products> {
        self.weights.products(&format!("model.layers.{}.{suffix}", self.layer), x, scale)
    }

    fn hear(&mut self, stage: &str, found: &[f32], expected: &[f32]) {
        let stage = format!("layer {}, {stage}", self.layer);
        self.first.hear(Comparison::of(stage, self.step.tokens, found, expected));
    }

    /// Compares some rows of a product with what `all` [tokens, width] has from column `first` on.
    fn selected(&mut self, stage: &str, all: &[f32], first: u32, expected: &Products) {
        let tokens = expected.values.len() / expected.rows.len();
        let rows = all.chunks_exact(all.len() / tokens);
        let found: Vec<f32> =
            rows.flat_map(|row| expected.rows.iter().map(move |r| row[(first + r) as usize])).collect();
        self.hear(stage, &found, &expected.values);
    }

    /// The same where products are added to what was there.
    fn added(&mut self, stage: &str, before: &[f32], after: &[f32], products: &[&Products]) {
        let Some(one) = products.first() else { return };
        let width = before.len() / (one.values.len() / one.rows.len());
        let standing = before.chunks_exact(width).flat_map(|row| one.rows.iter().map(move |r| row[*r as usize]));
        let sum = |(i, h): (usize, f32)| h + products.iter().map(|p| p.values[i]).sum::<f32>();
        let values = standing.enumerate().map(sum).collect();
        self.selected(stage, after, 0, &Products { rows: one.rows.clone(), values });
    }
}

/// Rows attention | SSM, apart.
fn split(mixed: &[f32], c: &Config) -> (Vec<f32>, Vec<f32>) {
    let q = c.q_dim() as usize;
    let rows = mixed.chunks_exact(q + c.mamba_d_ssm as usize);
    (rows.clone().flat_map(|row| &row[..q]).copied().collect(), rows.flat_map(|row| &row[q..]).copied().collect())
}

/// Sections of rows by name: of what was found and of what is expected.
fn sections<const N: usize>(
    names: [&'static str; N],
    widths: [u32; N],
    found: &[f32],
    expected: &[f32],
) -> Vec<(&'static str, Vec<f32>, Vec<f32>)> {
    let width: usize = widths.iter().map(|w| *w as usize).sum();
    let cut = |all: &[f32], first: usize, len: usize| -> Vec<f32> {
        all.chunks_exact(width).flat_map(|row| &row[first..first + len]).copied().collect()
    };
    let mut first = 0;
    let mut all = Vec::new();
    for (name, len) in names.into_iter().zip(widths) {
        all.push((name, cut(found, first, len as usize), cut(expected, first, len as usize)));
        first += len as usize;
    }
    all
}
