//! `chat`: a conversation on the terminal, or line by line from a pipe.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use peregrine::chat::Message;
use peregrine::checkpoint::FileSource;
use peregrine::model::LoadOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{Finish, GenerateOptions, Generated, Overflow, Session};
use pollster::block_on;
use rustyline::error::ReadlineError;

use crate::common::{GpuArgs, SamplingArgs, bytes};
use crate::failure::{Failure, Outcome};
use crate::state;

const HELP: &str = "/reset  begin a new conversation\n/quit   end (or Ctrl-D)\n/help   this\nCtrl-C  stop an answer";

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_tokens: u32,
    /// Most tokens of the conversation
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// Leave out the oldest turns when the context is full, also in the middle of an answer
    #[arg(long)]
    drop_oldest: bool,
    /// Most bytes on the GPU for places to go back to, as in 1GB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    snapshots: Option<u64>,
    /// Bytes of this machine's memory for those that the GPU has no more room for (1GiB)
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    host_snapshots: Option<u64>,
    /// Go on with the conversation in this file, if there is one, and keep it there at the end
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    gpu: GpuArgs,
}

pub fn run(args: &Args) -> Outcome {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let defaults = SamplingOptions { seed: now.map_or(0, |now| now.as_secs()), ..SamplingOptions::default() };
    let sampling = args.sampling.options(defaults)?;
    let checkpoint = args.gpu.open(&args.model)?;
    if checkpoint.chat_template.is_none() {
        let message = "has no chat template, so it is not a chat model; `generate` continues texts";
        return Err(Failure::input(format!("{}: {message}", args.model)));
    }
    let interrupt = Arc::new(Interrupt::default());
    let handler = interrupt.clone();
    ctrlc::set_handler(move || handler.pressed())
        .map_err(|error| Failure::run(format!("Ctrl-C cannot be caught: {error}")))?;

    let engine = args.gpu.load(&checkpoint, &LoadOptions { context_length: args.context, ..LoadOptions::default() })?;
    let asked = interrupt.clone();
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampling,
        overflow: if args.drop_oldest { Overflow::DropOldest } else { Overflow::Error },
        cancel: Some(Rc::new(move || asked.stop.load(Ordering::Relaxed))),
        ..GenerateOptions::default()
    };
    let mut conversation = Conversation {
        session: Session::new(&engine)?,
        system: args.system.as_ref().map(|text| Message::new("system", text)),
        messages: Vec::new(),
        options,
        interrupt,
    };
    conversation.reset();
    if let Some(bytes) = args.host_snapshots {
        conversation.session.set_snapshot_host_budget(bytes);
    }
    if let Some(bytes) = args.snapshots {
        conversation.session.set_snapshot_budget(bytes);
    }
    if let Some(path) = args.state.as_deref().filter(|path| path.exists()) {
        conversation.restore(path)?;
    }
    let mut input = Input::new()?;
    if input.interactive() {
        note(&format!("{} on {}. /help lists the commands.", args.model, engine.gpu_name()));
    }
    while let Some(line) = input.line()? {
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => break,
            "/help" => note(HELP),
            "/reset" => conversation.reset(),
            line if line.starts_with('/') && !line.contains(' ') && input.interactive() => {
                note(&format!("{line} is no command; /help lists them"));
            }
            line => match conversation.answer(line) {
                // At a terminal a turn that fails (too long, say) does not end the conversation.
                Err(Failure::Input(message)) if input.interactive() => note(&message),
                result => result?,
            },
        }
    }
    args.state.as_deref().map_or(Ok(()), |path| conversation.save(path))
}

/// What Ctrl-C means: during an answer its end, otherwise the program's.
#[derive(Default)]
struct Interrupt {
    answering: AtomicBool,
    stop: AtomicBool,
}

impl Interrupt {
    fn begin(&self) {
        self.stop.store(false, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
    }

    fn end(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }

    fn pressed(&self) {
        // Twice during one answer: it does not end, and the user means it.
        if !self.answering.load(Ordering::Relaxed) || self.stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    }
}

struct Conversation {
    session: Session,
    system: Option<Message>,
    messages: Vec<Message>,
    options: GenerateOptions,
    interrupt: Arc<Interrupt>,
}

impl Conversation {
    fn reset(&mut self) {
        self.session.reset();
        self.messages = self.system.iter().cloned().collect();
    }

    /// Goes on with a conversation from a file; the file of a prompt, as `prefill` makes it, has no turns yet.
    fn restore(&mut self, path: &Path) -> Outcome {
        let name = path.display().to_string();
        block_on(self.session.restore(&FileSource::open(path)?))?;
        let Some(text) = self.session.note() else { return Ok(()) };
        self.messages = serde_json::from_str(text)
            .map_err(|error| Failure::input(format!("{name}: it is no conversation that `chat` has kept: {error}")))?;
        let system = self.messages.iter().find(|message| message.role == "system");
        if self.system.is_some() && self.system.as_ref() != system {
            note("the conversation has another system text, and keeps it; /reset begins anew");
        }
        let turns = self.messages.iter().filter(|message| message.role == "user").count();
        note(&format!("{name}: {turns} turns, {} tokens read before", self.session.position()));
        Ok(())
    }

    fn save(&mut self, path: &Path) -> Outcome {
        let messages = serde_json::to_string(&self.messages).map_err(|error| Failure::run(error.to_string()))?;
        self.session.set_note(Some(messages));
        state::write(&mut self.session, path)
    }

    fn answer(&mut self, question: &str) -> Outcome {
        self.interrupt.begin();
        self.messages.push(Message::new("user", question));
        let mut out = std::io::stdout().lock();
        let mut written = Ok(());
        let mut told = 0;
        let answered = block_on(self.session.chat(&self.messages, &self.options, &mut |piece| {
            told += piece.text.len();
            written = write!(out, "{}", piece.text).and_then(|()| out.flush());
            written.is_ok()
        }));
        self.interrupt.end();
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                // As if the question had not been asked.
                self.messages.pop();
                return Err(error.into());
            }
        };
        written?;
        writeln!(out, "{}", &answer.text[told..])?;
        note(&statistics(&answer));
        match answer.text.is_empty() && answer.finish == Finish::Cancelled {
            true => drop(self.messages.pop()),
            false => self.messages.push(Message::new("assistant", &answer.text)),
        }
        // Each answer has draws of its own.
        self.options.sampling.seed = self.options.sampling.seed.wrapping_add(1);
        Ok(())
    }
}

fn statistics(answer: &Generated) -> String {
    let speed = answer.tokens_per_second().map(|s| format!(", {s:.1} tokens/s")).unwrap_or_default();
    let dropped = match answer.dropped_messages {
        0 => String::new(),
        count => format!("; the {count} oldest messages were left out"),
    };
    let why = match answer.finish {
        Finish::Stop => "",
        Finish::Length => "; stopped at --max-tokens",
        Finish::Context => "; the context is full, /reset begins anew",
        Finish::Cancelled => "; stopped",
    };
    format!(
        "[{} tokens{speed}, the first after {:.2} s; {} of {} prompt tokens were read before{dropped}{why}]",
        answer.ids.len(),
        answer.prefill_seconds,
        answer.cached_tokens,
        answer.prompt_tokens,
    )
}

/// For people, beside the answers on stdout.
fn note(text: &str) {
    let mut err = std::io::stderr();
    let dim = err.is_terminal();
    let (on, off) = if dim { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    // Without stderr there is nobody to tell.
    let _ = writeln!(err, "{on}{text}{off}");
}

/// Lines from a terminal with editing and history, or from a pipe.
enum Input {
    Terminal(Box<rustyline::DefaultEditor>),
    Pipe,
}

impl Input {
    fn new() -> Outcome<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        match rustyline::DefaultEditor::new() {
            Ok(editor) => Ok(Self::Terminal(Box::new(editor))),
            Err(error) => Err(Failure::run(format!("terminal: {error}"))),
        }
    }

    fn interactive(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next line, `None` at the end.
    fn line(&mut self) -> Outcome<Option<String>> {
        let editor = match self {
            Self::Terminal(editor) => editor,
            Self::Pipe => {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_until(b'\n', &mut bytes);
                let read = read.map_err(|error| Failure::input(format!("standard input: {error}")))?;
                return Ok((read > 0).then(|| String::from_utf8_lossy(&bytes).into_owned()));
            }
        };
        loop {
            match editor.readline("> ") {
                Ok(line) => {
                    // A line that cannot be remembered is still a line.
                    let _ = editor.add_history_entry(&line);
                    return Ok(Some(line));
                }
                Err(ReadlineError::Interrupted) => note("Ctrl-D or /quit ends"),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(Failure::run(format!("terminal: {error}"))),
            }
        }
    }
}
