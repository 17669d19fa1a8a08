//! How PEFT names modules: by the end of their path, or by a regular expression.

use fancy_regex::Regex;

use super::pairs::malformed;
use crate::error::Result;

/// A choice of modules.
pub(super) enum Modules {
    /// All linear layers.
    All,
    /// Each of them by its path or the end of it.
    Named(Vec<String>),
    /// Those whose whole path it matches.
    Matching(Box<Regex>),
}

impl Modules {
    /// Whether it names this path.
    pub fn name(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| ends_with(path, name)),
            Self::Matching(pattern) => pattern.is_match(path).unwrap_or(false),
        }
    }
}

fn ends_with(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// A regular expression that must match a whole path.
pub(super) fn whole(file: &str, field: &str, pattern: &str) -> Result<Box<Regex>> {
    regex(file, field, pattern, &format!("^(?:{pattern})$"))
}

/// One of a pattern's keys (`rank_pattern`, `alpha_pattern`), which must match the end of a path from a dot on.
pub(super) fn end(file: &str, field: &str, pattern: &str) -> Result<Box<Regex>> {
    regex(file, field, pattern, &format!(r"^(?:.*\.)?(?:{pattern})$"))
}

fn regex(file: &str, field: &str, pattern: &str, whole: &str) -> Result<Box<Regex>> {
    let found =
        |error: fancy_regex::Error| malformed(file, field, "a regular expression", format!("{pattern:?}: {error}"));
    Regex::new(whole).map(Box::new).map_err(found)
}
