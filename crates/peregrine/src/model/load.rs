//! From a checkpoint to a model on the GPU: which tensors make which matrix, under which
//! multipliers.

use super::footprint::{Budget, Device, Footprint, ScratchBytes};
use super::recipe::Recipe;
use std::rc::Rc;

use futures_util::future::try_join5;
use sha2::{Digest, Sha256};

use super::pace::Pace;
use super::{Layer, LoadOptions, LoadTimes, Model, Progress, Scratch, Ssd};
use crate::adapter::Chosen;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::kernels::Pipelines;
use crate::ops::lora::Adapted;
use crate::ops::sample::SamplingBuffers;
use crate::ops::target::Target;
use crate::plan::{Call, Step};
use crate::state::{Arena, State};
use crate::weights::{Matrix, MatrixSpec, Uploads, padded};

impl Model {
    /// Streams a checkpoint to the GPU and makes the pipelines.
    ///
    /// # Errors
    /// [`Error::DoesNotFit`] for more than the options' budget; [`Error::OutOfMemory`] on the
    /// processor for more than the machine has left, before a weight is read; what the checkpoint
    /// or the device say; nothing stays allocated.
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
        let target = Target::of(gpu, options.kv);
        let footprint = Footprint::fit(checkpoint, options, Device::at(gpu, &target))?;
        footprint.expect_room(&checkpoint.name, gpu.available_bytes())?;
        let loaded = Self::upload(gpu, checkpoint, options, target, &footprint, progress).await;
        loaded.map_err(|error| error.while_loading(&footprint))
    }

    async fn upload(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        target: Target,
        footprint: &Footprint,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self> {
        // All buffers first: pipelines can then be made while the weights are on their way.
        let (mut model, loader) = Self::laid_out(gpu, checkpoint, options, target, footprint)?;
        // What the device refused is said before gigabytes are on their way.
        gpu.check()?;
        let (state, next) = model.shortest()?;
        let [one, many] = [false, true].map(|many| model.record(&state, &next, many, None));
        let making = model.pipelines.make(one.iter().chain(&many));
        let total = checkpoint.tensors().map(|t| t.bytes).sum();
        let mut report = |done, total| progress(Progress::Upload { done, total });
        let mut uploads = Uploads::new(total, &mut report);
        for job in &loader.jobs {
            loader.stream(job, &mut uploads).await?;
        }
        uploads.finish(gpu).await?;
        let digest = Sha256::digest(format!("{:?} {:016x}", model.config, uploads.fingerprint()).as_bytes());
        model.fingerprint = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        model.load_times = uploads.times();
        let mut compile = |done, total| progress(Progress::Compile { done, total });
        model.load_times.pipelines = making.finish(&model.pipelines, &mut compile).await?;
        Ok(model)
    }

    /// The dispatches that a model would be run with beside these adapters, those for one token and
    /// then those for many, without reading its weights: to compare what is recorded with what was
    /// recorded once.
    ///
    /// # Errors
    /// As [`Model::load`].
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn outline(
        gpu: &Gpu,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        target: Target,
        adapters: &[Chosen],
    ) -> Result<[Vec<Call>; 2]> {
        let footprint = Footprint::fit(checkpoint, options, Device::at(gpu, &target))?;
        let (model, _) = Self::laid_out(gpu, checkpoint, options, target, &footprint)?;
        let (state, next) = model.shortest()?;
        let adapted = match adapters {
            [] => None,
            chosen => Some(Adapted::new(&model, chosen.to_vec())?),
        };
        Ok([false, true].map(|many| model.record(&state, &next, many, adapted.as_ref())))
    }

    /// What a plan reads and writes of a conversation, as small as it gets: for plans that are
    /// recorded only to make their pipelines.
    pub(crate) fn shortest(&self) -> Result<(State, SamplingBuffers)> {
        let state = State::new(&self.gpu, &self.config, &self.kv)?;
        Ok((state, SamplingBuffers::new(&self.gpu, self.config.vocab_size, self.chunk)?))
    }

    /// All buffers, and a list of what they are to be filled with.
    fn laid_out<'a>(
        gpu: &'a Gpu,
        checkpoint: &'a Checkpoint,
        options: &LoadOptions,
        target: Target,
        footprint: &Footprint,
    ) -> Result<(Self, Loader<'a>)> {
        let config = checkpoint.config.clone();
        let c = &config;
        let recipe = Recipe::of(checkpoint);
        let strides = recipe.strides;
        let mut loader = Loader { gpu, checkpoint, recipe, jobs: Vec::new() };
        let embed_tokens = loader.matrix(recipe.embed_tokens()?)?;
        let layers = (0..c.num_hidden_layers).map(|i| loader.layer(i)).collect::<Result<_>>()?;
        let final_layernorm = loader.vector("model.final_layernorm.weight".into(), c.hidden_size)?;
        let lm_head = match recipe.lm_head()? {
            Some(head) => loader.matrix(head)?,
            None => embed_tokens.tied(gpu, c.lm_head_multiplier, (strides.hidden, c.vocab_size)),
        };

        let bytes = ScratchBytes::of(c, options, Device::at(gpu, &target));
        let (chunk, logit_rows) = (bytes.chunk, bytes.logit_rows);
        let scratch = Scratch {
            rope: gpu.storage("rope", bytes.rope)?,
            turns: gpu.uniform("turns", &vec![0; bytes.turns as usize]),
            h: gpu.storage("h", bytes.hidden)?,
            u: gpu.storage("u", bytes.hidden)?,
            proj: gpu.storage("proj", bytes.proj)?,
            ready: gpu.storage("ready", bytes.ready)?,
            mixed: gpu.storage("mixed", bytes.mixed)?,
            ssd: match bytes.ssd {
                [0, ..] => None,
                [states, products, decays] => Some(Ssd {
                    states: gpu.storage("SSD states", states)?,
                    products: gpu.storage("SSD products", products)?,
                    decays: gpu.storage("SSD decays", decays)?,
                }),
            },
            ff: gpu.storage("ff", bytes.ff)?,
            logits: gpu.storage("logits", bytes.logits)?,
        };
        let model = Self {
            gpu: gpu.clone(),
            step: gpu.uniform("step", bytemuck::bytes_of(&Step::default())),
            pipelines: Pipelines::new(gpu, target.kv),
            target,
            strides,
            embed_tokens,
            layers,
            final_layernorm,
            lm_head,
            scratch,
            chunk,
            logit_rows,
            kv: Arena::new(gpu, c, target.kv, footprint.context_length, options.memory_budget.is_some()),
            snapshot_budget: footprint.snapshots,
            budget: Budget::new(options, Device::at(gpu, &target), *footprint),
            snapshot_host_budget: footprint.host_snapshots,
            pace: Pace::of(&target),
            turns: Rc::default(),
            fingerprint: String::new(),
            load_times: LoadTimes::default(),
            config,
        };
        Ok((model, loader))
    }
}

/// What is to be streamed to where.
enum Job<'a> {
    Matrix(Matrix, MatrixSpec<'a>),
    /// Its name and length.
    Vector(wgpu::Buffer, String, u32),
    /// A layer's small SSM parameters.
    Mamba(wgpu::Buffer, u32),
}

/// Makes layers of buffers, and a list of what they are to be filled with.
struct Loader<'a> {
    gpu: &'a Gpu,
    checkpoint: &'a Checkpoint,
    recipe: Recipe<'a>,
    jobs: Vec<Job<'a>>,
}

impl<'a> Loader<'a> {
    fn matrix(&mut self, spec: MatrixSpec<'a>) -> Result<Matrix> {
        let matrix = Matrix::new(self.gpu, &spec)?;
        self.jobs.push(Job::Matrix(matrix.clone(), spec));
        Ok(matrix)
    }

    fn vector(&mut self, name: String, len: u32) -> Result<wgpu::Buffer> {
        let buffer = self.gpu.storage(&name, 4 * u64::from(padded(len)))?;
        self.jobs.push(Job::Vector(buffer.clone(), name, len));
        Ok(buffer)
    }

    fn mamba(&mut self, i: u32) -> Result<wgpu::Buffer> {
        let c = &self.checkpoint.config;
        let values = c.conv_dim() * (c.mamba_d_conv + 1) + 3 * c.mamba_n_heads;
        let buffer = self.gpu.storage("mamba", 4 * u64::from(values))?;
        self.jobs.push(Job::Mamba(buffer.clone(), i));
        Ok(buffer)
    }

    fn layer(&mut self, i: u32) -> Result<Layer> {
        let c = &self.checkpoint.config;
        let name = |suffix: &str| format!("model.layers.{i}.{suffix}");
        let spec = self.recipe.layer(i)?;
        Ok(Layer {
            input_layernorm: self.vector(name("input_layernorm.weight"), c.hidden_size)?,
            w_in: self.matrix(spec.w_in)?,
            mamba: self.mamba(i)?,
            mamba_norm: match c.mamba_rms_norm {
                true => Some(self.vector(name("mamba.norm.weight"), c.mamba_d_ssm)?),
                false => None,
            },
            w_out: self.matrix(spec.w_out)?,
            pre_ff_layernorm: self.vector(name("pre_ff_layernorm.weight"), c.hidden_size)?,
            mlp_in: self.matrix(spec.mlp_in)?,
            mlp_out: self.matrix(spec.mlp_out)?,
        })
    }

    async fn stream(&self, job: &Job<'a>, uploads: &mut Uploads<'_>) -> Result<()> {
        match job {
            Job::Matrix(matrix, spec) => matrix.fill(self.gpu, self.checkpoint, spec, uploads).await,
            Job::Vector(buffer, name, len) => {
                let mut values = self.checkpoint.read_f32(name, &[u64::from(*len)]).await?;
                values.resize(padded(*len) as usize, 0.0);
                self.gpu.write(buffer, 0, bytemuck::cast_slice(&values));
                uploads.count(self.checkpoint.tensor(name)?.bytes);
                Ok(())
            }
            Job::Mamba(buffer, i) => {
                let values = mamba_values(self.checkpoint, *i).await?;
                self.gpu.write(buffer, 0, bytemuck::cast_slice(&values));
                for suffix in ["conv1d.weight", "conv1d.bias", "dt_bias", "A_log", "A", "D"] {
                    if let Some(tensor) = self.checkpoint.get(&format!("model.layers.{i}.mamba.{suffix}")) {
                        uploads.count(tensor.bytes);
                    }
                }
                Ok(())
            }
        }
    }
}

/// conv1d.weight \[conv_dim, K\] | conv1d.bias \[conv_dim\] | dt_bias \[H\] | A \[H\] | D \[H\]: a
/// layer's small SSM parameters.
///
/// # Errors
/// What the checkpoint says.
pub(crate) async fn mamba_values(checkpoint: &Checkpoint, layer: u32) -> Result<Vec<f32>> {
    let c = &checkpoint.config;
    let (channels, heads) = (u64::from(c.conv_dim()), u64::from(c.mamba_n_heads));
    let name = |suffix: &str| format!("model.layers.{layer}.mamba.{suffix}");
    let names = ["conv1d.weight", "conv1d.bias", "dt_bias", "D"].map(name);
    let [weight, bias, dt_bias, d] = &names;
    let (weight, bias, dt_bias, a, d) = try_join5(
        checkpoint.read_f32(weight, &[channels, c.mamba_d_conv.into()]),
        checkpoint.read_f32(bias, &[channels]),
        checkpoint.read_f32(dt_bias, &[heads]),
        checkpoint.mamba_a(layer),
        checkpoint.read_f32(d, &[heads]),
    )
    .await?;
    Ok([weight, bias, dt_bias, a, d].concat())
}
