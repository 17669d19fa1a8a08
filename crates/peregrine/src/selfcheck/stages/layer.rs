//! One layer of a step: what its stages have written, against the CPU.

use super::super::samples::{self, Products, Weights};
use super::{First, Looked};
use crate::config::Config;
use crate::error::Result;
use crate::inspect::{Comparison, LayerStates, missing, round_like_the_gpu};
use crate::model::Model;
use crate::ops::Op;
use crate::ops::attention::reference::attention_at;
use crate::plan::Step;
use crate::reference::kernels;

/// One layer in one step.
pub(super) struct Layer<'a> {
    pub model: &'a Model,
    pub step: Step,
    /// What its stages have written, in order.
    pub written: Vec<(Op, Vec<f32>)>,
    pub config: &'a Config,
    pub weights: &'a Weights<'a>,
    pub layer: u32,
    pub first: &'a mut First,
}

impl Layer<'_> {
    /// Compares all of it, and the states that it has left where they were read.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) for a stage that the plan does not have.
    pub fn compare(mut self, looked: &mut Looked, left: Option<LayerStates>) -> Result<()> {
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
