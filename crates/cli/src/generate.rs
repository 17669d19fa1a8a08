//! `generate`: continues a text, without any chat template; freely, or by a schema, an expression
//! or a grammar.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use peregrine::Error;
use peregrine::checkpoint::FileSource;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{Engine, Finish, GenerateOptions, Generated, Session};
use pollster::block_on;
use serde_json::json;

use crate::common::{GpuArgs, SamplingArgs, read_ids, read_text};
use crate::failure::Outcome;
use crate::format::FormatArgs;
use crate::lost::load_again;
use crate::terminal;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("input").required(true).args(["prompt", "prompt_file", "ids"])))]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// The text to continue; control tokens in it are recognized
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// The text from a file, UTF-8, as it is; - for standard input. An argument has at most 128 KiB
    /// on Linux, a file any length
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<String>,
    /// Token ids instead, taken as they are: integers separated by white space; - for standard
    /// input
    #[arg(long, value_name = "FILE")]
    ids: Option<String>,
    /// Most tokens to make
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: u32,
    /// Go on after an end token
    #[arg(long)]
    ignore_end: bool,
    /// Go on from a state that `prefill` has made; the prompt, if there is one, comes after it
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// End the answer before this text (may be given several times)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// One JSON object instead of a stream of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    gpu: GpuArgs,
}

pub fn run(args: &Args) -> Outcome {
    let sampling = args.sampling.options(SamplingOptions { top_p: 1.0, ..SamplingOptions::default() })?;
    let prompt = args.prompt_file.as_deref().map(read_text).transpose()?.or_else(|| args.prompt.clone());
    let format = args.format.read()?;
    let checkpoint = args.gpu.open(&args.model)?;
    let vocab_size = checkpoint.config.vocab_size;
    let given = args.ids.as_deref().map(|path| read_ids(path, vocab_size)).transpose()?;
    let load = args.gpu.options();
    let reload = |losses| args.gpu.load_after(losses, &checkpoint, &load);
    let engine = reload(0)?;
    let grammar = format.map(|format| format.compile(&engine)).transpose()?;
    let ids = match (given, &prompt) {
        (Some(ids), _) => ids,
        (None, prompt) => {
            let tokenizer = engine.tokenizer();
            let begins = args.state.is_none() && tokenizer.add_bos();
            tokenizer.encode(prompt.as_deref().unwrap_or_default(), begins)?
        }
    };
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampling,
        ignore_end: args.ignore_end,
        stop: args.stop.clone(),
        grammar,
        ..GenerateOptions::default()
    };
    let asked = Asked { state: args.state.as_deref(), ids, options };
    let mut out = terminal::stdout();
    if args.json {
        let answered = asked.answer(engine, &reload, &mut Told::new(&mut std::io::sink()))?;
        writeln!(out, "{}", terminal::json(&answered.describe()))?;
    } else {
        asked.answer(engine, &reload, &mut Told::new(&mut out))?;
        writeln!(out)?;
    }
    Ok(())
}

/// What is to be continued, and how.
struct Asked<'a> {
    state: Option<&'a Path>,
    ids: Vec<u32>,
    options: GenerateOptions,
}

impl Asked<'_> {
    /// The answer, told as it comes. Where the device is lost in it, `reload` loads the model
    /// again.
    fn answer(
        &self,
        mut engine: Rc<Engine>,
        reload: &dyn Fn(u32) -> Outcome<Rc<Engine>>,
        told: &mut Told<'_>,
    ) -> Outcome<Answered> {
        let mut losses = 0;
        loop {
            match self.attempt(engine, told) {
                Err(error @ Error::DeviceLost { .. }) => {
                    losses += 1;
                    engine = load_again(losses, &error, reload)?;
                }
                answered => {
                    let answered = answered?;
                    std::mem::replace(&mut told.written, Ok(()))?;
                    return Ok(answered);
                }
            }
        }
    }

    fn attempt(&self, engine: Rc<Engine>, told: &mut Told<'_>) -> Result<Answered, Error> {
        let mut session = Session::new(&engine)?;
        let start = std::time::Instant::now();
        if let Some(path) = self.state {
            block_on(session.restore(&FileSource::open(path)?))?;
        }
        block_on(session.prefill(&self.ids))?;
        let prefill_seconds = start.elapsed().as_secs_f64();
        let mut text = String::new();
        let answer = block_on(session.generate(&self.options, &mut |piece| {
            text.push_str(&piece.text);
            told.tell(&text)
        }))?;
        told.finish(&answer.text);
        Ok(Answered {
            prefill_seconds: prefill_seconds + answer.prefill_seconds,
            adapter: engine.gpu_name().into(),
            answer,
        })
    }
}

/// What has been written of an answer.
struct Told<'a> {
    out: &'a mut dyn Write,
    printed: String,
    written: std::io::Result<()>,
}

impl<'a> Told<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self { out, printed: String::new(), written: Ok(()) }
    }

    /// Writes what is new of the answer so far, and whether that went well. One that begins anew
    /// says the same again, which is not written twice; on another device it may say something
    /// else, and then stands on a line of its own.
    fn tell(&mut self, text: &str) -> bool {
        if self.written.is_ok() && !self.printed.starts_with(text) {
            let written = match text.strip_prefix(self.printed.as_str()) {
                Some(new) => write!(self.out, "{new}"),
                None => write!(self.out, "\n{text}"),
            };
            self.written = written.and_then(|()| self.out.flush());
            self.printed = text.into();
        }
        self.written.is_ok()
    }

    /// The whole answer, which may be the beginning of what another device has said.
    fn finish(&mut self, text: &str) {
        self.tell(text);
        if self.written.is_ok() && self.printed != text {
            self.written = write!(self.out, "\n{text}").and_then(|()| self.out.flush());
            self.printed = text.into();
        }
    }
}

/// An answer, and what it took.
struct Answered {
    answer: Generated,
    prefill_seconds: f64,
    adapter: String,
}

impl Answered {
    fn describe(&self) -> serde_json::Value {
        let answer = &self.answer;
        json!({
            "text": answer.text,
            "ids": answer.ids,
            "finish": finish(answer.finish),
            "prompt_tokens": answer.prompt_tokens,
            "prefill_seconds": self.prefill_seconds,
            "decode_seconds": answer.decode_seconds,
            "tokens_per_second": answer.tokens_per_second(),
            "adapter": self.adapter,
        })
    }
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Context => "context",
        Finish::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests;
