//! Files of saved states: what `prefill` and `chat --state` write.

use std::io::Write;
use std::path::Path;

use peregrine::Error;
use peregrine::session::{Session, Unread};
use peregrine_workbench::part_file::PartFile;
use pollster::block_on;

use crate::failure::{Failure, Outcome};

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SavedAs {
    /// The whole state.
    State,
    /// The words only: the device that had the rest is lost.
    Words,
}

/// Whether a file can be written there, before there is anything to lose.
pub fn check(path: &Path) -> Outcome {
    // It goes away again.
    PartFile::create(path).map(drop).map_err(Failure::from)
}

/// Writes a session's state. The file has its name only when it is complete; until then an older
/// one keeps it.
pub fn write(session: &mut Session, path: &Path) -> Outcome<SavedAs> {
    let whole = save(path, |sink| block_on(session.save(sink)));
    let lost = matches!(whole, Err(Error::DeviceLost { .. } | Error::Gpu { .. } | Error::OutOfMemory { .. }));
    if lost && session.note().is_some() && save(path, |sink| session.save_note(sink)).is_ok() {
        return Ok(SavedAs::Words);
    }
    match whole {
        Ok(()) => Ok(SavedAs::State),
        // A disk is no argument.
        Err(error @ Error::Io { .. }) => Err(Failure::run(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Writes what was said, where the session has gone with its device.
pub fn write_words(unread: &Unread, note: &str, path: &Path) -> Outcome<SavedAs> {
    match save(path, |sink| unread.save(Some(note), sink)) {
        Ok(()) => Ok(SavedAs::Words),
        Err(error) => Err(Failure::run(error.to_string())),
    }
}

fn save(
    path: &Path,
    write: impl FnOnce(&mut dyn FnMut(&[u8]) -> peregrine::Result<()>) -> peregrine::Result<()>,
) -> peregrine::Result<()> {
    let mut file = PartFile::create(path)?;
    let written = write(&mut |bytes| {
        file.out().write_all(bytes).map_err(|source| Error::Io { name: "the output".into(), source })
    });
    file.finish(written)
}
