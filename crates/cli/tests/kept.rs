//! A conversation is never lost: whatever ends `chat`, its state file has it. Real signals, pipes
//! and terminals; any adapter will do.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // also in the helpers of tests

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{PROGRAM, isolated, model, program, program_after};

/// `chat` with a state file, at the other end of pipes.
struct Chat {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    notes: BufReader<std::process::ChildStderr>,
    heard: String,
}

impl Chat {
    /// `script` is what a shell does first.
    fn start(state: &Path, script: &str, args: &[&str]) -> Self {
        Self::with(&model(), state, script, args)
    }

    fn with(model: &Path, state: &Path, script: &str, args: &[&str]) -> Self {
        let mut command = program_after(script);
        command.args(["chat", model.to_str().unwrap(), "--state", state.to_str().unwrap()]);
        command.args(if args.contains(&"--temperature") { &[][..] } else { &["--temperature", "0"] }).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let notes = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdin, stdout, notes, heard: String::new() }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_ref().unwrap(), "{line}").unwrap();
    }

    /// Waits until an answer is over: then its statistics are told.
    fn answered(&mut self) {
        loop {
            let mut line = String::new();
            assert!(self.notes.read_line(&mut line).unwrap() > 0, "{}", self.heard);
            self.heard.push_str(&line);
            if line.starts_with('[') {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Status, and what was said on standard error.
    fn ends(mut self) -> (Option<i32>, String) {
        // What is written is read, so that nobody waits; unless the test has closed it.
        let reader = self.stdout.take().map(|mut out| std::thread::spawn(move || out.read_to_end(&mut Vec::new())));
        self.notes.read_to_string(&mut self.heard).unwrap();
        let status = self.child.wait().unwrap().code();
        drop(self.stdin);
        drop(reader);
        (status, self.heard)
    }
}

/// Who said what, by the file.
fn kept(state: &Path) -> Vec<(String, String)> {
    let bytes = std::fs::read(state).unwrap();
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[16..16 + length]).unwrap();
    let messages: Vec<Value> = serde_json::from_str(header["note"].as_str().unwrap()).unwrap();
    let text = |message: &Value, key: &str| message[key].as_str().unwrap().to_string();
    messages.iter().map(|message| (text(message, "role"), text(message, "content"))).collect()
}

fn questions(state: &Path) -> Vec<String> {
    kept(state).into_iter().filter(|(role, _)| role == "user").map(|(_, text)| text).collect()
}

fn files(folder: &tempfile::TempDir) -> usize {
    std::fs::read_dir(folder.path()).unwrap().count()
}

#[test]
fn a_signal_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    for (turn, (signal, status)) in
        [(Signal::SIGINT, 130), (Signal::SIGQUIT, 131), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)]
            .into_iter()
            .enumerate()
    {
        // Each goes on where the last one was ended.
        let mut chat = Chat::start(&state, "", &["--max-tokens", "4"]);
        chat.say("Hi");
        chat.answered();
        chat.signal(signal);
        let (found, notes) = chat.ends();
        assert_eq!(found, Some(status), "{notes}");
        assert!(!notes.contains("error"), "{notes}");
        assert_eq!(questions(&state).len(), turn + 1, "{signal}");
        assert_eq!((kept(&state).len(), files(&folder)), (2 * turn + 2, 1));
    }
}

/// Every token is as likely as any other, so that an answer takes its time.
const LONG: [&str; 10] =
    ["--max-tokens", "2000", "--temperature", "100000", "--top-k", "0", "--top-p", "1", "--seed", "7"];

#[test]
fn a_signal_in_the_middle_of_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let mut chat = Chat::start(&state, "", &LONG);
    chat.say("Hi");
    // It has begun to answer.
    chat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    chat.signal(Signal::SIGTERM);
    let (status, notes) = chat.ends();
    assert_eq!(status, Some(143), "{notes}");
    let kept = kept(&state);
    assert_eq!((kept.len(), kept[1].0.as_str()), (2, "assistant"));
    assert!(!kept[1].1.is_empty());
}

#[test]
fn ctrl_c_in_an_answer_ends_the_answer_only() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let mut chat = Chat::start(&state, "", &LONG);
    chat.say("Hi");
    chat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    chat.signal(Signal::SIGINT);
    chat.answered();
    chat.say("/quit");
    let (status, notes) = chat.ends();
    assert_eq!(status, Some(0), "{notes}");
    assert!(notes.contains("; stopped"), "{notes}");
    assert_eq!((questions(&state), kept(&state).len()), (vec!["Hi".to_string()], 2));
}

#[test]
fn a_signal_that_is_ignored_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    // As nohup does.
    let mut chat = Chat::start(&state, "trap '' HUP;", &["--max-tokens", "2"]);
    chat.say("Hi");
    chat.answered();
    chat.signal(Signal::SIGHUP);
    chat.say("    return x   ");
    chat.answered();
    chat.say("/quit");
    assert_eq!(chat.ends().0, Some(0));
    // As it was typed.
    assert_eq!(questions(&state), ["Hi", "    return x   "]);
}

#[test]
fn a_reader_that_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let mut chat = Chat::start(&state, "", &["--max-tokens", "8"]);
    chat.say("Hi");
    chat.answered();
    drop(chat.stdout.take());
    chat.say("Hello");
    let (status, notes) = chat.ends();
    assert_eq!(status, Some(0), "{notes}");
    // What the model had said until nobody listened, too.
    assert_eq!((questions(&state), kept(&state).len()), (vec!["Hi".to_string(), "Hello".into()], 4));
}

#[test]
fn a_message_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let mut chat = Chat::start(&state, "", &["--max-tokens", "2", "--context", "64"]);
    chat.say("Hi");
    chat.answered();
    chat.say(&"one two three four ".repeat(50));
    let (status, notes) = chat.ends();
    assert_eq!(status, Some(2), "{notes}");
    assert!(notes.contains("the context is full"), "{notes}");
    assert_eq!(questions(&state), ["Hi"]);
    // Nor does what is no text.
    let mut chat = Chat::start(&state, "", &["--max-tokens", "2"]);
    chat.say("Hello");
    chat.answered();
    chat.stdin.as_ref().unwrap().write_all(b"\xff\xfe\n").unwrap();
    let (status, notes) = chat.ends();
    assert!(status == Some(2) && notes.contains("UTF-8"), "{notes}");
    assert_eq!(questions(&state), ["Hi", "Hello"]);
}

/// An error that nobody expects, here the template's.
#[test]
fn an_error_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/hf-folder")).unwrap()
    {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let template = "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('never') }}{% endif %}\
                    {{ m.role + ': ' + m.content }}{% endfor %}";
    std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    let mut chat = Chat::with(&model, &state, "", &["--max-tokens", "2"]);
    chat.say("Hi");
    chat.answered();
    chat.say("no");
    let (status, notes) = chat.ends();
    assert!(status == Some(2) && notes.contains("never"), "{notes}");
    assert_eq!(questions(&state), ["Hi"]);
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let mut chat = Chat::start(&state, "", &["--max-tokens", "2"]);
    chat.say("Hi");
    drop(chat.stdin.take());
    assert_eq!(chat.ends().0, Some(0));
    let before = std::fs::read(&state).unwrap();
    let mut chat = Chat::start(&state, "ulimit -f 64;", &["--max-tokens", "2"]);
    chat.say("Hello");
    drop(chat.stdin.take());
    let (status, notes) = chat.ends();
    assert_eq!(status, Some(1), "{notes}");
    assert!(notes.contains("error: ") && notes.contains("a.state"), "{notes}");
    assert!(std::fs::read(&state).unwrap() == before && files(&folder) == 1);
}

/// Our end of a terminal.
struct Screen {
    end: File,
    seen: Vec<u8>,
}

impl Screen {
    /// With the end for the program.
    fn new() -> (Self, OwnedFd) {
        // Not for the programs that other tests start: the terminal is closed when nobody has our
        // end.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = File::options().read(true).write(true).custom_flags(flags.bits()).open(ptsname_r(&master).unwrap());
        (Self { end: OwnedFd::from(master).into(), seen: Vec::new() }, slave.unwrap().into())
    }

    /// Waits for this, after what was waited for last.
    fn until(&mut self, wanted: &str) {
        let place = |seen: &[u8]| seen.windows(wanted.len()).position(|piece| piece == wanted.as_bytes());
        while place(&self.seen).is_none() {
            let mut piece = [0; 256];
            let read = self.end.read(&mut piece).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&self.seen));
            self.seen.extend_from_slice(&piece[..read]);
        }
        self.seen.drain(..place(&self.seen).unwrap() + wanted.len());
    }

    fn types(&mut self, text: &str) {
        self.end.write_all(text.as_bytes()).unwrap();
    }
}

/// `chat` in a session of its own whose terminal that is.
fn at_a_terminal(state: &Path, slave: &OwnedFd) -> Child {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT,TERM", "setsid", "--ctty", PROGRAM, "chat"]).arg(model());
    command.args(["--state", state.to_str().unwrap(), "--temperature", "0", "--max-tokens", "4"]);
    let end = || Stdio::from(slave.try_clone().unwrap());
    isolated(command).env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
}

#[test]
fn a_terminal_that_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let (mut screen, slave) = Screen::new();
    let mut child = at_a_terminal(&state, &slave);
    drop(slave);
    screen.until("> ");
    screen.types("Hi\r");
    screen.until("tokens/s");
    screen.until("> ");
    drop(screen);
    child.wait().unwrap();
    assert_eq!((questions(&state), files(&folder)), (vec!["Hi".to_string()], 1));
}

#[test]
fn a_terminal_is_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a.state");
    let (mut screen, slave) = Screen::new();
    let flags = || tcgetattr(&slave).unwrap().local_flags;
    let before = flags();
    let mut child = at_a_terminal(&state, &slave);
    screen.until("> ");
    screen.types("  Hi  \r");
    screen.until("tokens/s");
    screen.until("> ");
    // The editor takes every key by itself, from before it asks.
    assert!(!flags().contains(LocalFlags::ICANON));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(flags(), before);
    assert_eq!(questions(&state), ["  Hi  "]);
}

fn generate(args: &[&str]) -> Command {
    let mut command = program();
    command.arg("generate").arg(model()).args(args);
    command
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// At a temperature at which every token is as likely as any other, a model says a lot that a
/// terminal would obey.
#[test]
fn an_answer_does_nothing_to_a_terminal() {
    let args = ["--prompt", "x", "--temperature", "100000", "--top-k", "0", "--seed", "4", "--ignore-end"];
    let args = [&args[..], &["--max-tokens", "48"]].concat();
    let raw = text(&generate(&args).output().unwrap());
    let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(raw.contains(acts), "{raw:?}");
    let (mut screen, slave) = Screen::new();
    let mut child = generate(&args).stdout(slave).stderr(Stdio::null()).spawn().unwrap();
    let mut seen = Vec::new();
    // At the end of a terminal there is an error.
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = screen.end.read(&mut piece) {
        seen.extend_from_slice(&piece[..read]);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // The terminal's own way to end a line.
    let seen = String::from_utf8(seen).unwrap().replace("\r\n", "\n");
    assert!(!seen.contains(acts), "{seen:?}");
    let first: String = raw.chars().take_while(|c| !acts(*c)).collect();
    assert!(seen.starts_with(&first) && seen.len() > raw.len(), "{seen:?}");
}
