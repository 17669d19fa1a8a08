//! The page of `model.rs`, on the CPU, one token at a time.

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::Result;
use crate::model::mamba_values;
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
}

/// What a layer computes on the way, named as the stages of the GPU's plan.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// RMSNorm of the layer's input \[D\]
    pub input_layernorm: Vec<f32>,
    /// q | k | v | z | x | B | C | dt
    pub project_in: Vec<f32>,
    /// q | x | B | C | delta | exp(delta A)
    pub prepare: Vec<f32>,
    /// attention | SSM
    pub mixer: Vec<f32>,
    /// The same after the gated norm, where the model has one.
    pub gated_norm: Vec<f32>,
    /// h after the mixers \[D\]
    pub project_out: Vec<f32>,
    /// RMSNorm of that \[D\]
    pub pre_ff_layernorm: Vec<f32>,
    /// \[F\]
    pub mlp_in: Vec<f32>,
    /// h after the MLP \[D\]
    pub mlp_out: Vec<f32>,
}

impl Layer {
    /// Layer `i` of a checkpoint, dequantised.
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
        let values = mamba_values(checkpoint, i).await?;
        let (channels, k, n) = (c.conv_dim() as usize, c.mamba_d_conv as usize, c.mamba_n_heads as usize);
        let (conv_weight, rest) = values.split_at(channels * k);
        let (conv_bias, rest) = rest.split_at(channels);
        let mamba = Mamba {
            conv_weight: conv_weight.to_vec(),
            conv_bias: conv_bias.to_vec(),
            dt_bias: rest[..n].to_vec(),
            a: rest[n..2 * n].to_vec(),
            d: rest[2 * n..].to_vec(),
        };
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
        })
    }

    /// The layer's lines of the page, for one token at `position` with residual stream `h` \[D\]. `keep`: how the cache keeps keys and
    /// values.
    pub fn forward(&self, c: &Config, h: &[f32], position: u32, state: &mut LayerState, keep: &Keep<'_>) -> Trace {
        let u = kernels::rmsnorm(h, &self.input_layernorm, c.rms_norm_eps);
        let proj = self.project_in(c, &u);
        let ready = kernels::prepare(c, &self.mamba, &proj, position, state, keep);
        let mut mixed = kernels::attention(c, &ready, state);
        mixed.extend(kernels::selective_scan(c, &self.mamba, &proj, &ready, state));
        let (attention, ssm) = mixed.split_at(c.q_dim() as usize);
        let normed = match &self.mamba_norm {
            Some(weight) => kernels::gated_norm(c, weight, ssm),
            None => ssm.to_vec(),
        };
        let a = kernels::linear(&self.o_proj, attention, c.attention_out_multiplier);
        let s = kernels::linear(&self.out_proj, &normed, c.ssm_out_multiplier);
        let h1: Vec<f32> = h.iter().zip(s.iter().zip(&a)).map(|(h, (s, a))| h + (s + a)).collect();
        let m = kernels::rmsnorm(&h1, &self.pre_ff_layernorm, c.rms_norm_eps);
        let gate = kernels::linear(&self.gate_proj, &m, c.mlp_multipliers[0]);
        let up = kernels::linear(&self.up_proj, &m, 1.0);
        let ff = kernels::swiglu(&gate, &up);
        let y = kernels::linear(&self.down_proj, &ff, c.mlp_multipliers[1]);
        let h2 = h1.iter().zip(&y).map(|(h, y)| h + y).collect();
        let gated_norm = [attention, &normed].concat();
        Trace {
            input_layernorm: u,
            project_in: proj,
            prepare: ready,
            mixer: mixed,
            gated_norm,
            project_out: h1,
            pre_ff_layernorm: m,
            mlp_in: ff,
            mlp_out: h2,
        }
    }

    fn project_in(&self, c: &Config, u: &[f32]) -> Vec<f32> {
        let attention_in: Vec<f32> = u.iter().map(|v| c.attention_in_multiplier * v).collect();
        let mut proj = kernels::linear(&self.q_proj, &attention_in, 1.0);
        proj.extend(kernels::linear(&self.k_proj, &attention_in, c.key_multiplier));
        proj.extend(kernels::linear(&self.v_proj, &attention_in, 1.0));
        let ssm_in: Vec<f32> = u.iter().map(|v| c.ssm_in_multiplier * v).collect();
        let mut p = kernels::linear(&self.in_proj, &ssm_in, 1.0);
        let (d, state) = (c.mamba_d_ssm, c.mamba_n_groups * c.mamba_d_state);
        let mut values = p.iter_mut();
        for (rows, multiplier) in [d, d, state, state, c.mamba_n_heads].into_iter().zip(c.ssm_multipliers) {
            values.by_ref().take(rows as usize).for_each(|v| *v *= multiplier);
        }
        proj.extend(p);
        proj
    }
}

/// A whole model in f32 on the CPU, with one sequence's states.
pub struct Model {
    /// The configuration.
    pub config: Config,
    embed_tokens: Vec<f32>,
    layers: Vec<Layer>,
    final_layernorm: Vec<f32>,
    lm_head: Option<Vec<f32>>,
    /// How keys and values are kept; f32 unless set otherwise.
    pub kv: KvType,
    /// Tokens read.
    pub position: u32,
    /// One a layer.
    pub states: Vec<LayerState>,
}

/// What a token leaves on its way through the model.
pub struct Forward {
    /// Input of each layer, then the output of the last, then that after the final norm: \[L + 2\]\[D\]
    pub hidden: Vec<Vec<f32>>,
    /// \[V\]
    pub logits: Vec<f32>,
}

impl Model {
    /// Dequantises a whole checkpoint into memory: 4 bytes a parameter.
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

    /// Reads one token.
    pub fn forward(&mut self, id: u32) -> Forward {
        let c = &self.config;
        let d = c.hidden_size as usize;
        let row = &self.embed_tokens[id as usize * d..(id as usize + 1) * d];
        let mut hidden = vec![kernels::embed(row, c.embedding_multiplier)];
        for (i, layer) in self.layers.iter().enumerate() {
            let keep = |_, _, value| self.kv.keep(value);
            let trace = layer.forward(c, &hidden[i], self.position, &mut self.states[i], &keep);
            hidden.push(trace.mlp_out);
        }
        let last = kernels::rmsnorm(&hidden[self.layers.len()], &self.final_layernorm, c.rms_norm_eps);
        let logits = kernels::linear(self.lm_head.as_ref().unwrap_or(&self.embed_tokens), &last, c.lm_head_multiplier);
        hidden.push(last);
        self.position += 1;
        Forward { hidden, logits }
    }
}
