//! From a checkpoint to a model on the GPU: which tensors make which matrix, under which multipliers.

use super::footprint::{Device, Footprint, ScratchBytes};
use super::recipe::Recipe;
use sha2::{Digest, Sha256};

use super::{Layer, LoadOptions, Model, Progress, Scratch};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::Pipelines;
use crate::plan::Step;
use crate::state::{Arena, State};
use crate::weights::{Matrix, MatrixSpec, Uploads, padded};

impl Model {
    /// Streams a checkpoint to the GPU and makes the pipelines.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] for more than the options' budget; what the checkpoint or the device say; nothing stays allocated.
    pub async fn load(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let c = &checkpoint.config;
        let suits = |n: u32, most: u32| n.is_multiple_of(4) && n <= most;
        if !suits(c.head_dim, 256) || !suits(c.mamba_d_state, 512) {
            return Err(Error::Unsupported {
                name: checkpoint.name.clone(),
                field: "head_dim, mamba_d_state".into(),
                expected: "multiples of 4 up to 256 and 512".into(),
                found: format!("{}, {}", c.head_dim, c.mamba_d_state),
            });
        }
        // Said before gigabytes are on their way.
        let footprint = Footprint::fit(checkpoint, options, Device::of(gpu))?;
        let loaded = Self::upload(gpu, checkpoint, options, &footprint, progress).await;
        loaded.map_err(|error| error.while_loading(&footprint))
    }

    async fn upload(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        footprint: &Footprint,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        let config = checkpoint.config.clone();
        let c = &config;
        let recipe = Recipe::of(checkpoint);
        let strides = recipe.strides;
        let total = checkpoint.tensors().map(|t| t.bytes).sum();
        let mut report = |done, total| progress(Progress::Upload { done, total });
        let mut uploads = Uploads::new(total, &mut report);
        let loader = Loader { gpu, checkpoint, recipe };

        let embed_tokens = Matrix::load(gpu, checkpoint, &recipe.embed_tokens()?, &mut uploads).await?;
        let mut layers = Vec::new();
        for i in 0..c.num_hidden_layers {
            layers.push(loader.layer(i, &mut uploads).await?);
        }
        let final_layernorm = loader.vector("model.final_layernorm.weight", c.hidden_size, &mut uploads).await?;
        let lm_head = match recipe.lm_head()? {
            Some(head) => Matrix::load(gpu, checkpoint, &head, &mut uploads).await?,
            None => embed_tokens.tied(gpu, c.lm_head_multiplier, (strides.hidden, c.vocab_size)),
        };

        let context_length = footprint.context_length;
        let bytes = ScratchBytes::of(c, options, Device::of(gpu), context_length);
        let (chunk, logit_rows) = (bytes.chunk, bytes.logit_rows);
        let scratch = Scratch {
            rope: gpu.storage("rope", bytes.rope)?,
            turns: gpu.uniform("turns", &vec![0; bytes.turns as usize]),
            h: gpu.storage("h", bytes.hidden)?,
            u: gpu.storage("u", bytes.hidden)?,
            proj: gpu.storage("proj", bytes.proj)?,
            ready: gpu.storage("ready", bytes.ready)?,
            mixed: gpu.storage("mixed", bytes.mixed)?,
            ff: gpu.storage("ff", bytes.ff)?,
            logits: gpu.storage("logits", bytes.logits)?,
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
            kv: Arena::new(gpu, c, options.kv, context_length),
            snapshot_budget: options.snapshot_budget,
            fingerprint: {
                let all = format!("{config:?} {:016x}", uploads.fingerprint());
                let digest = Sha256::digest(all.as_bytes());
                digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
            },
            config,
        };
        gpu.sync().await?;
        model.compile(progress).await?;
        Ok(model)
    }

    /// Makes every pipeline the model needs by recording its plans once.
    async fn compile(&self, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let state = State::new(&self.gpu, &self.config, 1, self.chunk, &self.kv)?;
        progress(Progress::Compile { done: 0, total: 2 });
        for (done, many) in [(1, false), (2, true)] {
            self.record(&state, many);
            self.pipelines.finish().await?;
            progress(Progress::Compile { done, total: 2 });
        }
        Ok(())
    }
}

/// Tensors that go to the GPU as they are, and layers made of them.
struct Loader<'a> {
    gpu: &'a Gpu,
    checkpoint: &'a Checkpoint,
    recipe: Recipe<'a>,
}

impl Loader<'_> {
    async fn vector(&self, name: &str, len: u32, uploads: &mut Uploads<'_>) -> Result<wgpu::Buffer> {
        let mut values = self.checkpoint.read_f32(name, &[len.into()]).await?;
        values.resize(padded(len) as usize, 0.0);
        uploads.count(self.checkpoint.tensor(name)?.bytes);
        self.gpu.storage_of(name, &values)
    }

    async fn layer(&self, i: u32, uploads: &mut Uploads<'_>) -> Result<Layer> {
        let c = &self.checkpoint.config;
        let name = |suffix: &str| format!("model.layers.{i}.{suffix}");
        let load = async |spec: &MatrixSpec<'_>, uploads: &mut Uploads<'_>| {
            Matrix::load(self.gpu, self.checkpoint, spec, uploads).await
        };
        let spec = self.recipe.layer(i)?;
        Ok(Layer {
            input_layernorm: self.vector(&name("input_layernorm.weight"), c.hidden_size, uploads).await?,
            w_in: load(&spec.w_in, uploads).await?,
            mamba: self.mamba(i, uploads).await?,
            mamba_norm: if c.mamba_rms_norm {
                Some(self.vector(&name("mamba.norm.weight"), c.mamba_d_ssm, uploads).await?)
            } else {
                None
            },
            w_out: load(&spec.w_out, uploads).await?,
            pre_ff_layernorm: self.vector(&name("pre_ff_layernorm.weight"), c.hidden_size, uploads).await?,
            mlp_in: load(&spec.mlp_in, uploads).await?,
            mlp_out: load(&spec.mlp_out, uploads).await?,
        })
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
