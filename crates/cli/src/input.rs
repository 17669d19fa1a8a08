//! What a person types into `chat`: lines from a terminal with editing and history, or from a pipe.
//! They are read in a thread of their own, so that a signal is noticed while nobody types.

use std::io::{BufRead, IsTerminal};
use std::sync::mpsc::{Receiver, Sender, channel};

use rustyline::error::ReadlineError;

use crate::failure::{Failure, Outcome};
use crate::signals::Signal;
use crate::terminal::note;

/// What can happen while nobody answers.
pub enum Event {
    /// A line as it was typed, without its end; `None` at the end of all.
    Line(Outcome<Option<String>>),
    Signal(Signal),
}

/// Lines, one at a time: what is not asked for stays in the pipe.
pub struct Input {
    ask: Sender<()>,
    events: Receiver<Event>,
    sender: Sender<Event>,
    interactive: bool,
    /// How the terminal was before anybody edited a line.
    #[cfg(unix)]
    before: Option<nix::sys::termios::Termios>,
}

impl Input {
    pub fn new() -> Self {
        let (sender, events) = channel();
        let (ask, asked) = channel();
        let interactive = std::io::stdin().is_terminal();
        #[cfg(unix)]
        let before = nix::sys::termios::tcgetattr(std::io::stdin()).ok();
        let lines = sender.clone();
        std::thread::spawn(move || {
            let mut reader = if interactive { Reader::terminal() } else { Ok(Reader::Pipe) };
            while asked.recv().is_ok() {
                let line = match &mut reader {
                    Ok(reader) => reader.line(),
                    Err(message) => Err(Failure::run(message.clone())),
                };
                if lines.send(Event::Line(line)).is_err() {
                    break;
                }
            }
        });
        Self {
            ask,
            events,
            sender,
            interactive,
            #[cfg(unix)]
            before,
        }
    }

    /// Whether somebody sits there.
    pub fn interactive(&self) -> bool {
        self.interactive
    }

    /// For who has a signal to tell.
    pub fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Waits for a line, or for a signal.
    pub fn next(&self) -> Event {
        // Neither can fail while the thread and `self` are there.
        let _ = self.ask.send(());
        self.events.recv().unwrap_or(Event::Line(Ok(None)))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            use nix::sys::termios::{SetArg, tcsetattr};
            // The editor may still be waiting for a key.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

enum Reader {
    Terminal(Box<rustyline::DefaultEditor>),
    Pipe,
}

impl Reader {
    fn terminal() -> Result<Self, String> {
        let editor = rustyline::DefaultEditor::new().map_err(|error| format!("terminal: {error}"))?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    fn line(&mut self) -> Outcome<Option<String>> {
        let Self::Terminal(editor) = self else { return from_pipe() };
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

fn from_pipe() -> Outcome<Option<String>> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_until(b'\n', &mut bytes);
    if read.map_err(|error| Failure::input(format!("standard input: {error}")))? == 0 {
        return Ok(None);
    }
    let end = if bytes.ends_with(b"\r\n") { 2 } else { usize::from(bytes.ends_with(b"\n")) };
    bytes.truncate(bytes.len() - end);
    let line = String::from_utf8(bytes);
    line.map(Some).map_err(|error| Failure::input(format!("standard input: a line is not UTF-8: {error}")))
}
