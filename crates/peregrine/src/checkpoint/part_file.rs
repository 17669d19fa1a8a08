//! A file that gets its name only when it is complete.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What is written goes to `NAME.part`.
pub(crate) struct PartFile {
    path: PathBuf,
    part: OsString,
    out: BufWriter<File>,
}

impl PartFile {
    /// Begins to write `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let file = File::create(&part).map_err(|source| Error::Io { name: path.display().to_string(), source })?;
        Ok(Self { path: path.into(), part, out: BufWriter::new(file) })
    }

    /// Where to write.
    pub fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    /// Gives the file its name if it is `written`, flushed; takes it away otherwise. A failed write is told with the
    /// file's name.
    pub fn finish(self, written: Result<()>) -> Result<()> {
        let Self { path, part, out } = self;
        let io = |source| Error::Io { name: path.display().to_string(), source };
        // Some systems neither rename nor remove an open file; dropping the writer could only write again what failed.
        drop(out.into_parts());
        match written {
            Ok(()) => std::fs::rename(&part, &path).map_err(io),
            Err(error) => {
                // The first error is the one to tell.
                let _ = std::fs::remove_file(&part);
                Err(match error {
                    Error::Io { name, source } if name == "the output" => io(source),
                    other => other,
                })
            }
        }
    }
}
