//! A file on a web server, read by ranges.

use std::io::Read;
use std::rc::Rc;

use super::{HttpClient, HttpOptions};
use crate::checkpoint::LocalFuture;
use crate::checkpoint::source::{Source, check_range};
use crate::{Error, Result};

/// A file on a web server that answers range requests.
pub struct HttpSource {
    url: String,
    client: Rc<HttpClient>,
    len: u64,
}

impl HttpSource {
    /// Asks for the first byte, to learn the length and whether the server honors ranges.
    ///
    /// # Errors
    /// [`Error::Http`]: no answer, an error status, or a server that ignores `Range`.
    pub fn open(url: &str) -> Result<Self> {
        Self::open_with(Rc::new(HttpClient::new(HttpOptions::default())?), url)
    }

    /// The same with a client's token and time limits.
    ///
    /// # Errors
    /// As [`HttpSource::open`].
    pub fn open_with(client: Rc<HttpClient>, url: &str) -> Result<Self> {
        let mut source = Self { url: url.into(), client, len: 0 };
        let (_, total) = source.request(0, 0)?;
        source.len = total;
        Ok(source)
    }

    fn error(&self, status: Option<u16>, detail: impl Into<String>) -> Error {
        Error::Http { url: self.url.clone(), status, detail: detail.into() }
    }

    /// Requests bytes `first..=last`; the body and the file's whole length.
    fn request(&self, first: u64, last: u64) -> Result<(impl Read + use<>, u64)> {
        let answer = self.client.get(&self.url, Some((first, last)), &mut |_| {})?;
        match answer.status {
            206 => {}
            200 => {
                let detail = "the server ignores Range requests (status 200, expected 206): \
                              download the file and open it from disk";
                return Err(self.error(Some(200), detail));
            }
            status => return Err(self.error(Some(status), answer.refusal())),
        }
        let range = answer.header("content-range");
        let total = range.and_then(|range| {
            let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
            (span == format!("{first}-{last}")).then(|| total.parse::<u64>().ok())?
        });
        let Some(total) = total else {
            let found = range.unwrap_or("none");
            let detail = format!("expected Content-Range \"bytes {first}-{last}/LENGTH\", found \"{found}\"");
            return Err(self.error(Some(206), detail));
        };
        Ok((answer.into_reader(), total))
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
            let (mut reader, total) = self.request(offset, offset + needed - 1)?;
            if total != self.len {
                let detail = format!("the file changed: expected length {}, found {total}", self.len);
                return Err(self.error(Some(206), detail));
            }
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
