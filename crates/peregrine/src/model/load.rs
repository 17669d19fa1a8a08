//! From a checkpoint to a model on the GPU: which tensors make which matrix, under which multipliers.

use super::{Layer, LoadOptions, Model, Progress, Scratch, Strides};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, ShapeClass};
use crate::kernels::Pipelines;
use crate::plan::Step;
use crate::state::{State, splits};
use crate::weights::{Matrix, PartSpec, Uploads, padded};

impl Model {
    /// Streams a checkpoint to the GPU and makes the pipelines.
    ///
    /// # Errors
    /// What the checkpoint or the device say; nothing stays allocated.
    pub async fn load(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let config = checkpoint.config.clone();
        let c = &config;
        let suits = |n: u32, most: u32| n.is_multiple_of(4) && n <= most;
        if !suits(c.head_dim, 256) || !suits(c.mamba_d_state, 512) {
            return Err(Error::Unsupported {
                name: checkpoint.name.clone(),
                field: "head_dim, mamba_d_state".into(),
                expected: "multiples of 4 up to 256 and 512".into(),
                found: format!("{}, {}", c.head_dim, c.mamba_d_state),
            });
        }
        let strides = Strides::of(c);
        let total = checkpoint.tensors().map(|t| t.bytes).sum();
        let mut report = |done, total| progress(Progress::Upload { done, total });
        let mut uploads = Uploads::new(total, &mut report);
        let loader = Loader { gpu, checkpoint, strides };

        let embed = loader.part("model.embed_tokens.weight", c.vocab_size, 0, 0, c.embedding_multiplier)?;
        let embed_tokens =
            Matrix::load(gpu, checkpoint, "embed_tokens", &[embed], (0, strides.hidden), &mut uploads).await?;
        let mut layers = Vec::new();
        for i in 0..c.num_hidden_layers {
            layers.push(loader.layer(i, &mut uploads).await?);
        }
        let final_layernorm = loader.vector("model.final_layernorm.weight", c.hidden_size, &mut uploads).await?;
        let head_strides = (strides.hidden, c.vocab_size);
        let lm_head = if c.tie_word_embeddings {
            embed_tokens.tied(gpu, c.lm_head_multiplier, head_strides)
        } else {
            let part = loader.part("lm_head.weight", c.vocab_size, 0, 0, c.lm_head_multiplier)?;
            Matrix::load(gpu, checkpoint, "lm_head", &[part], head_strides, &mut uploads).await?
        };

        let by_adapter = if gpu.shapes() == ShapeClass::Software { 32 } else { 256 };
        let context_length = options.context_length.unwrap_or(u32::MAX).min(c.max_position_embeddings);
        let chunk = options.chunk.unwrap_or(by_adapter).clamp(1, 512);
        let logit_rows = (gpu.max_binding() / (4 * u64::from(c.vocab_size))).clamp(1, u64::from(chunk)) as u32;
        let buffer = |label: &str, width: u32| gpu.storage(label, 4 * u64::from(width) * u64::from(chunk));
        let scratch = Scratch {
            rope: buffer("rope", c.head_dim)?,
            turns: gpu.uniform("turns", &[0; 1024]),
            h: buffer("h", strides.hidden)?,
            u: buffer("u", strides.hidden)?,
            proj: buffer("proj", strides.proj)?,
            ready: buffer("ready", strides.ready)?,
            mixed: {
                // Room for the pieces of the longest context.
                let pieces = match splits(context_length) {
                    1 => 0,
                    most => c.num_attention_heads * most * (c.head_dim + 2),
                };
                gpu.storage("mixed", 4 * u64::from(chunk * strides.mixed).max((strides.mixed + pieces).into()))?
            },
            ff: buffer("ff", strides.ff)?,
            logits: gpu.storage("logits", 4 * u64::from(c.vocab_size) * u64::from(logit_rows))?,
        };
        let model = Self {
            gpu: gpu.clone(),
            step: gpu.uniform("step", bytemuck::bytes_of(&Step::default())),
            pipelines: Pipelines::new(gpu),
            strides,
            embed_tokens,
            layers,
            final_layernorm,
            lm_head,
            scratch,
            chunk,
            logit_rows,
            context_length,
            config,
        };
        gpu.sync().await?;
        model.compile(progress).await?;
        Ok(model)
    }

    /// Makes every pipeline the model needs by recording its plans once.
    async fn compile(&self, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let state = State::new(&self.gpu, &self.config, 1, self.chunk)?;
        progress(Progress::Compile { done: 0, total: 2 });
        for (done, many) in [(1, false), (2, true)] {
            self.record(&state, many);
            self.pipelines.finish().await?;
            progress(Progress::Compile { done, total: 2 });
        }
        Ok(())
    }
}

/// Names, shapes and multipliers of the tensors: how a checkpoint becomes the matrices of the page.
struct Loader<'a> {
    gpu: &'a Gpu,
    checkpoint: &'a Checkpoint,
    strides: Strides,
}

impl<'a> Loader<'a> {
    fn part(&self, tensor: &str, rows: u32, first_row: u32, x: u32, scale: f32) -> Result<PartSpec<'a>> {
        Ok(PartSpec { tensor: self.checkpoint.tensor(tensor)?, tensor_row: 0, rows, first_row, x, scale, sum: 0 })
    }

    async fn vector(&self, name: &str, len: u32, uploads: &mut Uploads<'_>) -> Result<wgpu::Buffer> {
        let mut values = self.checkpoint.read_f32(name, &[len.into()]).await?;
        values.resize(padded(len) as usize, 0.0);
        uploads.count(self.checkpoint.tensor(name)?.bytes);
        self.gpu.storage_of(name, &values)
    }

    async fn layer(&self, i: u32, uploads: &mut Uploads<'_>) -> Result<Layer> {
        let (c, s) = (&self.checkpoint.config, &self.strides);
        let name = |suffix: &str| format!("model.layers.{i}.{suffix}");
        let load = async |label: &str, parts: &[PartSpec<'_>], strides, uploads: &mut Uploads<'_>| {
            Matrix::load(self.gpu, self.checkpoint, label, parts, strides, uploads).await
        };
        let (q, kv, a) = (c.q_dim(), c.kv_dim(), c.attention_in_multiplier);
        let mut w_in = vec![
            self.part(&name("self_attn.q_proj.weight"), q, 0, 0, a)?,
            self.part(&name("self_attn.k_proj.weight"), kv, q, 0, a * c.key_multiplier)?,
            self.part(&name("self_attn.v_proj.weight"), kv, q + kv, 0, a)?,
        ];
        w_in.extend(self.in_proj(&name("mamba.in_proj.weight"), q + 2 * kv)?);

        let down = self.part(&name("feed_forward.down_proj.weight"), c.hidden_size, 0, 0, c.mlp_multipliers[1])?;
        let gate =
            self.part(&name("feed_forward.gate_proj.weight"), c.intermediate_size, 0, 0, c.mlp_multipliers[0])?;
        let mut up = self.part(&name("feed_forward.up_proj.weight"), c.intermediate_size, 0, 0, 1.0)?;
        up.sum = 1;
        let w_out = [
            self.part(&name("self_attn.o_proj.weight"), c.hidden_size, 0, 0, c.attention_out_multiplier)?,
            self.part(&name("mamba.out_proj.weight"), c.hidden_size, 0, s.ssm, c.ssm_out_multiplier)?,
        ];
        Ok(Layer {
            input_layernorm: self.vector(&name("input_layernorm.weight"), c.hidden_size, uploads).await?,
            w_in: load("w_in", &w_in, (s.hidden, s.proj), uploads).await?,
            mamba: self.mamba(i, uploads).await?,
            mamba_norm: if c.mamba_rms_norm {
                Some(self.vector(&name("mamba.norm.weight"), c.mamba_d_ssm, uploads).await?)
            } else {
                None
            },
            w_out: load("w_out", &w_out, (s.mixed, s.hidden), uploads).await?,
            pre_ff_layernorm: self.vector(&name("pre_ff_layernorm.weight"), c.hidden_size, uploads).await?,
            mlp_in: load("mlp_in", &[gate, up], (s.hidden, s.ff), uploads).await?,
            mlp_out: load("mlp_out", &[down], (s.ff, s.hidden), uploads).await?,
        })
    }

    /// The sections z, x, B, C, dt of in_proj, each with its multiplier; neighbours with the same one are one part.
    fn in_proj(&self, tensor: &str, first_row: u32) -> Result<Vec<PartSpec<'a>>> {
        let c = &self.checkpoint.config;
        let state = c.mamba_n_groups * c.mamba_d_state;
        let sections = [c.mamba_d_ssm, c.mamba_d_ssm, state, state, c.mamba_n_heads];
        let mut parts: Vec<PartSpec<'a>> = Vec::new();
        let mut row = 0;
        for (rows, multiplier) in sections.into_iter().zip(c.ssm_multipliers) {
            let scale = c.ssm_in_multiplier * multiplier;
            match parts.last_mut() {
                Some(last) if last.scale == scale => last.rows += rows,
                _ => {
                    let mut part = self.part(tensor, rows, first_row + row, 0, scale)?;
                    part.tensor_row = row;
                    parts.push(part);
                }
            }
            row += rows;
        }
        Ok(parts)
    }

    async fn mamba(&self, i: u32, uploads: &mut Uploads<'_>) -> Result<wgpu::Buffer> {
        let values = mamba_values(self.checkpoint, i).await?;
        for suffix in ["conv1d.weight", "conv1d.bias", "dt_bias", "A_log", "A", "D"] {
            if let Some(tensor) = self.checkpoint.get(&format!("model.layers.{i}.mamba.{suffix}")) {
                uploads.count(tensor.bytes);
            }
        }
        self.gpu.storage_of("mamba", &values)
    }
}

/// conv1d.weight \[conv_dim, K\] | conv1d.bias \[conv_dim\] | dt_bias \[n\] | A \[n\] | D \[n\]: a layer's small SSM parameters.
///
/// # Errors
/// What the checkpoint says.
pub(crate) async fn mamba_values(checkpoint: &Checkpoint, layer: u32) -> Result<Vec<f32>> {
    let c = &checkpoint.config;
    let (channels, heads) = (u64::from(c.conv_dim()), u64::from(c.mamba_n_heads));
    let name = |suffix: &str| format!("model.layers.{layer}.mamba.{suffix}");
    let mut values = checkpoint.read_f32(&name("conv1d.weight"), &[channels, c.mamba_d_conv.into()]).await?;
    values.extend(checkpoint.read_f32(&name("conv1d.bias"), &[channels]).await?);
    values.extend(checkpoint.read_f32(&name("dt_bias"), &[heads]).await?);
    values.extend(checkpoint.mamba_a(layer).await?);
    values.extend(checkpoint.read_f32(&name("D"), &[heads]).await?);
    Ok(values)
}
