//! Options as flags of a program.

use std::ffi::OsString;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

use super::LoadOptions;

/// The heading of the flags that only commands with conversations have.
pub(super) const CONVERSATIONS: &str = "Conversations";

/// What a model is loaded with, without the flags of conversations.
#[derive(Clone, Debug, Default)]
pub struct ModelOptions(LoadOptions);

impl AsRef<LoadOptions> for ModelOptions {
    fn as_ref(&self) -> &LoadOptions {
        &self.0
    }
}

impl AsRef<Self> for LoadOptions {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// A command with all flags of [`LoadOptions`] and no others.
fn all() -> Command {
    LoadOptions::augment_args(Command::new("load").no_binary_name(true))
}

fn of_all_commands(arg: &&clap::Arg) -> bool {
    arg.get_help_heading() != Some(CONVERSATIONS)
}

impl Args for ModelOptions {
    fn augment_args(command: Command) -> Command {
        command.args(all().get_arguments().filter(of_all_commands))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ModelOptions {
    /// As if a command with all of the flags had been given those that this one was given.
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given: Vec<OsString> = Vec::new();
        for arg in all().get_arguments().filter(of_all_commands) {
            let (id, flag) = (arg.get_id().as_str(), format!("--{}", arg.get_long().unwrap_or_default()));
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            given.push(flag.into());
            if arg.get_action().takes_values() {
                given.extend(matches.get_raw(id).into_iter().flatten().map(Into::into));
            }
        }
        LoadOptions::from_arg_matches(&all().try_get_matches_from(given)?).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A number of at least one.
pub(super) fn count() -> impl TypedValueParser<Value = u32> {
    RangedU64ValueParser::<u32>::new().range(1..)
}

/// Bytes: `4GB`, `1.5GiB`, `900M`, `123456789`, `0`.
///
/// # Errors
/// What is needed, in words.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (short, long) = (unit.trim().to_ascii_lowercase(), [1e0, 1e3, 1e6, 1e9, 1e12]);
    let power = |unit: &str| ["", "k", "m", "g", "t"].iter().position(|u| *u == unit);
    let factor = match short.strip_suffix("ib") {
        Some(unit) => power(unit).filter(|p| *p > 0).map(|p| 1024f64.powi(p as i32)),
        None => power(short.strip_suffix('b').unwrap_or(&short)).map(|p| long[p]),
    };
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) if number == 0.0 || number * factor >= 1.0 => Ok((number * factor) as u64),
        _ => Err("bytes are needed, as in 4GB, 1.5GiB, 900M".into()),
    }
}

/// The same, and at least one.
///
/// # Errors
/// What is needed, in words.
pub(super) fn budget(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        0 => Err("at least one byte is needed, as in 4GB, 1.5GiB, 900M".into()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::KvType;

    fn parsed<T: Args>(words: &str) -> Result<T, Error> {
        let command = T::augment_args(Command::new("test").no_binary_name(true));
        T::from_arg_matches(&command.try_get_matches_from(words.split_whitespace())?)
    }

    #[test]
    fn commands_without_conversations_have_the_other_flags() {
        let given = parsed::<ModelOptions>("--kv q8 --memory-budget 1.5GiB").unwrap();
        assert_eq!((given.0.kv, given.0.memory_budget), (KvType::Q8, Some(3 << 29)));
        let default = parsed::<ModelOptions>("").unwrap();
        assert_eq!((default.0.kv, default.0.memory_budget, default.0.context_length), (KvType::F16, None, None));
        for flag in ["--context 5", "--snapshots 1GB", "--host-snapshots 1GB", "--memory-budget 0", "--kv f8"] {
            assert!(parsed::<ModelOptions>(flag).is_err(), "{flag}");
        }
    }

    #[test]
    fn commands_with_conversations_have_all_of_them() {
        let given = parsed::<LoadOptions>("--context 5 --snapshots 0 --host-snapshots 2k --kv f32").unwrap();
        let numbers = (given.context_length, given.snapshot_budget, given.snapshot_host_budget);
        assert_eq!((numbers, given.kv), ((Some(5), Some(0), Some(2000)), KvType::F32));
        for flag in ["--context 0", "--snapshots -1", "--snapshots many", "--host-snapshots 1X"] {
            assert!(parsed::<LoadOptions>(flag).is_err(), "{flag}");
        }
    }
}
