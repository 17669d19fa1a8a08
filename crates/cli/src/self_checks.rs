//! Outcomes of self-checks, kept between runs in the user's cache folder. Whatever goes wrong there
//! costs only another check.

use std::path::PathBuf;

use peregrine::selfcheck::Outcomes;

/// Most outcomes that are kept: a machine has few devices and a person few models.
const MOST: usize = 500;

/// `$XDG_CACHE_HOME/peregrine/self-checks.json`, or in `~/.cache`.
fn path() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("peregrine/self-checks.json"))
}

/// Those of earlier runs.
pub fn read() -> Outcomes {
    let text = path().and_then(|path| std::fs::read(path).ok());
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Keeps them, where that is possible.
pub fn write(outcomes: &Outcomes) {
    let Some(path) = path() else { return };
    let Ok(text) = serde_json::to_vec_pretty(outcomes) else { return };
    if outcomes.len() > MOST {
        let _ = std::fs::remove_file(path);
        return;
    }
    let _ = path.parent().map(std::fs::create_dir_all);
    // Another run may read or write at the same time.
    let part = path.with_extension(format!("{}.part", std::process::id()));
    if std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &path)).is_err() {
        let _ = std::fs::remove_file(&part);
    }
}
