//! How a command fails: what to say, and the exit status.

use std::io::ErrorKind;
use std::process::ExitCode;

use peregrine::Error;

use crate::signals::Signal;
use crate::terminal::line;

/// What every command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// Status 2: bad arguments or bad input.
    Input(String),
    /// Status 1: the run failed.
    Run(String),
    /// Whoever read our output has gone (`| head`): nothing to say.
    ClosedPipe,
    /// A signal has ended it: nothing to say, either.
    Signal(Signal),
}

impl Failure {
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    pub fn run(message: impl Into<String>) -> Self {
        Self::Run(message.into())
    }

    /// The same with more to say.
    pub fn with(self, more: &str) -> Self {
        match self {
            Self::Input(message) => Self::Input(message + more),
            Self::Run(message) => Self::Run(message + more),
            quiet => quiet,
        }
    }

    /// What there is to say.
    pub fn message(&self) -> &str {
        match self {
            Self::Input(message) | Self::Run(message) => message,
            Self::ClosedPipe => "standard output was closed",
            Self::Signal(_) => "stopped by a signal",
        }
    }

    /// Writing to `name` failed.
    pub fn writing(name: &str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::run(format!("{name}: {error}"))
    }

    /// Says it on one line of stderr.
    pub fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Input(message) => (message, 2),
            Self::Run(message) => (message, 1),
            Self::ClosedPipe => return ExitCode::SUCCESS,
            Self::Signal(signal) => return ExitCode::from(signal.status()),
        };
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        // With stderr closed there is nobody to tell.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("error: {}\n", line(&message)));
        ExitCode::from(code)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NoGpu { .. }
            | Error::Gpu { .. }
            | Error::NotFinite { .. }
            | Error::SelfCheck { .. }
            | Error::DeviceLost { .. }
            | Error::OutOfMemory { .. }
            | Error::DoesNotFit { .. }
            | Error::Cancelled => Self::Run(message),
            // A wrong address is the caller's, a broken connection is not.
            Error::Http { status, .. } if status.is_none_or(|status| status >= 500) => Self::Run(message),
            // NaN among the logits is no option's fault.
            Error::Sampling { field, .. } if field == "logits" => Self::Run(message),
            _ => Self::Input(message),
        }
    }
}

/// Standard output, the only stream that is written with `?`.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::run(format!("standard output: {error}")),
        }
    }
}
