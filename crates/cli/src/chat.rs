//! `chat`: a conversation on the terminal, or line by line from a pipe.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use peregrine::Error;
use peregrine::LoadOptions;
use peregrine::chat::Message;
use peregrine::checkpoint::FileSource;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{Engine, Finish, GenerateOptions, Generated, Overflow, Session, Unread, expected_speed};
use pollster::block_on;

use crate::common::{GpuArgs, SamplingArgs, device_in_words, read_text};
use crate::failure::{Failure, Outcome};
use crate::input::{Event, Input};
use crate::lost::load_again;
use crate::signals::{self, Signal};
use crate::state::{self, SavedAs};
use crate::terminal::{self, line, note};

const HELP: &str = "/reset  begin a new conversation\n/quit   end (or Ctrl-D)\n/help   this\nCtrl-C  stop an answer";

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// What the model is told before the conversation
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system: Option<String>,
    /// The same from a file, UTF-8, as it is
    #[arg(long, value_name = "FILE", conflicts_with = "system")]
    system_file: Option<String>,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_tokens: u32,
    /// Leave out the oldest turns when the context is full, also in the middle of an answer
    #[arg(long)]
    drop_oldest: bool,
    /// Go on with the conversation in this file, if there is one, and keep it there at the end
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    gpu: GpuArgs<LoadOptions>,
}

pub fn run(args: &Args) -> Outcome {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let defaults = SamplingOptions { seed: now.map_or(0, |now| now.as_secs()), ..SamplingOptions::default() };
    let sampling = args.sampling.options(defaults)?;
    let system = args.system_file.as_deref().map(read_text).transpose()?.or_else(|| args.system.clone());
    let checkpoint = args.gpu.open(&args.model)?;
    if checkpoint.chat_template.is_none() {
        let message = "has no chat template, so it is not a chat model; `generate` continues texts";
        return Err(Failure::input(format!("{}: {message}", args.model)));
    }
    if let Some(path) = &args.state {
        // It would be too late at the end.
        state::check(path)?;
    }
    let interrupt = Arc::new(Interrupt::default());
    let (gpu, load) = (&args.gpu, args.gpu.options());
    let reload = |losses| gpu.load_after(losses, &checkpoint, &load);
    let engine = reload(0)?;
    let asked = interrupt.clone();
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampling,
        overflow: if args.drop_oldest { Overflow::DropOldest } else { Overflow::Error },
        cancel: Some(Rc::new(move || asked.stops())),
        ..GenerateOptions::default()
    };
    let session = Session::new(&engine)?;
    let mut conversation = Conversation {
        unread: session.unread(),
        session: Some(session),
        system: system.map(|text| Message::new("system", &text)),
        messages: Vec::new(),
        options,
        interrupt,
        reload: &reload,
        losses: 0,
    };
    // Where its device is lost, nothing else holds it.
    let device = device_in_words(engine.model().gpu());
    let input = Input::new();
    // No number is worth the talk.
    let speed = if input.interactive() { expected_speed_in_words(&engine).unwrap_or_default() } else { String::new() };
    drop(engine);
    conversation.reset();
    if let Some(path) = args.state.as_deref().filter(|path| path.exists()) {
        conversation.restore(path)?;
    }
    let (handler, events) = (conversation.interrupt.clone(), input.sender());
    signals::on(move |signal| handler.receive(signal, &events));
    if input.interactive() {
        note(&format!("{} on {}{speed}. /help lists the commands.", args.model, line(&device)));
    }
    // Whatever ends the talk, it is kept; a fault of this program included.
    let talked = catch_unwind(AssertUnwindSafe(|| talk(&mut conversation, &input)));
    drop(input);
    let kept = args.state.as_deref().map_or(Ok(()), |path| conversation.save(path));
    match (talked.unwrap_or_else(|panic| resume_unwind(panic)), kept) {
        (talked, Ok(())) => talked,
        (Ok(()) | Err(Failure::ClosedPipe | Failure::Signal(_)), kept) => kept,
        (Err(failure), Err(kept)) => Err(failure.with(&format!("; {}", kept.message()))),
    }
}

fn talk(conversation: &mut Conversation<'_>, input: &Input) -> Outcome {
    loop {
        if let Some(signal) = conversation.interrupt.ended() {
            return Err(Failure::Signal(signal));
        }
        let line = match input.next() {
            Event::Signal(signal) => return Err(Failure::Signal(signal)),
            Event::Line(line) => match line? {
                Some(line) => line,
                None => return Ok(()),
            },
        };
        match line.trim() {
            "" => {}
            "/quit" | "/exit" => return Ok(()),
            "/help" => note(HELP),
            "/reset" => conversation.reset(),
            command if command.starts_with('/') && !command.contains(' ') && input.interactive() => {
                note(&format!("{command} is no command; /help lists them"));
            }
            // As it was typed: what stands before and after is a person's own.
            _ => match conversation.answer(&line) {
                // At a terminal a turn that fails (too long, say) does not end the conversation.
                Err(Failure::Input(message)) if input.interactive() => note(&message),
                result => result?,
            },
        }
    }
}

/// What Ctrl-C means: during an answer its end, otherwise the program's. Other signals end the
/// program. All of them leave it the time to keep the conversation.
#[derive(Default)]
struct Interrupt {
    answering: AtomicBool,
    stop: AtomicBool,
    /// Ctrl-C, so many times during this answer, or since the program is ending.
    pressed: AtomicU32,
    end: Mutex<Option<Signal>>,
}

impl Interrupt {
    fn begin(&self) {
        self.stop.store(false, Ordering::Relaxed);
        self.pressed.store(0, Ordering::Relaxed);
        self.answering.store(true, Ordering::Relaxed);
    }

    fn finish(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }

    /// Whether the answer is to end.
    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.ended().is_some()
    }

    /// Whether the program is to end.
    fn ended(&self) -> Option<Signal> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, signal: Signal, events: &Sender<Event>) {
        if signal == Signal::Interrupt {
            let pressed = self.pressed.fetch_add(1, Ordering::Relaxed);
            match (self.ended().is_some(), self.answering.load(Ordering::Relaxed), pressed) {
                (false, true, 0) => return self.stop.store(true, Ordering::Relaxed),
                // The answer does not end, or it is not kept in time: the user means it.
                (true, ..) | (_, _, 2..) => signals::end(signal),
                _ => {}
            }
        }
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(signal);
        // Nobody may be waiting any more.
        let _ = events.send(Event::Signal(signal));
    }
}

struct Conversation<'a> {
    /// Not there after its device was lost.
    session: Option<Session>,
    /// What can be kept without it.
    unread: Unread,
    system: Option<Message>,
    messages: Vec<Message>,
    options: GenerateOptions,
    interrupt: Arc<Interrupt>,
    /// Loads the model again after so many losses in a row.
    reload: &'a dyn Fn(u32) -> Outcome<Rc<Engine>>,
    /// Devices lost since the last answer.
    losses: u32,
}

impl Conversation<'_> {
    fn reset(&mut self) {
        if let Some(session) = &mut self.session {
            session.reset();
        }
        self.messages = self.system.iter().cloned().collect();
    }

    /// Goes on with a conversation from a file; the file of a prompt, as `prefill` makes it, has no
    /// turns yet.
    fn restore(&mut self, path: &Path) -> Outcome {
        let name = path.display().to_string();
        let Some(session) = &mut self.session else { return Ok(()) };
        block_on(session.restore(&FileSource::open(path)?))?;
        let Some(text) = session.note() else { return Ok(()) };
        self.messages = serde_json::from_str(text)
            .map_err(|error| Failure::input(format!("{name}: it is no conversation that `chat` has kept: {error}")))?;
        let system = self.messages.iter().find(|message| message.role == "system");
        if self.system.is_some() && self.system.as_ref() != system {
            note("the conversation has another system text, and keeps it; /reset begins anew");
        }
        let turns = self.messages.iter().filter(|message| message.role == "user").count();
        note(&format!("{name}: {turns} turns, {} tokens read before", session.position()));
        Ok(())
    }

    fn save(&mut self, path: &Path) -> Outcome {
        let messages = serde_json::to_string(&self.messages).map_err(|error| Failure::run(error.to_string()))?;
        let saved = match &mut self.session {
            Some(session) => {
                session.set_note(Some(messages));
                state::write(session, path)?
            }
            None => state::write_words(&self.unread, &messages, path)?,
        };
        if saved == SavedAs::Words {
            note(&format!("{}: the GPU is lost; the words are kept, and will be read again", path.display()));
        }
        Ok(())
    }

    fn answer(&mut self, question: &str) -> Outcome {
        self.interrupt.begin();
        self.messages.push(Message::new("user", question));
        let mut attempt = self.attempt();
        while let Err(error @ Error::DeviceLost { .. }) = &attempt.answered {
            if let Err(failure) = self.recover(error) {
                self.end(&attempt);
                return Err(failure);
            }
            if !attempt.printed.is_empty() {
                writeln!(terminal::stdout())?;
            }
            attempt = self.attempt();
        }
        self.end(&attempt);
        let Attempt { answered, printed, written } = attempt;
        let answer = answered?;
        self.losses = 0;
        written?;
        writeln!(terminal::stdout(), "{}", &answer.text[printed.len()..])?;
        note(&statistics(&answer));
        // Each answer has samples of its own.
        self.options.sampling.seed = self.options.sampling.seed.wrapping_add(1);
        Ok(())
    }

    /// Answers the last message, and writes it as it comes.
    fn attempt(&mut self) -> Attempt {
        let mut out = terminal::stdout();
        let (mut printed, mut written) = (String::new(), Ok(()));
        let answered = match &mut self.session {
            Some(session) => block_on(session.chat(&self.messages, &self.options, &mut |piece| {
                printed.push_str(&piece.text);
                written = write!(out, "{}", piece.text).and_then(|()| out.flush());
                written.is_ok()
            })),
            None => Err(Error::DeviceLost { detail: "it was not loaded again".into() }),
        };
        Attempt { answered, printed, written }
    }

    /// What was said is kept, also of an answer that broke off.
    fn end(&mut self, attempt: &Attempt) {
        self.interrupt.finish();
        let answered = attempt.answered.as_ref();
        let stopped = !answered.is_ok_and(|answer| answer.finish != Finish::Cancelled);
        let text = answered.map_or(&attempt.printed, |answer| &answer.text);
        match text.is_empty() && stopped {
            // As if the question had not been asked.
            true => drop(self.messages.pop()),
            false => self.messages.push(Message::new("assistant", text)),
        }
    }

    /// The model once more after its device was lost: on a GPU, then on the processor.
    fn recover(&mut self, lost: &Error) -> Outcome {
        self.losses += 1;
        self.session = None;
        let engine = load_again(self.losses, lost, self.reload)?;
        self.session = Some(Session::new(&engine)?);
        Ok(())
    }
}

/// How an answer went.
struct Attempt {
    answered: Result<Generated, Error>,
    /// What was written of it.
    printed: String,
    written: std::io::Result<()>,
}

/// How fast the processor will write: it is what people wonder about there.
fn expected_speed_in_words(engine: &Rc<Engine>) -> Outcome<String> {
    if !engine.model().gpu().is_processor() {
        return Ok(String::new());
    }
    Ok(format!(", about {:.0} tokens/s", block_on(expected_speed(engine))?))
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

#[cfg(test)]
pub(crate) mod tests;
