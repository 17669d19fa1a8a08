//! The self-check: before a model answers on a device for the first time, the very pipelines that
//! it will use are run on a small input and compared with the CPU. What computes wrong results is
//! not used: the next way to drive the device is tried.
//!
//! The workbench's `check` compares everything and takes as long as that takes; this looks at
//! samples: of each layout of layers one, of each matrix some rows, of the SSM heads some, every
//! stage from the GPU's own input to it. The other layers are left out of that. Then all layers: a
//! prompt read at once must give the logits of the same prompt read with its last tokens one by
//! one, which other kernels do. And samples on the GPU must be those of the host.

pub(crate) mod adapters;
mod samples;
mod stages;
mod variants;

use std::collections::BTreeMap;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use self::stages::Stages;
use self::variants::variants;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::gpu::{Access, DeviceKind, Gpu, GpuOptions, Instant, Reading};
use crate::inspect::{Comparison, spread_ids};
use crate::kernels::{KERNELS, source_formats};
use crate::model::{LoadOptions, Progress};
use crate::ops::target::Target;
use crate::sampling::SamplingOptions;
use crate::session::{Engine, Session, spread_logits};
use crate::state::SHORT_SPLITS;

/// What is known of ways to drive a device: by key, `None` where results are right, else what was
/// wrong first. Keep it between runs, so that each way is looked at once; a key holds the version,
/// the shaders, the adapter and its driver, the way, and the model's layout.
pub type Outcomes = BTreeMap<String, Option<String>>;

/// One way to drive the device, and how it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Its entry in [`Outcomes`].
    pub key: String,
    /// In words, as "GPU shapes, subgroup sums".
    pub variant: String,
    /// The first thing that was wrong, or why it could not be compared; `None` where nothing was.
    pub failed: Option<String>,
    /// Results were compared, now or before, and are wrong.
    pub is_wrong: bool,
    /// Seconds that the check took; `None` where the outcome was known before, or nothing could be
    /// compared.
    pub seconds: Option<f64>,
}

/// A model that has passed, and how the device is driven.
pub struct Checked {
    /// The model.
    pub engine: Rc<Engine>,
    /// What was tried, in order; the last one is used.
    pub verdicts: Vec<Verdict>,
}

/// Opens a device and loads a model in the best way that passes the self-check: the one that the
/// options ask for or that suits the device, then without cooperative matrices, with sums through
/// workgroup memory, within the baseline's limits, and with the other class of kernel shapes.
/// `outcomes` are those of earlier runs, and hold those of this one afterwards. `on_verdict` hears
/// of each way as it is judged.
///
/// # Errors
/// [`Error::SelfCheck`] where nothing passes; what [`Gpu::open`] and [`Engine::load`] say.
pub async fn load(
    access: &Access,
    options: &GpuOptions,
    checkpoint: &Checkpoint,
    load: &LoadOptions,
    outcomes: &mut Outcomes,
    progress: &mut dyn FnMut(Progress),
    on_verdict: &mut dyn FnMut(&Verdict),
) -> Result<Checked> {
    let _forgets = Forgets(checkpoint);
    let mut loading = Loading { access, options, checkpoint, load, outcomes, progress, on_verdict };
    let mut again = false;
    loop {
        let Tried { engine, verdicts, refused } = loading.try_all().await?;
        if let Some(engine) = engine {
            return Ok(Checked { engine, verdicts });
        }
        // Where no way is left, what failed some other time is looked at once more: of a driver's
        // version a browser says nothing.
        let known: Vec<&Verdict> = verdicts.iter().filter(|v| v.is_wrong && v.seconds.is_none()).collect();
        if again || known.is_empty() {
            let words = |v: &Verdict| format!("{}: {}", v.variant, v.failed.as_deref().unwrap_or("?"));
            return Err(match refused {
                Some(error @ Error::OutOfMemory { .. }) => error,
                Some(error) if !verdicts.iter().any(|v| v.is_wrong) => error,
                _ => Error::SelfCheck { detail: verdicts.iter().map(words).collect::<Vec<_>>().join("; ") },
            });
        }
        for verdict in known {
            loading.outcomes.remove(&verdict.key);
        }
        again = true;
    }
}

/// What [`load`] is given.
struct Loading<'a> {
    access: &'a Access,
    options: &'a GpuOptions,
    checkpoint: &'a Checkpoint,
    load: &'a LoadOptions,
    outcomes: &'a mut Outcomes,
    progress: &'a mut dyn FnMut(Progress),
    on_verdict: &'a mut dyn FnMut(&Verdict),
}

/// How all ways did.
struct Tried {
    /// Of the last one, if it passed.
    engine: Option<Rc<Engine>>,
    verdicts: Vec<Verdict>,
    /// Why the first one could not even be compared that could not.
    refused: Option<Error>,
}

impl Loading<'_> {
    /// One way after the other, until one passes.
    async fn try_all(&mut self) -> Result<Tried> {
        let first = Gpu::open(self.access, self.options).await?;
        let ways = variants(self.options, &first);
        let mut opened = Some(first);
        let mut tried = Tried { engine: None, verdicts: Vec::new(), refused: None };
        let mut loads = 0;
        for way in ways {
            let gpu = match opened.take() {
                Some(gpu) => gpu,
                None => match self.open(&way, &tried.verdicts).await {
                    Ok(gpu) => gpu,
                    // It lacks what this way needs, or falls over it at once.
                    Err(Error::NoGpu { .. }) => continue,
                    Err(error) if is_of_the_way(&error, false) => continue,
                    Err(error) => return Err(error),
                },
            };
            let (variant, key) = (variants::in_words(&gpu, &way), key(&gpu, &way, self.checkpoint, self.load));
            if tried.verdicts.iter().any(|v| v.key == key) {
                continue;
            }
            let mut verdict = Verdict { key, variant, failed: None, is_wrong: false, seconds: None };
            let known = self.outcomes.get(&verdict.key).cloned();
            if let Some(Some(reason)) = known {
                (verdict.failed, verdict.is_wrong) = (Some(reason), true);
            } else {
                loads += 1;
                let unknown = known.is_none() && Target::of(&gpu, self.load.kv).needs_self_check();
                match self.judge(&gpu, unknown, &mut verdict).await {
                    Ok(engine) => tried.engine = verdict.failed.is_none().then_some(engine),
                    Err(error) if is_of_the_way(&error, loads == 1) => {
                        verdict.failed = Some(error.to_string());
                        tried.refused = tried.refused.or(Some(error));
                    }
                    Err(error) => return Err(error),
                }
            }
            (self.on_verdict)(&verdict);
            tried.verdicts.push(verdict);
            if tried.engine.is_some() {
                break;
            }
        }
        Ok(tried)
    }

    /// The device for the next way. The processor says why it is left.
    async fn open(&self, way: &GpuOptions, verdicts: &[Verdict]) -> Result<Gpu> {
        if way.device != DeviceKind::Cpu {
            return Gpu::open(self.access, way).await;
        }
        let is_wrong = verdicts.iter().any(|verdict| verdict.is_wrong);
        let why = if is_wrong { "the GPU computes wrong results" } else { "the GPU cannot run the model" };
        let first = verdicts.iter().find(|verdict| verdict.is_wrong == is_wrong);
        let detail = first.and_then(|verdict| verdict.failed.as_deref()).map(|failed| format!(": {failed}"));
        Gpu::processor(way, Some(format!("{why}{}", detail.unwrap_or_default())))
    }

    /// Loads the model and, where its outcome is `unknown`, looks at it. What that reads of the
    /// checkpoint is kept while it is loaded: it is some megabytes, and to fetch it again, piece by
    /// piece, takes a browser longer than all the rest.
    async fn judge(&mut self, gpu: &Gpu, unknown: bool, verdict: &mut Verdict) -> Result<Rc<Engine>> {
        let checkpoint = self.checkpoint;
        checkpoint.forget();
        if unknown {
            let ids = spread_ids(checkpoint.config.vocab_size, MOST_IDS);
            samples::remember(checkpoint, &stages::representatives(checkpoint), &ids);
        }
        let engine = Engine::load(gpu, checkpoint, self.load, self.progress).await?;
        if unknown {
            let start = Instant::now();
            verdict.failed = self_check(&engine, checkpoint).await?;
            verdict.is_wrong = verdict.failed.is_some();
            verdict.seconds = Some(Instant::now().since(start));
            self.outcomes.insert(verdict.key.clone(), verdict.failed.clone());
        }
        Ok(engine)
    }
}

/// Gives back the memory of what a checkpoint remembers.
struct Forgets<'a>(&'a Checkpoint);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// Whether another way may do what this one could not: a driver that refuses one kernel, or falls
/// over it, may take another. It may also take it next time, so this is not kept. Where the first
/// model that is loaded takes too much memory, that is what the caller should hear.
fn is_of_the_way(error: &Error, first: bool) -> bool {
    match error {
        Error::Gpu { .. } | Error::DeviceLost { .. } => true,
        Error::OutOfMemory { .. } => !first,
        _ => false,
    }
}

/// To be raised when the self-check finds more than before, or when what runs the kernels changes.
const CHECK: u32 = 2;

/// What an outcome is kept under. Pipelines follow from their sources, the device, the way it is
/// driven, and the sizes and formats of the model.
fn key(gpu: &Gpu, way: &GpuOptions, checkpoint: &Checkpoint, load: &LoadOptions) -> String {
    let mut layout = Sha256::new();
    layout.update(CHECK.to_le_bytes());
    let formats = source_formats(checkpoint.tensors().map(|tensor| tensor.format));
    for kernel in KERNELS {
        let source = kernel.source(gpu.reduction(), load.kv, formats, false);
        layout.update(match way.altering() {
            Some(alter) => alter(kernel.name, source),
            None => source,
        });
    }
    layout.update(format!("{:?} {:?} {:?} {:?}", checkpoint.config, load.kv, load.chunk, load.logit_rows));
    for tensor in checkpoint.tensors() {
        layout.update(format!("{} {:?} {}\n", tensor.name, tensor.shape, tensor.format));
    }
    let layout: String = layout.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{} | {} | {} | {layout}", env!("CARGO_PKG_VERSION"), gpu.identity(), variants::in_words(gpu, way))
}

/// Compares the pipelines of a loaded model with the CPU; the first thing that is wrong, in words,
/// or `None`.
///
/// # Errors
/// What the checkpoint or the device say.
pub async fn self_check(engine: &Rc<Engine>, checkpoint: &Checkpoint) -> Result<Option<String>> {
    let mut session = Session::new(engine)?;
    // The twin has the base's weights.
    session.set_adapters(&[]).await?;
    let outcome = match compare(&mut session, checkpoint).await {
        Err(error @ Error::NotFinite { .. }) => Some(error.to_string()),
        Err(error) => return Err(error),
        Ok(first) => first.map(|c| c.describe()),
    };
    Ok(outcome)
}

/// Tokens that all layers read, at once and one by one. Few: a tile costs as much as all of decode,
/// however full it is, and full ones are looked at in some layers.
const FEW: usize = 3;

/// Tokens of all steps together are no more than this.
const MOST_IDS: u32 = 70;

/// Tokens of each step, as far as the context has room for them.
fn steps(session: &Session) -> Vec<u32> {
    let model = session.engine().model();
    let mut left = model.context_length();
    let mut steps = Vec::new();
    for tokens in model.target().self_check_steps().map(|tokens| tokens.min(model.chunk())) {
        // In a context of a few tokens a shorter prompt, so that one of each kind is left.
        let tokens = if steps.is_empty() { tokens.min(left.saturating_sub(3).max(1)) } else { tokens };
        if tokens <= left {
            steps.push(tokens);
            left -= tokens;
        }
    }
    steps
}

async fn compare(session: &mut Session, checkpoint: &Checkpoint) -> Result<Option<Comparison>> {
    let steps = steps(session);
    let total: u32 = steps.iter().sum();
    let ids = spread_ids(checkpoint.config.vocab_size, total);
    let mut rest = ids.as_slice();
    let parts: Vec<&[u32]> = steps.iter().filter_map(|tokens| rest.split_off(..*tokens as usize)).collect();

    // Far enough into the context that decode puts more than two splits of it together, and
    // attention goes on over many blocks.
    let context = session.engine().model().context_length();
    let start = if context >= 260 { 260u32.saturating_sub(total) } else { 0 };
    session.start_at(start)?;
    let mut stages = Stages::new(session.engine(), checkpoint, start).await?;
    let mut submitted = Vec::new();
    for part in &parts {
        submitted.push(stages.submit(session, part).await?);
    }
    // All of it is on its way before anything is waited for: the device goes on while the CPU
    // compares.
    let few = ids.len().min(FEW).min(session.engine().model().chunk() as usize);
    let all = AllLayers::submit(session, &ids[..few])?;
    // Of a trained model's size.
    let logits = spread_logits(session.engine().config().vocab_size);
    let options =
        SamplingOptions { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.02, ..SamplingOptions::default() };
    let samples = session.decoder().submit_samples(&logits, &options, None)?;
    for step in submitted {
        if let Some(first) = stages.compare(step).await? {
            return Ok(Some(first));
        }
    }
    let both = all.compare(session).await?;
    if !both.is_close() {
        return Ok(Some(both));
    }
    let wrong = samples.first_mismatch(session.decoder()).await?;
    Ok(wrong.map(|wrong| {
        let stage = if wrong.is_greedy { "sample, the likeliest token" } else { "sample, a token at a temperature" };
        Comparison::of(stage, 1, &[wrong.found as f32], &[wrong.expected as f32])
    }))
}

/// Every row of every layer: kernels for many tokens against kernels for one.
struct AllLayers {
    tokens: u32,
    /// Of the last tokens, since one row of logits has kernels of its own.
    at_once: Reading,
    one_by_one: Reading,
    /// The last one's context in more splits than it is long enough for, so that attention over
    /// long ones is looked at.
    in_splits: Option<Reading>,
}

impl AllLayers {
    /// Reads a prompt at once, and then one by one.
    fn submit(session: &mut Session, ids: &[u32]) -> Result<Self> {
        session.reset();
        let rows = session.engine().model().logit_rows().min(ids.len() as u32).min(2);
        session.step(ids, rows)?;
        let at_once = session.decoder().reading_of_logits(rows);
        session.reset();
        for id in ids {
            session.step(&[*id], 1)?;
        }
        let one_by_one = session.decoder().reading_of_logits(1);
        session.reset();
        let in_splits = match ids {
            [before @ .., last] if session.engine().model().has_long_attention() => {
                for id in before {
                    session.step(&[*id], 1)?;
                }
                session.step_in_splits(*last, SHORT_SPLITS + 1)?;
                let reading = session.decoder().reading_of_logits(1);
                session.reset();
                Some(reading)
            }
            _ => None,
        };
        Ok(Self { tokens: ids.len() as u32, at_once, one_by_one, in_splits })
    }

    async fn compare(self, session: &Session) -> Result<Comparison> {
        let model = session.engine().model();
        let at_once = model.gpu().arrive_once::<f32>(self.at_once).await?;
        let one_by_one = model.gpu().arrive_once::<f32>(self.one_by_one).await?;
        let at_once = &at_once[at_once.len() - one_by_one.len()..];
        let tolerance = model.target().tolerance_between_kernels();
        let both = Comparison::of("a prompt at once and one by one, logits", self.tokens, at_once, &one_by_one);
        let both = Comparison { tolerance, ..both };
        let Some(in_splits) = self.in_splits.filter(|_| both.is_close()) else { return Ok(both) };
        let in_splits = model.gpu().arrive_once::<f32>(in_splits).await?;
        let splits = Comparison::of("attention over a long context, logits", 1, &in_splits, &one_by_one);
        Ok(Comparison { tolerance, ..splits })
    }
}
