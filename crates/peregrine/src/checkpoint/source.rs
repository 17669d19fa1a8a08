//! Where the bytes of a checkpoint come from: anything that can read a range.

use std::borrow::Cow;

use crate::{Error, LocalFuture, Result};

/// A random-access run of bytes of known length.
///
/// The browser's sources (an HTTP range, a `File`, OPFS) are truly asynchronous; the native ones are ready at once.
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
    /// [`Error::Truncated`] when the source ends before; [`Error::Io`] or [`Error::Http`] when reading fails.
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, Result<()>>;
}

/// [`Error::Truncated`] unless `needed` bytes at `offset` lie inside `available`.
pub(crate) fn check_range(name: &str, what: &str, offset: u64, needed: u64, available: u64) -> Result<()> {
    match offset.checked_add(needed) {
        Some(end) if end <= available => Ok(()),
        _ => Err(Error::Truncated { name: name.into(), what: what.into(), offset, needed, available }),
    }
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
pub use native::{FileSource, HttpSource};

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::fs::File;
    use std::io::{ErrorKind, Read, Seek, SeekFrom};
    use std::path::Path;
    use std::time::Duration;

    use super::{Source, check_range};
    use crate::{Error, LocalFuture, Result};

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

    /// A file on a web server that answers range requests.
    pub struct HttpSource {
        url: String,
        agent: ureq::Agent,
        len: u64,
    }

    impl HttpSource {
        /// Asks for the first byte, to learn the length and whether the server honours ranges.
        ///
        /// # Errors
        /// [`Error::Http`]: no answer, an error status, or a server that ignores `Range`.
        pub fn open(url: &str) -> Result<Self> {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_connect(Some(Duration::from_secs(30)))
                .timeout_recv_response(Some(Duration::from_secs(60)))
                .timeout_per_read(Some(Duration::from_secs(60)))
                .build()
                .into();
            let mut source = Self { url: url.into(), agent, len: 0 };
            let (_, total) = source.request(0, 0)?;
            source.len = total;
            Ok(source)
        }

        fn error(&self, status: Option<u16>, detail: impl Into<String>) -> Error {
            Error::Http { url: self.url.clone(), status, detail: detail.into() }
        }

        /// Requests bytes `first..=last`; the body and the file's whole length.
        fn request(&self, first: u64, last: u64) -> Result<(ureq::Body, u64)> {
            let request = self
                .agent
                .get(&self.url)
                .header("Range", format!("bytes={first}-{last}"))
                // A compressed answer would have other byte positions.
                .header("Accept-Encoding", "identity");
            let response = request.call().map_err(|e| self.error(None, e.to_string()))?;
            let status = response.status().as_u16();
            match status {
                206 => {}
                200 => {
                    let detail = "the server ignores Range requests (status 200, expected 206): \
                                  download the file and open it from disk";
                    return Err(self.error(Some(200), detail));
                }
                _ => {
                    return Err(self.error(Some(status), format!("the server answered status {status}")));
                }
            }
            let range = response.headers().get("content-range").and_then(|v| v.to_str().ok());
            let total = range.and_then(|range| {
                let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
                (span == format!("{first}-{last}")).then(|| total.parse::<u64>().ok())?
            });
            let Some(total) = total else {
                let found = range.unwrap_or("none");
                let detail = format!("expected Content-Range \"bytes {first}-{last}/LENGTH\", found \"{found}\"");
                return Err(self.error(Some(206), detail));
            };
            Ok((response.into_body(), total))
        }
    }

    impl Source for HttpSource {
        fn name(&self) -> &str {
            &self.url
        }

        fn len(&self) -> u64 {
            self.len
        }

        fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, Result<()>> {
            Box::pin(async move {
                let needed = buf.len() as u64;
                check_range(&self.url, "a read", offset, needed, self.len)?;
                if needed == 0 {
                    return Ok(());
                }
                let (mut body, total) = self.request(offset, offset + needed - 1)?;
                if total != self.len {
                    let detail = format!("the file changed: expected length {}, found {total}", self.len);
                    return Err(self.error(Some(206), detail));
                }
                let mut reader = body.as_reader();
                let end = offset + needed;
                reader.read_exact(buf).map_err(|e| {
                    let detail = format!("the connection broke in bytes {offset} to {end}: {e}");
                    self.error(Some(206), detail)
                })?;
                // Reading on to the end also lets the connection be used again.
                match reader.read(&mut [0]) {
                    Ok(1) => {
                        let detail = format!("the answer is longer than the {needed} bytes asked for");
                        Err(self.error(Some(206), detail))
                    }
                    _ => Ok(()),
                }
            })
        }
    }
}
