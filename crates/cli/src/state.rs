//! Files of saved states: what `prefill` and `chat --state` write.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use peregrine::Error;
use peregrine::session::Session;
use pollster::block_on;

use crate::failure::Outcome;

/// Writes a session's state. The file has its name only when it is complete.
pub fn write(session: &mut Session, path: &Path) -> Outcome {
    let io = |source| Error::Io { name: path.display().to_string(), source };
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let mut out = BufWriter::new(File::create(&part).map_err(io)?);
    let saved = block_on(session.save(&mut |bytes| out.write_all(bytes).map_err(io)));
    let written = saved.and_then(|()| out.flush().map_err(io));
    drop(out);
    if let Err(error) = written.and_then(|()| std::fs::rename(&part, path).map_err(io)) {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&part);
        return Err(error.into());
    }
    Ok(())
}
