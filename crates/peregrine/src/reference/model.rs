//! The page of `model.rs`, on the CPU.

use futures_util::future::try_join_all;

use crate::adapter::{Chosen, Projection};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::mamba_values;
use crate::ops::Op;
use crate::reference::Real;
use crate::reference::kernels::{self, Keep, LayerState, Mamba};
use crate::state::KvType;

/// One layer's weights in f32.
pub struct Layer {
    input_layernorm: Vec<f32>,
    q_proj: Vec<f32>,
    k_proj: Vec<f32>,
    v_proj: Vec<f32>,
    in_proj: Vec<f32>,
    mamba: Mamba,
    mamba_norm: Option<Vec<f32>>,
    o_proj: Vec<f32>,
    out_proj: Vec<f32>,
    pre_ff_layernorm: Vec<f32>,
    gate_proj: Vec<f32>,
    up_proj: Vec<f32>,
    down_proj: Vec<f32>,
    /// Which layer it is, and the adapters beside its projections.
    adapters: (u32, Vec<Chosen>),
}

/// What a layer computes on the way for T tokens, named as the stages of the GPU's plan. Each is
/// \[T, what stands at it\].
#[derive(Clone, Debug, Default)]
pub struct Trace<T = f32> {
    /// RMSNorm of the layer's input \[D\]
    pub input_layernorm: Vec<T>,
    /// q | k | v | z | x | B | C | dt
    pub project_in: Vec<T>,
    /// q | x | B | C | delta | exp(delta A)
    pub prepare: Vec<T>,
    /// attention | SSM
    pub mixer: Vec<T>,
    /// The same after the gated norm, where the model has one.
    pub gated_norm: Vec<T>,
    /// h after the mixers \[D\]
    pub project_out: Vec<T>,
    /// RMSNorm of that \[D\]
    pub pre_ff_layernorm: Vec<T>,
    /// \[F\]
    pub mlp_in: Vec<T>,
    /// h after the MLP \[D\]
    pub mlp_out: Vec<T>,
}

impl<T> Trace<T> {
    /// What an operation's line of the page computes; `None` for those outside of the layers.
    pub fn of(&self, op: Op) -> Option<&[T]> {
        match op {
            Op::InputNorm => Some(&self.input_layernorm),
            Op::ProjectIn => Some(&self.project_in),
            Op::Prepare => Some(&self.prepare),
            Op::Mixer | Op::Attention | Op::Ssm => Some(&self.mixer),
            Op::GatedNorm => Some(&self.gated_norm),
            Op::ProjectOut => Some(&self.project_out),
            Op::MlpNorm => Some(&self.pre_ff_layernorm),
            Op::MlpIn => Some(&self.mlp_in),
            Op::MlpOut => Some(&self.mlp_out),
            Op::Embed | Op::FinalNorm | Op::LmHead | Op::Sample => None,
        }
    }
}

impl Mamba {
    /// Those of layer `i` of a checkpoint.
    ///
    /// # Errors
    /// What the checkpoint says.
    pub async fn load(checkpoint: &Checkpoint, i: u32) -> Result<Self> {
        let c = &checkpoint.config;
        let values = mamba_values(checkpoint, i).await?;
        let (channels, k, n) = (c.conv_dim() as usize, c.mamba_d_conv as usize, c.mamba_n_heads as usize);
        let (conv_weight, rest) = values.split_at(channels * k);
        let (conv_bias, rest) = rest.split_at(channels);
        Ok(Self {
            conv_weight: conv_weight.to_vec(),
            conv_bias: conv_bias.to_vec(),
            dt_bias: rest[..n].to_vec(),
            a: rest[n..2 * n].to_vec(),
            d: rest[2 * n..].to_vec(),
        })
    }
}

impl Layer {
    /// Layer `i` of a checkpoint, dequantized.
    ///
    /// # Errors
    /// What the checkpoint says.
    pub async fn load(checkpoint: &Checkpoint, i: u32) -> Result<Self> {
        let c = &checkpoint.config;
        let (d, q, kv, ssm, f) = (c.hidden_size, c.q_dim(), c.kv_dim(), c.mamba_d_ssm, c.intermediate_size);
        let read = async |suffix: &str, shape: &[u32]| {
            let shape: Vec<u64> = shape.iter().map(|n| u64::from(*n)).collect();
            checkpoint.read_f32(&format!("model.layers.{i}.{suffix}"), &shape).await
        };
        let mamba = Mamba::load(checkpoint, i).await?;
        Ok(Self {
            input_layernorm: read("input_layernorm.weight", &[d]).await?,
            q_proj: read("self_attn.q_proj.weight", &[q, d]).await?,
            k_proj: read("self_attn.k_proj.weight", &[kv, d]).await?,
            v_proj: read("self_attn.v_proj.weight", &[kv, d]).await?,
            in_proj: read("mamba.in_proj.weight", &[c.in_proj_rows(), d]).await?,
            mamba,
            mamba_norm: if c.mamba_rms_norm { Some(read("mamba.norm.weight", &[ssm]).await?) } else { None },
            o_proj: read("self_attn.o_proj.weight", &[d, q]).await?,
            out_proj: read("mamba.out_proj.weight", &[d, ssm]).await?,
            pre_ff_layernorm: read("pre_ff_layernorm.weight", &[d]).await?,
            gate_proj: read("feed_forward.gate_proj.weight", &[f, d]).await?,
            up_proj: read("feed_forward.up_proj.weight", &[f, d]).await?,
            down_proj: read("feed_forward.down_proj.weight", &[d, f]).await?,
            adapters: (i, Vec::new()),
        })
    }

    /// Layer `i` with adapters.
    pub fn adapted(self, i: u32, adapters: &[Chosen]) -> Self {
        Self { adapters: (i, adapters.to_vec()), ..self }
    }

    /// What the adapters add to a projection of `x`.
    fn add<T: Real>(&self, mut y: Vec<T>, x: &[T], projection: Projection) -> Vec<T> {
        let (layer, adapters) = &self.adapters;
        crate::ops::lora::reference::add(&mut y, x, adapters, *layer, projection);
        y
    }

    /// The layer's lines of the page, for tokens from `position` on with residual stream `h`
    /// \[T, D\]. `keep`: how the cache keeps keys and values.
    pub fn forward<T: Real>(
        &self,
        c: &Config,
        h: &[T],
        position: u32,
        state: &mut LayerState<T>,
        keep: &Keep<'_, T>,
    ) -> Trace<T> {
        let [q, d] = [c.q_dim(), c.mamba_d_ssm].map(|n| n as usize);
        let u = kernels::rmsnorm(h, &self.input_layernorm, c.rms_norm_eps);
        let proj = self.project_in(c, &u);
        let ready = kernels::prepare(c, &self.mamba, &proj, position, state, keep);
        let attention = kernels::attention(c, &ready, state);
        let ssm = kernels::selective_scan(c, &self.mamba, &proj, &ready, state);
        let normed = self.gated_norm(c, &ssm);
        let h1 = self.project_out(c, h, &attention, &normed);
        let m = kernels::rmsnorm(&h1, &self.pre_ff_layernorm, c.rms_norm_eps);
        let ff = self.mlp_in(c, &m);
        let h2 = self.mlp_out(c, &h1, &ff);
        Trace {
            input_layernorm: u,
            project_in: proj,
            prepare: ready,
            mixer: beside(&[(&attention, q), (&ssm, d)]),
            gated_norm: beside(&[(&attention, q), (&normed, d)]),
            project_out: h1,
            pre_ff_layernorm: m,
            mlp_in: ff,
            mlp_out: h2,
        }
    }

    fn gated_norm<T: Real>(&self, c: &Config, ssm: &[T]) -> Vec<T> {
        match &self.mamba_norm {
            Some(weight) => kernels::gated_norm(c, weight, ssm),
            None => ssm.to_vec(),
        }
    }

    fn project_out<T: Real>(&self, c: &Config, h: &[T], attention: &[T], ssm: &[T]) -> Vec<T> {
        let a = kernels::linear(&self.o_proj, attention, c.q_dim() as usize, c.attention_out_multiplier);
        let s = kernels::linear(&self.out_proj, ssm, c.mamba_d_ssm as usize, c.ssm_out_multiplier);
        let (a, s) = (self.add(a, attention, Projection::O), self.add(s, ssm, Projection::Out));
        h.iter().zip(s.iter().zip(&a)).map(|(h, (s, a))| *h + (*s + *a)).collect()
    }

    fn mlp_in<T: Real>(&self, c: &Config, m: &[T]) -> Vec<T> {
        let gate = kernels::linear(&self.gate_proj, m, c.hidden_size as usize, c.mlp_multipliers[0]);
        let up = kernels::linear(&self.up_proj, m, c.hidden_size as usize, 1.0);
        kernels::swiglu(&self.add(gate, m, Projection::Gate), &self.add(up, m, Projection::Up))
    }

    fn mlp_out<T: Real>(&self, c: &Config, h: &[T], ff: &[T]) -> Vec<T> {
        let y = kernels::linear(&self.down_proj, ff, c.intermediate_size as usize, c.mlp_multipliers[1]);
        let y = self.add(y, ff, Projection::Down);
        h.iter().zip(&y).map(|(h, y)| *h + *y).collect()
    }

    fn project_in<T: Real>(&self, c: &Config, u: &[T]) -> Vec<T> {
        let [hidden, q, kv, p] = [c.hidden_size, c.q_dim(), c.kv_dim(), c.in_proj_rows()].map(|n| n as usize);
        let scaled = |by: f32| u.iter().map(|v| T::from(by) * *v).collect::<Vec<T>>();
        let (attention_in, ssm_in) = (scaled(c.attention_in_multiplier), scaled(c.ssm_in_multiplier));
        let queries = kernels::linear(&self.q_proj, &attention_in, hidden, 1.0);
        let keys = kernels::linear(&self.k_proj, &attention_in, hidden, c.key_multiplier);
        let values = kernels::linear(&self.v_proj, &attention_in, hidden, 1.0);
        let mut sections = kernels::linear(&self.in_proj, &ssm_in, hidden, 1.0);
        let (d, state) = (c.mamba_d_ssm, c.mamba_n_groups * c.mamba_d_state);
        for row in sections.chunks_exact_mut(p) {
            let mut values = row.iter_mut();
            for (rows, multiplier) in [d, d, state, state, c.mamba_n_heads].into_iter().zip(c.ssm_multipliers) {
                values.by_ref().take(rows as usize).for_each(|v| *v *= T::from(multiplier));
            }
        }
        let queries = self.add(queries, u, Projection::Q);
        let keys = self.add(keys, u, Projection::K);
        let values = self.add(values, u, Projection::V);
        let sections = self.add(sections, u, Projection::In);
        beside(&[(&queries, q), (&keys, kv), (&values, kv), (&sections, p)])
    }
}

/// Rows put beside each other: of each matrix its values and the length of its rows.
fn beside<T: Real>(parts: &[(&[T], usize)]) -> Vec<T> {
    let tokens = parts.first().map_or(0, |(values, width)| values.len() / width);
    let row = |t: usize| parts.iter().flat_map(move |(values, width)| &values[t * width..(t + 1) * width]);
    (0..tokens).flat_map(row).copied().collect()
}

/// A whole model on the CPU, with one sequence's states.
pub struct Model<T = f32> {
    /// The configuration.
    pub config: Config,
    embed_tokens: Vec<f32>,
    layers: Vec<Layer>,
    final_layernorm: Vec<f32>,
    lm_head: Option<Vec<f32>>,
    /// How keys and values are kept; f32 (or T) unless set otherwise.
    pub kv: KvType,
    /// Tokens read.
    pub position: u32,
    /// One a layer.
    pub states: Vec<LayerState<T>>,
}

/// What a token leaves on its way through the model.
pub struct Forward<T = f32> {
    /// Input of each layer, then the output of the last, then that after the final norm:
    /// \[L + 2\]\[D\]
    pub hidden: Vec<Vec<T>>,
    /// \[V\]
    pub logits: Vec<T>,
}

impl<T: Real> Model<T> {
    /// Dequantizes a whole checkpoint into memory: 4 bytes a parameter.
    ///
    /// # Errors
    /// What the checkpoint says.
    pub async fn load(checkpoint: &Checkpoint) -> Result<Self> {
        let config = checkpoint.config.clone();
        let c = &config;
        let shape = [u64::from(c.vocab_size), u64::from(c.hidden_size)];
        let mut layers = Vec::new();
        for i in 0..c.num_hidden_layers {
            layers.push(Layer::load(checkpoint, i).await?);
        }
        let lm_head =
            if c.tie_word_embeddings { None } else { Some(checkpoint.read_f32("lm_head.weight", &shape).await?) };
        Ok(Self {
            embed_tokens: checkpoint.read_f32("model.embed_tokens.weight", &shape).await?,
            layers,
            final_layernorm: checkpoint.read_f32("model.final_layernorm.weight", &shape[1..]).await?,
            lm_head,
            kv: KvType::F32,
            position: 0,
            states: (0..c.num_hidden_layers).map(|_| LayerState::new(c)).collect(),
            config,
        })
    }

    /// The same with adapters.
    #[must_use]
    pub fn adapted(self, adapters: &[Chosen]) -> Self {
        let layers = (0..).zip(self.layers).map(|(i, layer)| layer.adapted(i, adapters)).collect();
        Self { layers, ..self }
    }

    /// Reads one token.
    pub fn forward(&mut self, id: u32) -> Forward<T> {
        let c = &self.config;
        let d = c.hidden_size as usize;
        let row = &self.embed_tokens[id as usize * d..(id as usize + 1) * d];
        let mut hidden = vec![kernels::embed(row, c.embedding_multiplier)];
        for (i, layer) in self.layers.iter().enumerate() {
            let keep = |_, _, row: &mut [T]| keep(self.kv, c.head_dim, row);
            let trace = layer.forward(c, &hidden[i], self.position, &mut self.states[i], &keep);
            hidden.push(trace.mlp_out);
        }
        let last = kernels::rmsnorm(&hidden[self.layers.len()], &self.final_layernorm, c.rms_norm_eps);
        let head = self.lm_head.as_ref().unwrap_or(&self.embed_tokens);
        let logits = kernels::linear(head, &last, d, c.lm_head_multiplier);
        hidden.push(last);
        self.position += 1;
        Forward { hidden, logits }
    }
}

/// What a cache of this type keeps of a row of keys or values: in f32 all that the twin has.
fn keep<T: Real>(kv: KvType, head_dim: u32, row: &mut [T]) {
    if kv != KvType::F32 {
        let mut kept: Vec<f32> = row.iter().map(|v| (*v).into() as f32).collect();
        kv.keep(&mut kept, head_dim);
        row.iter_mut().zip(kept).for_each(|(v, kept)| *v = T::from(kept));
    }
}

/// The residual stream \[T, D\] as it enters the first layer.
///
/// # Errors
/// [`Error::TokenOutOfRange`]; what the checkpoint says.
pub async fn embeddings<T: Real>(checkpoint: &Checkpoint, ids: &[u32]) -> Result<Vec<T>> {
    let c = &checkpoint.config;
    if let Some(token) = ids.iter().find(|id| **id >= c.vocab_size) {
        return Err(Error::TokenOutOfRange { token: *token, vocab_size: c.vocab_size });
    }
    let embedding = checkpoint.tensor("model.embed_tokens.weight")?;
    let rows = try_join_all(ids.iter().map(|id| checkpoint.read_rows_f32(embedding, u64::from(*id), 1))).await?;
    Ok(rows.iter().flat_map(|row| kernels::embed::<T>(row, c.embedding_multiplier)).collect())
}

/// The LM head's logits \[T, V\] for `x` \[T, D\], some rows of the matrix at a time: it can be the
/// largest of all.
///
/// # Errors
/// What the checkpoint says.
pub async fn lm_head<T: Real>(checkpoint: &Checkpoint, x: &[T]) -> Result<Vec<T>> {
    let c = &checkpoint.config;
    let name = if c.tie_word_embeddings { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let tensor = checkpoint.tensor(name)?;
    let (vocab, tokens) = (c.vocab_size as usize, x.len() / c.hidden_size as usize);
    let mut logits = vec![T::default(); tokens * vocab];
    let mut row = 0;
    while row < c.vocab_size {
        let rows = 4096.min(c.vocab_size - row);
        let weights = checkpoint.read_rows_f32(tensor, row.into(), rows.into()).await?;
        let part = kernels::linear(&weights, x, c.hidden_size as usize, c.lm_head_multiplier);
        for (all, part) in logits.chunks_exact_mut(vocab).zip(part.chunks_exact(rows as usize)) {
            all[row as usize..(row + rows) as usize].copy_from_slice(part);
        }
        row += rows;
    }
    Ok(logits)
}

/// The logits after each of the last `last` of `ids` with adapters, one row \[V\] each, with one
/// layer's weights in memory at a time. `on_layer` hears how many layers are done.
///
/// # Errors
/// [`Error::TokenOutOfRange`]; what the checkpoint says.
pub async fn logits<T: Real>(
    checkpoint: &Checkpoint,
    adapters: &[Chosen],
    ids: &[u32],
    last: u32,
    on_layer: &mut dyn FnMut(u32),
) -> Result<Vec<T>> {
    let c = &checkpoint.config;
    let mut h = embeddings::<T>(checkpoint, ids).await?;
    for i in 0..c.num_hidden_layers {
        let layer = Layer::load(checkpoint, i).await?.adapted(i, adapters);
        h = layer.forward(c, &h, 0, &mut LayerState::new(c), &|_, _, _| {}).mlp_out;
        on_layer(i + 1);
    }
    let norm = checkpoint.read_f32("model.final_layernorm.weight", &[c.hidden_size.into()]).await?;
    let from = ids.len().saturating_sub(last as usize) * c.hidden_size as usize;
    lm_head(checkpoint, &kernels::rmsnorm(&h[from..], &norm, c.rms_norm_eps)).await
}
