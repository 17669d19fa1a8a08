//! Where the bytes of a checkpoint come from: anything that can read a range.

use std::borrow::Cow;
use std::pin::Pin;

use crate::{Error, Result};

/// A boxed future that need not be `Send`: the same type natively and on wasm, where nothing is
/// `Send`.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A random-access run of bytes of known length.
///
/// The browser's sources (an HTTP range, a `File`, OPFS) are truly asynchronous; the native ones
/// are ready at once.
pub trait Source {
    /// The name for messages: a path or an address.
    fn name(&self) -> &str;

    /// Length in bytes, fixed when the source was opened.
    fn len(&self) -> u64;

    /// Whether there is not one byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads exactly `buf.len()` bytes that begin at byte `offset`.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the source ends before; [`Error::Io`] or [`Error::Http`] when
    /// reading fails.
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, Result<()>>;
}

/// [`Error::Truncated`] unless `needed` bytes at `offset` lie inside `available`.
pub(crate) fn check_range(name: &str, what: &str, offset: u64, needed: u64, available: u64) -> Result<()> {
    match offset.checked_add(needed) {
        Some(end) if end <= available => Ok(()),
        _ => Err(Error::Truncated { name: name.into(), what: what.into(), offset, needed, available }),
    }
}

/// Bytes that are asked for at a time of what is read whole: a browser holds each answer twice for
/// a moment.
const PIECE: usize = 4 << 20;

/// All of these bytes, which somebody has found to be few enough for memory.
pub(crate) async fn read_whole(source: &dyn Source, offset: u64, len: u64) -> Result<Vec<u8>> {
    check_range(source.name(), "a read", offset, len, source.len())?;
    let size = usize::try_from(len).ok().filter(|&size| size < isize::MAX as usize);
    let size = size.ok_or_else(|| Error::OutOfMemory {
        what: format!("a part of {}", source.name()),
        bytes: Some(len),
        limit: Some(isize::MAX as u64),
    })?;
    let mut bytes = vec![0; size];
    for (piece, at) in bytes.chunks_mut(PIECE).zip((offset..).step_by(PIECE)) {
        source.read(at, piece).await?;
    }
    Ok(bytes)
}

/// Bytes in memory.
pub struct MemorySource {
    name: String,
    bytes: Cow<'static, [u8]>,
}

impl MemorySource {
    /// Takes a `Vec<u8>` or a `&'static [u8]`; `name` is for messages.
    pub fn new(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

impl Source for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, Result<()>> {
        Box::pin(async move {
            check_range(&self.name, "a read", offset, buf.len() as u64, self.len())?;
            // In range, so it fits usize.
            let offset = offset as usize;
            buf.copy_from_slice(&self.bytes[offset..offset + buf.len()]);
            Ok(())
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::FileSource;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::fs::File;
    use std::io::{ErrorKind, Read, Seek, SeekFrom};
    use std::path::Path;

    use super::LocalFuture;
    use super::{Source, check_range};
    use crate::{Error, Result};

    /// A local file.
    pub struct FileSource {
        name: String,
        file: File,
        len: u64,
    }

    impl FileSource {
        /// # Errors
        /// [`Error::Io`]; a directory is one too.
        pub fn open(path: impl AsRef<Path>) -> Result<Self> {
            let name = path.as_ref().display().to_string();
            let io = |source| Error::Io { name: name.clone(), source };
            let file = File::open(&path).map_err(io)?;
            let metadata = file.metadata().map_err(io)?;
            if metadata.is_dir() {
                return Err(io(ErrorKind::IsADirectory.into()));
            }
            Ok(Self { len: metadata.len(), name, file })
        }
    }

    impl Source for FileSource {
        fn name(&self) -> &str {
            &self.name
        }

        fn len(&self) -> u64 {
            self.len
        }

        fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, Result<()>> {
            Box::pin(async move {
                let needed = buf.len() as u64;
                check_range(&self.name, "a read", offset, needed, self.len)?;
                let mut file = &self.file;
                let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(buf));
                read.map_err(|source| match source.kind() {
                    // Someone cut the file while it was open.
                    ErrorKind::UnexpectedEof => Error::Truncated {
                        name: self.name.clone(),
                        what: "a read".into(),
                        offset,
                        needed,
                        available: file.metadata().map_or(0, |m| m.len()),
                    },
                    _ => Error::Io { name: self.name.clone(), source },
                })
            })
        }
    }
}

/// Refuses what often stands where a file should be: a Git LFS pointer, a page of HTML. `bytes` are
/// its first.
pub(super) fn refuse_stand_in(name: &str, bytes: &[u8], expected: &str) -> Result<()> {
    let found = if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        "a Git LFS pointer: the weights are elsewhere, and `git lfs pull` fetches them"
    } else if [&b"<!DOCTYPE html"[..], b"<!doctype html", b"<html"].iter().any(|tag| bytes.starts_with(tag)) {
        "a web page: the download went to the wrong address"
    } else {
        return Ok(());
    };
    Err(Error::Malformed {
        name: name.into(),
        field: "the file".into(),
        expected: expected.into(),
        found: found.into(),
    })
}
