//! What ends the program from outside: Ctrl-C, `Ctrl-\`, `kill`, a closed terminal. Files that are
//! not finished are taken away first.

use std::sync::{Mutex, PoisonError};

use peregrine_workbench::part_file::discard_unfinished;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C
    Interrupt,
    /// `Ctrl-\`
    #[cfg_attr(not(unix), allow(dead_code))]
    Quit,
    /// `kill`
    #[cfg_attr(not(unix), allow(dead_code))]
    Terminate,
    /// The terminal was closed.
    #[cfg_attr(not(unix), allow(dead_code))]
    Hangup,
}

impl Signal {
    /// The exit status that shells give to a program that a signal has ended.
    pub fn status(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Quit => 131,
            Self::Terminate => 143,
        }
    }
}

type Handler = Box<dyn FnMut(Signal) + Send>;

static HANDLER: Mutex<Option<Handler>> = Mutex::new(None);

/// From now on `handler` decides what a signal does. It runs in a thread of its own.
pub fn on(handler: impl FnMut(Signal) + Send + 'static) {
    *HANDLER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(handler));
}

/// Ends the program at once.
pub fn end(signal: Signal) -> ! {
    discard_unfinished();
    // As if nobody had caught it, so that a shell's script ends too.
    #[cfg(unix)]
    unix::raise(signal);
    std::process::exit(signal.status().into());
}

fn received(signal: Signal) {
    match &mut *HANDLER.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(handler) => handler(signal),
        None => end(signal),
    }
}

/// Before any other thread is there.
pub fn catch() {
    #[cfg(unix)]
    unix::catch();
    // Without it Ctrl-C ends the program, as everywhere.
    #[cfg(not(unix))]
    let _ = ctrlc::set_handler(|| received(Signal::Interrupt));
}

#[cfg(unix)]
mod unix {
    use nix::sys::signal::{SigSet, Signal as Number};

    use super::{Signal, received};

    const CAUGHT: [(Number, Signal); 4] = [
        (Number::SIGINT, Signal::Interrupt),
        (Number::SIGQUIT, Signal::Quit),
        (Number::SIGTERM, Signal::Terminate),
        (Number::SIGHUP, Signal::Hangup),
    ];

    pub fn catch() {
        let mut set = SigSet::empty();
        // What was ignored when the program began stays so: that is what nohup does.
        let ignored = ignored();
        // Shells add 128 to a signal's number; the mask begins with number 1.
        for (number, _) in CAUGHT.iter().filter(|(_, signal)| ignored & (1 << (signal.status() - 129)) == 0) {
            set.add(*number);
        }
        // Every thread that begins later inherits what is blocked, so that only one gets them.
        if set.thread_block().is_err() {
            return;
        }
        // A file that may not grow is an error of writing, not the end.
        let mut blocked = SigSet::empty();
        blocked.add(Number::SIGXFSZ);
        let _ = blocked.thread_block();
        std::thread::spawn(move || {
            while let Ok(number) = set.wait() {
                if let Some((_, signal)) = CAUGHT.iter().find(|(caught, _)| *caught == number) {
                    received(*signal);
                }
            }
        });
    }

    /// A bit for every signal that is ignored, where the system tells. Linux keeps ignored signals
    /// for who waits for them; others do not.
    fn ignored() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }

    pub fn raise(signal: Signal) {
        let Some((number, _)) = CAUGHT.iter().find(|(_, caught)| *caught == signal) else { return };
        let mut set = SigSet::empty();
        set.add(*number);
        if set.thread_unblock().is_ok() {
            let _ = nix::sys::signal::raise(*number);
        }
    }
}
