//! One step, stage by stage: what each stage makes of the GPU's own input to it, against the CPU.

use std::collections::HashMap;

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
    layers: HashMap<u32, Looked>,
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
        let mamba = Mamba::load(checkpoint, layer).await?;
        let heads = Heads::of(c, &mamba);
        let before = vec![0.0; (start * c.kv_dim()) as usize];
        Ok(Self {
            input_layernorm: vector("input_layernorm.weight", c.hidden_size).await?,
            pre_ff_layernorm: vector("pre_ff_layernorm.weight", c.hidden_size).await?,
            mamba_norm: match c.mamba_rms_norm {
                true => Some(vector("mamba.norm.weight", c.mamba_d_ssm).await?),
                false => None,
            },
            mamba,
            state: LayerState { keys: before.clone(), values: before, ..LayerState::new(c) },
            ssm: LayerState::new(&heads.config),
            heads,
        })
    }
}

/// The first layer of each layout: formats decide which pipelines a layer has.
fn representatives(checkpoint: &Checkpoint) -> Vec<u32> {
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
        let mut layers = HashMap::new();
        for layer in representatives(checkpoint) {
            layers.insert(layer, Looked::load(checkpoint, layer, start).await?);
        }
        Ok(Self { session, checkpoint, weights: Weights::of(checkpoint), layers })
    }

    /// Reads `ids` in one step; the first comparison that is not close.
    pub async fn step(&mut self, ids: &[u32]) -> Result<Option<Comparison>> {
        let c = &self.checkpoint.config;
        let step = self.session.begin_step(ids, 1)?;
        // What a prompt leaves in the states is as exact as the prompt.
        let cooperative = self.session.engine().model().target().cooperative;
        let mut first = First { tolerance: if cooperative { TOLERANCE_F16 } else { TOLERANCE }, found: None };
        let mut runner = Runner::new(self.session, step);
        runner.must_run(Op::Embed, None)?;
        embedding(&runner, self.checkpoint, ids, &mut first).await?;
        for layer in 0..c.num_hidden_layers {
            match self.layers.get_mut(&layer) {
                Some(looked) if first.found.is_none() => {
                    let mut of_layer = Layer {
                        runner: &mut runner,
                        written: Vec::new(),
                        config: c,
                        weights: &self.weights,
                        layer,
                        first: &mut first,
                    };
                    of_layer.compare(looked).await?;
                }
                _ => runner.run_layer(layer),
            }
        }
        lm_head(&mut runner, c, &self.weights, &mut first).await?;
        self.session.end_step(&step);
        Ok(first.found)
    }
}

async fn embedding(runner: &Runner<'_>, checkpoint: &Checkpoint, ids: &[u32], first: &mut First) -> Result<()> {
    let width = checkpoint.config.hidden_size as usize;
    let found = runner.output(Op::Embed).await?;
    for t in samples::tokens(ids.len() as u32) {
        let expected: Vec<f32> = crate::reference::model::embeddings(checkpoint, &ids[t as usize..][..1]).await?;
        first.hear(Comparison::of("embed", 1, &found[t as usize * width..][..width], &expected));
    }
    Ok(())
}

async fn lm_head(runner: &mut Runner<'_>, c: &Config, weights: &Weights<'_>, first: &mut First) -> Result<()> {
    let h = runner.output(Op::MlpOut).await?;
    let norm = weights.final_norm().await?;
    let mut x = kernels::rmsnorm(&h[h.len() - c.hidden_size as usize..], &norm.1, c.rms_norm_eps);
    if runner.run(Op::FinalNorm, None)? {
        let found = runner.output(Op::FinalNorm).await?;
        first.hear(Comparison::of("final_layernorm", 1, &found, &x));
        x = found;
    }
    runner.must_run(Op::LmHead, None)?;
    let found = runner.output(Op::LmHead).await?;
    let name = if c.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let expected = weights.products(name, &samples::rows(c.vocab_size, &[]), &x, |_| c.lm_head_multiplier).await?;
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
    first: &'a mut First,
}

impl Layer<'_, '_> {
    async fn compare(&mut self, looked: &mut Looked) -> Result<()> {
        let c = self.config;
        let tokens = samples::tokens(self.runner.step().tokens);
        let some = |all: &[f32], width: u32| samples::pick(all, width as usize, &tokens);
        let (q, d) = (c.q_dim(), c.mamba_d_ssm);

        self.run().await?;
        let h = self.must(Op::Embed)?;
        let u = self.norm(Op::InputNorm, &h, &looked.input_layernorm);
        let proj = self.must(Op::ProjectIn)?;
        self.project_in(&some(&u, c.hidden_size), &some(&proj, q + 2 * c.kv_dim() + c.in_proj_rows())).await?;
        let (mixed, normed) = self.mixers(looked, &proj).await?;

        let h1 = self.must(Op::ProjectOut)?;
        let (before, after) = (some(&h, c.hidden_size), some(&h1, c.hidden_size));
        let out = samples::rows(c.hidden_size, &[]);
        let inputs = (some(&mixed, q), some(&normed, d));
        let attention = self.rows("self_attn.o_proj.weight", &out, &inputs.0, |_| c.attention_out_multiplier).await?;
        let ssm = self.rows("mamba.out_proj.weight", &out, &inputs.1, |_| c.ssm_out_multiplier).await?;
        self.added("project_out", &before, &after, &[&attention, &ssm]);

        let u = self.norm(Op::MlpNorm, &h1, &looked.pre_ff_layernorm);
        let ff = self.must(Op::MlpIn)?;
        let u = some(&u, c.hidden_size);
        let inner = samples::rows(c.intermediate_size, &[]);
        let gate = self.rows("feed_forward.gate_proj.weight", &inner, &u, |_| c.mlp_multipliers[0]).await?;
        let up = self.rows("feed_forward.up_proj.weight", &inner, &u, |_| 1.0).await?;
        let values = kernels::swiglu(&gate.values, &up.values);
        self.selected("mlp_in", &some(&ff, c.intermediate_size), 0, &Products { values, ..gate });

        let h2 = self.must(Op::MlpOut)?;
        let down = self
            .rows("feed_forward.down_proj.weight", &out, &some(&ff, c.intermediate_size), |_| c.mlp_multipliers[1])
            .await?;
        self.added("mlp_out", &after, &some(&h2, c.hidden_size), &[&down]);
        Ok(())
    }

    /// Some rows of each matrix that `project_in` puts together: `u` [tokens, D], `proj` [tokens, q k v z x B C dt].
    async fn project_in(&mut self, u: &[f32], proj: &[f32]) -> Result<()> {
        let c = self.config;
        let (q, kv, a) = (c.q_dim(), c.kv_dim(), c.attention_in_multiplier);
        let mut first = 0;
        for (name, rows, scale) in [("q", q, a), ("k", kv, a * c.key_multiplier), ("v", kv, a)] {
            let tensor = format!("self_attn.{name}_proj.weight");
            let expected = self.rows(&tensor, &samples::rows(rows, &[]), u, |_| scale).await?;
            self.selected(&format!("project_in ({name})"), proj, first, &expected);
            first += rows;
        }
        let state = c.mamba_n_groups * c.mamba_d_state;
        let ends: Vec<u32> = [c.mamba_d_ssm, c.mamba_d_ssm, state, state, c.mamba_n_heads]
            .into_iter()
            .scan(0, |end, rows| {
                *end += rows;
                Some(*end)
            })
            .collect();
        let scale = |row: u32| {
            let section = ends.iter().position(|end| row < *end).unwrap_or(4);
            c.ssm_in_multiplier * c.ssm_multipliers[section]
        };
        let ranges = samples::rows(c.in_proj_rows(), &ends[..4]);
        let expected = self.rows("mamba.in_proj.weight", &ranges, u, scale).await?;
        self.selected("project_in (z x B C dt)", proj, first, &expected);
        Ok(())
    }

    /// What lies between the linear layers. Returns the attention heads' output [T, q], and the SSM heads' [T, d] after the norm.
    async fn mixers(&mut self, looked: &mut Looked, proj: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let c = self.config;
        let step = *self.runner.step();
        let prepared = self.maybe(Op::Prepare);
        let both = self.maybe(Op::Mixer);
        let (attention, ssm) = match both {
            Some(mixed) => split(&mixed, c),
            None => (self.must(Op::Attention)?, self.must(Op::Ssm)?),
        };
        let normed = self.maybe(Op::GatedNorm).map(|mixed| split(&mixed, c).1);

        let cache = self.runner.cache(self.layer).await?;
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
        let some = samples::pick(&attention, c.q_dim() as usize, &tokens);
        self.hear("attention", &some, &attention_at(c, ready, state, &tokens));
        let end = step.position + step.tokens;
        let gpu_state = self.runner.session().state();
        let conv = gpu_state.conv_columns(model.gpu(), c, self.layer as usize, end).await?;
        let lie = gpu_state.layers[self.layer as usize].ssm.clone();
        let per_head = u64::from(c.mamba_d_head * c.mamba_d_state);
        let places = looked.heads.heads.iter().map(|head| (lie.clone(), 4 * u64::from(*head) * per_head, 4 * per_head));
        let states: Vec<f32> =
            bytemuck::pod_collect_to_vec(&model.gpu().read_places(&places.collect::<Vec<_>>()).await?);
        self.hear("convolution state", &conv, &state.conv);

        let heads = &looked.heads;
        let (some_proj, some_ready) = (heads.proj(c, proj), heads.ready(c, ready));
        let expected = kernels::selective_scan(&heads.config, &heads.mamba, &some_proj, &some_ready, &mut looked.ssm);
        let found: Vec<f32> = ssm.chunks_exact(c.mamba_d_ssm as usize).flat_map(|row| heads.channels(row)).collect();
        self.hear("ssm", &found, &expected);
        self.hear("SSM state", &states, &looked.ssm.ssm);
        let normed = match (&looked.mamba_norm, normed) {
            (Some(weight), Some(found)) => {
                self.hear("gated_norm", &found, &kernels::gated_norm(c, weight, &ssm));
                found
            }
            // Part of project_out.
            (Some(weight), None) => kernels::gated_norm(c, weight, &ssm),
            (None, _) => ssm,
        };
        Ok((attention, normed))
    }

    /// Runs all stages, one after the other, and only then waits for what they have written.
    async fn run(&mut self) -> Result<()> {
        let mut copied = vec![self.runner.copied(Op::Embed)?];
        for op in STAGES {
            if self.runner.run(op, Some(self.layer))? {
                copied.push(self.runner.copied(op)?);
            }
        }
        for copied in copied {
            self.written.push((copied.op, self.runner.arrived(copied).await?));
        }
        Ok(())
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

    async fn rows(
        &self,
        suffix: &str,
        ranges: &[std::ops::Range<u32>],
        x: &[f32],
        scale: impl Fn(u32) -> f32,
    ) -> Result<Products> {
        self.weights.products(&format!("model.layers.{}.{suffix}", self.layer), ranges, x, scale).await
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
