//! A file that gets its name only when it is complete.

use std::fs::{File, Permissions};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use peregrine::{Error, Result};

/// Links that are followed to where a file really is.
const MAX_LINKS: usize = 40;

/// Files that this process has begun and not finished.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes away what is not finished: for who ends the process from outside, by a signal.
pub fn discard_unfinished() {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for path in unfinished.drain(..) {
        // There is nobody left to tell.
        let _ = std::fs::remove_file(path);
    }
}

/// A file that takes its name, in place of the one that had it, only when everything is on the
/// disk. Until then it lies beside it under a name of its own. What is no regular file, such as a
/// pipe or a terminal, is written as it is.
pub struct PartFile {
    name: String,
    /// Where the file belongs.
    path: PathBuf,
    part: Option<Part>,
    out: BufWriter<File>,
}

/// The unfinished file; it goes away unless it is finished.
struct Part {
    path: PathBuf,
    /// Those of the file that it replaces.
    permissions: Option<Permissions>,
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Gone, if it has been finished.
        if let Some(at) = unfinished.iter().position(|path| *path == self.path) {
            unfinished.swap_remove(at);
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl PartFile {
    /// Begins to write `path`.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn create(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let io = |source| Error::Io { name: name.clone(), source };
        let path = target(path);
        let there = std::fs::metadata(&path).ok();
        if there.as_ref().is_some_and(|there| there.is_dir()) {
            return Err(io(ErrorKind::IsADirectory.into()));
        }
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let file = File::options().write(true).open(&path).map_err(io)?;
            return Ok(Self { name, path, part: None, out: BufWriter::new(file) });
        }
        let (file, part) = begin(folder(&path)).map_err(io)?;
        let part = Part { path: part, permissions: there.map(|there| there.permissions()) };
        Ok(Self { name, path, part: Some(part), out: BufWriter::new(file) })
    }

    /// Where to write.
    pub fn out(&mut self) -> &mut BufWriter<File> {
        &mut self.out
    }

    /// Gives the file its name if it is `written`; takes it away otherwise. A failed write to "the
    /// output" is told with the file's name.
    ///
    /// # Errors
    /// Those of `written`; [`Error::Io`]
    pub fn finish(self, written: Result<()>) -> Result<()> {
        let Self { name, path, part, out } = self;
        let io = |source| Error::Io { name: name.clone(), source };
        // Even when it failed: dropping the writer could only write again what failed.
        let (file, rest) = out.into_parts();
        written.map_err(|error| match error {
            Error::Io { name, source } if name == "the output" => io(source),
            other => other,
        })?;
        let rest = rest.map_err(|error| io(std::io::Error::other(error)))?;
        (&file).write_all(&rest).map_err(io)?;
        let Some(part) = part else { return Ok(()) };
        if let Some(permissions) = part.permissions.clone() {
            // Some systems of files have none.
            let _ = file.set_permissions(permissions);
        }
        file.sync_all().map_err(io)?;
        // Some systems do not rename an open file.
        drop(file);
        std::fs::rename(&part.path, &path).map_err(io)?;
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        unfinished.retain(|path| *path != part.path);
        drop(unfinished);
        #[cfg(unix)]
        if let Ok(folder) = File::open(folder(&path)) {
            // Not every system of files can; the file itself is safe.
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

/// A new file with a name that nobody has.
fn begin(folder: &Path) -> std::io::Result<(File, PathBuf)> {
    let mut number = 0_u32;
    loop {
        // Short, whatever the file's own name is.
        let path = folder.join(format!(".peregrine-{}-{number}.part", std::process::id()));
        let mut unfinished = UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => {
                unfinished.push(path.clone());
                return Ok((file, path));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where links lead, also to a file that is not there yet.
fn target(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&path) {
            Ok(to) => path = folder(&path).join(to),
            Err(_) => break,
        }
    }
    path
}
