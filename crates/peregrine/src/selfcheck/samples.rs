//! Which rows, tokens and heads stand for all: the first and the last of everything that has
//! borders, and some between.

use std::collections::HashMap;
use std::ops::Range;

use futures_util::future::try_join_all;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::reference::kernels::{self, Mamba};

/// Rows of a matrix: a few at each border of its sections, which begin at `borders`, and a few
/// inside.
pub(super) fn rows(rows: u32, borders: &[u32]) -> Vec<Range<u32>> {
    const FEW: u32 = 4;
    let inside = rows / 7 * 3;
    let mut all: Vec<Range<u32>> = [0, inside, rows.saturating_sub(FEW)]
        .into_iter()
        .map(|first| first..(first + FEW).min(rows))
        .chain(borders.iter().map(|border| border.saturating_sub(FEW / 2)..(border + FEW / 2).min(rows)))
        .collect();
    all.sort_by_key(|range| range.start);
    all.dedup_by_key(|range| range.start);
    all
}

/// Where the sections z, x, B, C, dt of `in_proj` end.
pub(super) fn in_proj_ends(c: &Config) -> [u32; 5] {
    let state = c.mamba_n_groups * c.mamba_d_state;
    let mut end = 0;
    [c.mamba_d_ssm, c.mamba_d_ssm, state, state, c.mamba_n_heads].map(|rows| {
        end += rows;
        end
    })
}

/// The matrices of a layer, by what follows its number in their names, and the rows of each that
/// are looked at.
pub(super) fn of_layer(c: &Config) -> Vec<(&'static str, Vec<Range<u32>>)> {
    let ends = in_proj_ends(c);
    vec![
        ("self_attn.q_proj.weight", rows(c.q_dim(), &[])),
        ("self_attn.k_proj.weight", rows(c.kv_dim(), &[])),
        ("self_attn.v_proj.weight", rows(c.kv_dim(), &[])),
        ("mamba.in_proj.weight", rows(c.in_proj_rows(), &ends[..4])),
        ("self_attn.o_proj.weight", rows(c.hidden_size, &[])),
        ("mamba.out_proj.weight", rows(c.hidden_size, &[])),
        ("feed_forward.gate_proj.weight", rows(c.intermediate_size, &[])),
        ("feed_forward.up_proj.weight", rows(c.intermediate_size, &[])),
        ("feed_forward.down_proj.weight", rows(c.hidden_size, &[])),
    ]
}

/// What else a layer has.
const SMALL: [&str; 9] = [
    "input_layernorm.weight",
    "pre_ff_layernorm.weight",
    "mamba.norm.weight",
    "mamba.conv1d.weight",
    "mamba.conv1d.bias",
    "mamba.dt_bias",
    "mamba.A",
    "mamba.A_log",
    "mamba.D",
];

/// The matrix that makes the logits, and the weight of the norm before it.
pub(super) fn of_head(c: &Config) -> [(&'static str, Vec<Range<u32>>); 2] {
    let name = if c.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    [(name, rows(c.vocab_size, &[])), ("model.final_layernorm.weight", std::iter::once(0..1).collect())]
}

/// Tokens of a step: those at the borders of what kernels take at a time, one of each that an
/// invocation takes (eight that follow each other where the CPU computes, every sixteenth on a
/// GPU), and the last.
pub(super) fn tokens(count: u32) -> Vec<u32> {
    let places = (0..9).chain([20, 32, 37, 50, 64]).filter(|token| token + 1 < count);
    places.chain([count - 1]).collect()
}

/// Rows of `all` [T, width] for some tokens, one after the other.
pub(super) fn pick(all: &[f32], width: usize, tokens: &[u32]) -> Vec<f32> {
    tokens.iter().flat_map(|t| &all[*t as usize * width..][..width]).copied().collect()
}

/// Some rows of a matrix times `x`: [tokens, rows of all ranges], and the rows' numbers.
pub(super) struct Products {
    pub rows: Vec<u32>,
    pub values: Vec<f32>,
}

/// Numbers of rows, and the rows.
type Rows = (Vec<u32>, Vec<f32>);

/// Weights that have been read, by tensor: each step asks for the same rows, and over a network a
/// read takes its time.
pub(super) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    rows: HashMap<String, Rows>,
}

/// Has the checkpoint keep all that the self-check will read of these layers and for these tokens,
/// as the model is loaded.
pub(super) fn remember(checkpoint: &Checkpoint, layers: &[u32], ids: &[u32]) {
    let c = &checkpoint.config;
    let rows = |tensor: &str, ranges: &[Range<u32>]| {
        ranges.iter().for_each(|range| checkpoint.remember(tensor, range.start.into()..range.end.into()));
    };
    for layer in layers {
        let name = |suffix: &str| format!("model.layers.{layer}.{suffix}");
        of_layer(c).iter().for_each(|(suffix, ranges)| rows(&name(suffix), ranges));
        for small in SMALL {
            checkpoint.remember(&name(small), 0..u64::MAX);
        }
    }
    of_head(c).iter().for_each(|(tensor, ranges)| rows(tensor, ranges));
    ids.iter().for_each(|id| checkpoint.remember("model.embed_tokens.weight", u64::from(*id)..u64::from(*id) + 1));
}

impl<'a> Weights<'a> {
    /// Reads those of some layers and of the head, all at the same time.
    pub async fn read(checkpoint: &'a Checkpoint, layers: &[u32]) -> Result<Self> {
        let c = &checkpoint.config;
        let of_layers = layers.iter().flat_map(|layer| {
            of_layer(c).into_iter().map(move |(suffix, ranges)| (format!("model.layers.{layer}.{suffix}"), ranges))
        });
        let all = of_layers.chain(of_head(c).map(|(name, ranges)| (name.to_string(), ranges)));
        let read = all.map(async |(tensor, ranges)| {
            let info = checkpoint.tensor(&tensor)?;
            let read =
                ranges.iter().map(|range| checkpoint.read_rows_f32(info, range.start.into(), range.len() as u64));
            let weights = try_join_all(read).await?.concat();
            Ok::<_, Error>((tensor, (ranges.into_iter().flatten().collect(), weights)))
        });
        Ok(Self { checkpoint, rows: try_join_all(read).await?.into_iter().collect() })
    }

    /// Multiplies the rows of a tensor that were read with `x` \[tokens, cols\]; `scale` by row.
    pub fn products(&self, tensor: &str, x: &[f32], scale: impl Fn(u32) -> f32) -> Result<Products> {
        let cols = self.checkpoint.tensor(tensor)?.cols() as usize;
        let (rows, weights) = self.of(tensor)?;
        let mut values = kernels::linear(weights, x, cols, 1.0);
        for row in values.chunks_exact_mut(rows.len()) {
            row.iter_mut().zip(rows).for_each(|(value, row)| *value *= scale(*row));
        }
        Ok(Products { rows: rows.clone(), values })
    }

    /// The weight of the final norm \[D\].
    pub fn final_norm(&self) -> Result<&[f32]> {
        Ok(&self.of("model.final_layernorm.weight")?.1)
    }

    fn of(&self, tensor: &str) -> Result<&Rows> {
        self.rows
            .get(tensor)
            .ok_or_else(|| Error::MissingTensor { name: self.checkpoint.file().to_string(), tensor: tensor.into() })
    }
}

/// Some SSM heads of a model, as a model of its own: the first and the last of each group.
pub(super) struct Heads {
    pub heads: Vec<u32>,
    pub config: Config,
    pub mamba: Mamba,
}

impl Heads {
    pub fn of(c: &Config, mamba: &Mamba) -> Self {
        let each = c.mamba_n_heads / c.mamba_n_groups;
        let of_group = |g: u32| if each > 1 { vec![g * each, (g + 1) * each - 1] } else { vec![g] };
        let heads: Vec<u32> = (0..c.mamba_n_groups).flat_map(of_group).collect();
        let count = heads.len() as u32;
        let config = Config { mamba_n_heads: count, mamba_d_ssm: count * c.mamba_d_head, ..c.clone() };
        let d = heads.iter().map(|head| mamba.d[*head as usize]).collect();
        let none = Vec::new;
        let mamba = Mamba { conv_weight: none(), conv_bias: none(), dt_bias: none(), a: none(), d };
        Self { heads, config, mamba }
    }

    /// Of a row of all channels, those of the heads.
    pub fn channels<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let p = self.config.mamba_d_head as usize;
        self.heads.iter().flat_map(move |head| &row[*head as usize * p..][..p]).copied()
    }

    fn each<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.heads.iter().map(|head| row[*head as usize])
    }

    /// Rows q | k | v | z | x | B | C | dt of the whole model, as rows of these heads.
    pub fn proj(&self, whole: &Config, proj: &[f32]) -> Vec<f32> {
        let (qkv, d) = ((whole.q_dim() + 2 * whole.kv_dim()) as usize, whole.mamba_d_ssm as usize);
        let bc = (2 * whole.mamba_n_groups * whole.mamba_d_state) as usize;
        let width = qkv + whole.in_proj_rows() as usize;
        let mut rows = Vec::new();
        for row in proj.chunks_exact(width) {
            rows.extend_from_slice(&row[..qkv]);
            rows.extend(self.channels(&row[qkv..]));
            rows.extend(self.channels(&row[qkv + d..]));
            rows.extend_from_slice(&row[qkv + 2 * d..][..bc]);
            rows.extend(self.each(&row[qkv + 2 * d + bc..]));
        }
        rows
    }

    /// Rows q | x | B | C | delta | exp(delta A), likewise.
    pub fn ready(&self, whole: &Config, ready: &[f32]) -> Vec<f32> {
        let (q, d, heads) = (whole.q_dim() as usize, whole.mamba_d_ssm as usize, whole.mamba_n_heads as usize);
        let bc = (2 * whole.mamba_n_groups * whole.mamba_d_state) as usize;
        let width = q + d + bc + 2 * heads;
        let mut rows = Vec::new();
        for row in ready.chunks_exact(width) {
            rows.extend_from_slice(&row[..q]);
            rows.extend(self.channels(&row[q..]));
            rows.extend_from_slice(&row[q + d..][..bc]);
            rows.extend(self.each(&row[q + d + bc..]));
            rows.extend(self.each(&row[q + d + bc + heads..]));
        }
        rows
    }
}
