//! One step, stage by stage: what each stage makes of the GPU's own input to it, against the CPU.

use std::collections::BTreeMap;

use futures_util::future::{try_join, try_join_all, try_join4};

use super::samples::{self, Heads, Products, Weights};
use crate::check::{Comparison, Runner, TOLERANCE_F16, kept, missing};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Result;
use crate::ops::Op;
use crate::ops::attention::reference::attention_at;
use crate::reference::kernels::{self, LayerState, Mamba};
use crate::session::Session;

/// A difference up to this share of the largest value is a device's own arithmetic. Sums in another order are 5e-5 at most, and what
/// is wrong is wrong by far more.
const TOLERANCE: f32 = 3e-4;

/// Layers that are looked at: one of each layout, and no more of them.
const MOST_LAYERS: usize = 3;

/// The comparison, step after step.
pub(super) struct Stages<'a> {
    session: &'a mut Session,
    checkpoint: &'a Checkpoint,
    weights: Weights<'a>,
    /// In order.
    layers: BTreeMap<u32, Looked>,
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
    pub async fn new(session: &'a mut Session, checkpoint: &'a Checkpoint, start: u32) -> Result<Self> {
        let layers = representatives(checkpoint);
        let looked = try_join_all(layers.iter().map(|layer| Looked::load(checkpoint, *layer, start)));
        let (looked, weights) = try_join(looked, Weights::read(checkpoint, &layers)).await?;
        Ok(Self { session, checkpoint, weights, layers: layers.into_iter().zip(looked).collect() })
    }

    /// Reads `ids` in one step, with the layers that are looked at and no others; the first comparison that is not close.
    pub async fn step(&mut self, ids: &[u32]) -> Result<Option<Comparison>> {
        let c = &self.checkpoint.config;
        let _turn = self.session.turn().await;
        let step = self.session.begin_step(ids, 1)?;
        // What a prompt leaves in the states is as exact as the prompt.
        let cooperative = self.session.engine().model().target().cooperative;
        let mut first = First { tolerance: if cooperative { TOLERANCE_F16 } else { TOLERANCE }, found: None };
        let mut runner = Runner::new(self.session, step);
        runner.must_run(Op::Embed, None)?;
        embedding(&runner, self.checkpoint, ids, &mut first).await?;
        let mut whole = true;
        for (layer, looked) in &mut self.layers {
            if first.found.is_none() {
                runner.skip_to(Some(*layer));
                let mut of_layer = Layer {
                    runner: &mut runner,
                    written: Vec::new(),
                    config: c,
                    weights: &self.weights,
                    layer: *layer,
                    whole,
                    first: &mut first,
                };
                whole = false;
                of_layer.compare(looked).await?;
            }
        }
        runner.skip_to(None);
        lm_head(&mut runner, c, &self.weights, &mut first).await?;
        self.session.end_step(&step);
        Ok(first.found)
    }
}

async fn embedding(runner: &Runner<'_>, checkpoint: &Checkpoint, ids: &[u32], first: &mut First) -> Result<()> {
    let tokens = samples::tokens(ids.len() as u32);
    let some: Vec<u32> = tokens.iter().map(|t| ids[*t as usize]).collect();
    let rows = crate::reference::model::embeddings(checkpoint, &some);
    let (found, expected) = try_join(runner.arrived(runner.copied_of(Op::Embed, &tokens)?), rows).await?;
    first.hear(Comparison::of("embed", 1, &found, &expected));
    Ok(())
}

async fn lm_head(runner: &mut Runner<'_>, c: &Config, weights: &Weights<'_>, first: &mut First) -> Result<()> {
    let last = runner.step().tokens - 1;
    let h = runner.copied_of(Op::MlpOut, &[last])?;
    let normed = match runner.run(Op::FinalNorm, None)? {
        true => Some(runner.copied(Op::FinalNorm)?),
        false => None,
    };
    runner.must_run(Op::LmHead, None)?;
    let logits = runner.copied(Op::LmHead)?;
    let h = runner.arrived(h).await?;
    let mut x = kernels::rmsnorm(&h, weights.final_norm()?, c.rms_norm_eps);
    if let Some(normed) = normed {
        let found = runner.arrived(normed).await?;
        first.hear(Comparison::of("final_layernorm", 1, &found, &x));
        x = found;
    }
    let found = runner.arrived(logits).await?;
    let [(name, _), _] = samples::of_head(c);
    let expected = weights.products(name, &x, |_| c.lm_head_multiplier)?;
    let found: Vec<f32> = expected.rows.iter().map(|row| found[*row as usize]).collect();
    first.hear(Comparison::of("lm_head", 1, &found, &expected.values));
    Ok(())
}

/// What a layer may consist of, in the order of every plan.
const STAGES: [Op; 11] = [
    Op::InputNorm,
    Op::ProjectIn,
    Op::Prepare,
    Op::Mixer,
    Op::Attention,
    Op::Ssm,
    Op::GatedNorm,
    Op::ProjectOut,
    Op::MlpNorm,
    Op::MlpIn,
    Op::MlpOut,
];

/// One layer in one step.
struct Layer<'a, 'b> {
    runner: &'a mut Runner<'b>,
    /// What its stages have written, in order.
    written: Vec<(Op, Vec<f32>)>,
    config: &'a Config,
    weights: &'a Weights<'b>,
    layer: u32,
    /// Everything about it, or only its matrices: in the first layer of another layout they alone are computed otherwise.
    whole: bool,
    first: &'a mut First,
}

/// What a layer has left behind after a step.
struct Left {
    /// Keys and values of all tokens.
    cache: [Vec<f32>; 2],
    /// Columns before the convolution.
    conv: Vec<f32>,
    /// SSM states of the heads that are looked at.
    ssm: Vec<f32>,
}

impl Layer<'_, '_> {
    async fn compare(&mut self, looked: &mut Looked) -> Result<()> {
        let c = self.config;
        let tokens = samples::tokens(self.runner.step().tokens);
        let left = self.run(&looked.heads, &tokens).await?;

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

    /// What lies between the linear layers, as it is: the attention heads' output and the SSM heads' after the norm, of some tokens.
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

    /// Some rows of each matrix that `project_in` puts together: `u` [tokens, D], `proj` [tokens, q k v z x B C dt].
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

    /// What lies between the linear layers, compared. Returns of some tokens what [`Layer::mixed`] does.
    fn mixers(&mut self, looked: &mut Looked, proj: &[f32], left: &Left) -> Result<(Vec<f32>, Vec<f32>)> {
        let c = self.config;
        let step = *self.runner.step();
        let prepared = self.maybe(Op::Prepare);
        let both = self.maybe(Op::Mixer);
        let (attention, ssm) = match both {
            Some(mixed) => split(&mixed, c),
            None => (self.must(Op::Attention)?, self.must(Op::Ssm)?),
        };
        let normed = self.maybe(Op::GatedNorm).map(|mixed| split(&mixed, c).1);

        let cache = &left.cache;
        let engine = self.runner.session().engine().clone();
        let model = engine.model();
        let (kv, cooperative) = (model.kv().kv(), model.target().cooperative);
        let keep = |values: bool, at: usize, row: &mut [f32]| {
            kept(kv, c.head_dim, cooperative, cache[usize::from(values)].get(at..at + row.len()), row);
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
        self.hear("keys", &cache[0], &state.keys);
        self.hear("values", &cache[1], &state.values);
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
        let normed = match (&looked.mamba_norm, normed) {
            (Some(weight), Some(found)) => {
                self.hear("gated_norm", &found, &kernels::gated_norm(c, weight, &ssm));
                found
            }
            // Part of project_out.
            (Some(weight), None) => kernels::gated_norm(c, weight, &ssm),
            (None, _) => ssm,
        };
        Ok((attention, samples::pick(&normed, c.mamba_d_ssm as usize, &tokens)))
    }

    /// Runs all stages, one after the other, and only then waits for what they have written, and for the states that a whole layer
    /// has left. Of `tokens` alone, but for what every later token depends on.
    async fn run(&mut self, heads: &Heads, tokens: &[u32]) -> Result<Option<Left>> {
        let mut copied = vec![self.runner.copied_of(Op::Embed, tokens)?];
        for op in STAGES {
            if self.runner.run(op, Some(self.layer))? {
                let between =
                    matches!(op, Op::ProjectIn | Op::Prepare | Op::Mixer | Op::Attention | Op::Ssm | Op::GatedNorm);
                copied.push(match self.whole && between {
                    true => self.runner.copied(op)?,
                    false => self.runner.copied_of(op, tokens)?,
                });
            }
        }
        let (runner, c, layer) = (&*self.runner, self.config, self.layer as usize);
        let (gpu, state) = (runner.session().engine().model().gpu(), runner.session().state());
        let end = runner.step().position + runner.step().tokens;
        let per_head = u64::from(c.mamba_d_head * c.mamba_d_state);
        let place = |head: &u32| (state.layers[layer].ssm.clone(), 4 * u64::from(*head) * per_head, 4 * per_head);
        let places: Vec<_> = heads.heads.iter().map(place).collect();
        let written = copied.into_iter().map(async |copied| Ok((copied.op, runner.arrived(copied).await?)));
        if !self.whole {
            self.written = try_join_all(written).await?;
            return Ok(None);
        }
        let (written, cache, conv, ssm) = try_join4(
            try_join_all(written),
            runner.cache(self.layer),
            state.conv_columns(gpu, c, layer, end),
            gpu.read_places(&places),
        )
        .await?;
        self.written = written;
        Ok(Some(Left { cache, conv, ssm: bytemuck::pod_collect_to_vec(&ssm) }))
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
        self.first.hear(Comparison::of(stage, self.runner.step().tokens, found, expected));
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
