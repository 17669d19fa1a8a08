//! What several commands share: opening a model, loading it on the GPU, sampling flags, lists of
//! ids.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use peregrine::Error;
use peregrine::checkpoint::hub::HubId;
use peregrine::checkpoint::{Checkpoint, Container};
use peregrine::gpu::{Access, DeviceKind, Gpu, GpuOptions};
use peregrine::model::KvType;
use peregrine::model::{LoadOptions, Progress};
use peregrine::options::ModelOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::selfcheck::{self, Verdict};
use peregrine::session::Engine;
use pollster::block_on;

use crate::failure::{Failure, Outcome};
use crate::lora::LoraArgs;
use crate::terminal::{line, note};
use crate::{hub, self_checks};

/// Where and how to run: with `LoadOptions`, also the flags of conversations.
#[derive(clap::Args)]
pub struct GpuArgs<L: clap::Args + AsRef<LoadOptions> = ModelOptions> {
    #[command(flatten)]
    gpu: GpuOptions,
    #[command(flatten)]
    load: L,
    /// Multiply the logits by X, which a GGUF file of a model with tied embeddings cannot say
    /// itself
    #[arg(long, value_name = "X", value_parser = finite)]
    logit_scale: Option<f32>,
    /// Beside the model.
    #[command(flatten)]
    pub lora: LoraArgs,
}

/// GPUs that are lost one after the other, with no answer between them, before the processor is
/// asked instead.
pub const MOST_LOSSES: u32 = 2;

fn finite(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().map_err(|error| error.to_string())?;
    if number.is_finite() && number > 0.0 { Ok(number) } else { Err("a finite number above 0 is needed".into()) }
}

impl<L: clap::Args + AsRef<LoadOptions>> GpuArgs<L> {
    /// Opens a model: reads its header, no weights.
    pub fn open(&self, model: &str) -> Outcome<Checkpoint> {
        let mut checkpoint = open(model)?;
        checkpoint.config.lm_head_multiplier *= self.logit_scale.unwrap_or(1.0);
        Ok(checkpoint)
    }

    /// What the flags say of loading; the rest is the command's.
    pub fn options(&self) -> LoadOptions {
        self.load.as_ref().clone()
    }

    /// The type of keys and values that was asked for, or the default.
    pub fn kv(&self) -> KvType {
        self.load.as_ref().kv
    }

    /// The device.
    pub fn device(&self) -> Outcome<Gpu> {
        block_on(Gpu::new(&self.gpu)).map_err(without_gpu)
    }

    /// The checkpoint on its device, with a progress bar on a terminal: driven in the best way that
    /// passes the self-check.
    pub fn load(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Outcome<Rc<Engine>> {
        self.load_with(&self.gpu, checkpoint, options)
    }

    /// The same after so many GPUs were lost in a row: from [`MOST_LOSSES`] on, on the processor,
    /// unless the flags name a GPU.
    pub fn load_after(&self, losses: u32, checkpoint: &Checkpoint, options: &LoadOptions) -> Outcome<Rc<Engine>> {
        if losses < MOST_LOSSES || !self.gpu.takes_processor() {
            return self.load(checkpoint, options);
        }
        note("the processor answers from here on, since the GPU is lost again and again");
        self.load_with(&GpuOptions { device: DeviceKind::Cpu, ..self.gpu.clone() }, checkpoint, options)
    }

    fn load_with(&self, gpu: &GpuOptions, checkpoint: &Checkpoint, options: &LoadOptions) -> Outcome<Rc<Engine>> {
        let mut outcomes = self_checks::read();
        let before = outcomes.clone();
        let engine = self.with_bar(checkpoint, options, |options, report| {
            let mut tell = |verdict: &Verdict| {
                if let Some(reason) = &verdict.failed {
                    let why = if verdict.is_wrong { ", since it computes wrong results here" } else { "" };
                    note(&format!("{} is not used{why}: {reason}", verdict.variant));
                }
            };
            let access = Access::new();
            let loading = selfcheck::load(&access, gpu, checkpoint, options, &mut outcomes, report, &mut tell);
            block_on(loading).map(|checked| checked.engine)
        });
        if outcomes != before {
            self_checks::write(&outcomes);
        }
        engine
    }

    /// The same on a device that is open, and as it is: for benchmarks.
    pub fn load_on(&self, gpu: &Gpu, checkpoint: &Checkpoint, options: &LoadOptions) -> Outcome<Rc<Engine>> {
        self.with_bar(checkpoint, options, |options, report| block_on(Engine::load(gpu, checkpoint, options, report)))
    }

    fn with_bar(
        &self,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        load: impl FnOnce(&LoadOptions, &mut dyn FnMut(Progress)) -> Result<Rc<Engine>, Error>,
    ) -> Outcome<Rc<Engine>> {
        let bar = bytes_bar("loading");
        let mut report = |progress| match progress {
            Progress::Upload { done, total } => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Progress::Compile { .. } => bar.set_message("compiling shaders"),
        };
        let engine = load(options, &mut report);
        bar.finish_and_clear();
        let engine = engine.map_err(without_gpu)?;
        self.lora.apply(&engine)?;
        for warning in engine.warnings() {
            note(&format!("warning: {warning}"));
        }
        let (context, wanted) = (engine.model().context_length(), checkpoint.config.max_position_embeddings);
        if context < options.context_length.unwrap_or(wanted) {
            // Not an error: a shorter conversation is possible.
            note(&format!("the context has {context} tokens: more does not fit, or is not in the model"));
        }
        Ok(engine)
    }
}

/// The device, and why it is that one where nobody asked for it.
pub fn device_in_words(gpu: &Gpu) -> String {
    match gpu.why() {
        Some(why) => format!("{}, since {why}", gpu.name()),
        None => gpu.name().into(),
    }
}

/// What to do where there is no GPU, or none that is right.
pub fn without_gpu(error: Error) -> Failure {
    match error {
        Error::NoGpu { .. } | Error::SelfCheck { .. } => {
            Failure::run(format!("{error}; --device cpu runs the model on the processor"))
        }
        error => error.into(),
    }
}

/// A bar over bytes; it shows on terminals only.
pub fn bytes_bar(message: impl Into<Cow<'static, str>>) -> ProgressBar {
    let message: Cow<'static, str> = message.into();
    let bar = ProgressBar::new(0).with_message(line(&message).into_owned());
    let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// How tokens are sampled.
#[derive(clap::Args)]
pub struct SamplingArgs {
    /// 0 always takes the likeliest token
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Sample from the K likeliest tokens only (0: off)
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,
    /// Sample from the likeliest tokens that together reach probability P (1: off)
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Sample from tokens at least P times as likely as the likeliest (0: off)
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Divide the logits of recent tokens by X (1: off)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    repetition_penalty: Option<f32>,
    /// Take X off the logit of every token that the answer has already (0: off)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Take X off a token's logit for each time that the answer has it already (0: off)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// The same seed gives the same text; -1 gives another every time
    #[arg(long, value_name = "N", value_parser = seed)]
    seed: Option<u64>,
}

/// A seed, or -1 for one that nobody knows before.
fn seed(text: &str) -> Result<u64, String> {
    use std::hash::{BuildHasher, Hasher};
    if text == "-1" {
        return Ok(std::collections::hash_map::RandomState::new().build_hasher().finish());
    }
    text.parse().map_err(|_| "a whole number is needed, or -1 for another every time".into())
}

impl SamplingArgs {
    /// The options, checked; `defaults` for what was not given.
    pub fn options(&self, defaults: SamplingOptions) -> Outcome<SamplingOptions> {
        let options = SamplingOptions {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            seed: self.seed.unwrap_or(defaults.seed),
            ..defaults
        };
        options.validate()?;
        Ok(options)
    }
}

/// Opens a model: reads its header, no weights. A path on this disk comes before an id of the hub,
/// whose files are fetched.
pub fn open(model: &str) -> Outcome<Checkpoint> {
    let id = HubId::parse(model).filter(|_| !Path::new(model).exists());
    let Some(id) = id else {
        let is_address = model.starts_with("http://") || model.starts_with("https://");
        return if is_address { hub::open_address(model) } else { Ok(block_on(Checkpoint::open(model))?) };
    };
    let path = hub::fetch(&id)?;
    let text = path.to_str().ok_or_else(|| Failure::input(format!("{}: the path is not UTF-8", path.display())))?;
    let mut checkpoint = block_on(Checkpoint::open(text))?;
    // A folder of the cache is called like its commit.
    if checkpoint.container == Container::Safetensors && path.ends_with(&checkpoint.name) {
        checkpoint.name = id.repo.rsplit('/').next().unwrap_or(&id.repo).into();
    }
    Ok(checkpoint)
}

/// A text file, or standard input for `-`.
pub fn read_text(path: &str) -> Outcome<String> {
    let mut bytes = Vec::new();
    let read = match path {
        "-" => std::io::stdin().lock().read_to_end(&mut bytes),
        path => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| Failure::input(format!("{path}: {error}")))?;
    String::from_utf8(bytes).map_err(|error| Failure::input(format!("{path}: not UTF-8: {error}")))
}

/// Token ids of a vocabulary of `vocab_size`, from a file: integers separated by white space.
pub fn read_ids(path: &str, vocab_size: u32) -> Outcome<Vec<u32>> {
    let text = read_text(path)?;
    let mut ids = Vec::new();
    for word in text.split_whitespace() {
        let id = word.parse().map_err(|_| {
            let short: String = word.chars().take(40).collect();
            Failure::input(format!("{path}: {short:?} is not a token id"))
        })?;
        if id >= vocab_size {
            let error = Error::TokenOutOfRange { token: id, vocab_size };
            return Err(Failure::input(format!("{path}: {error}")));
        }
        ids.push(id);
    }
    match ids.is_empty() {
        true => Err(Failure::input(format!("{path}: no token ids"))),
        false => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;

    /// A field without `arg` would be an argument by its place.
    #[test]
    fn every_option_is_a_flag_or_none() {
        let command = GpuArgs::<LoadOptions>::augment_args(Command::new("peregrine"));
        let flags: Vec<_> = command.get_arguments().map(|arg| (arg.is_positional(), arg.get_long())).collect();
        assert!(flags.iter().all(|(positional, long)| !positional && long.is_some()), "{flags:?}");
        for known in ["adapter", "baseline", "cooperative", "kv", "context", "memory-budget", "logit-scale", "lora"] {
            assert!(flags.iter().any(|(_, long)| *long == Some(known)), "--{known}");
        }
    }
}
