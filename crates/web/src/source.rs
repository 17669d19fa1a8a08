//! A [`Source`] whose bytes JavaScript brings: HTTP ranges, files and blobs are all the same from
//! here.

use js_sys::{Array, Function, Promise, Uint8Array};
use peregrine::Error;
use peregrine::checkpoint::{LocalFuture, Source};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::convert::{text_field, to_js_number};

/// Reads through a JavaScript function
/// `(offset, length) => Promise<Uint8Array | Uint8Array[]>`: the bytes, or pieces that follow each
/// other.
pub struct JsSource {
    name: String,
    len: u64,
    read: Function,
}

impl JsSource {
    /// The source that `{ name, size, read(offset, length) }` is.
    pub fn new(file: &JsValue) -> Result<Self, JsValue> {
        let field = |name: &str| js_sys::Reflect::get(file, &name.into());
        let size = field("size")?.as_f64().unwrap_or_default();
        Ok(Self {
            name: text_field(file, "name").unwrap_or_default(),
            len: size as u64,
            read: field("read")?.dyn_into()?,
        })
    }

    /// What JavaScript threw, as our error. Its `code` says which.
    fn error(&self, thrown: &JsValue, offset: u64, needed: u64) -> Error {
        let message = text_field(thrown, "message").unwrap_or_else(|| format!("{thrown:?}"));
        match text_field(thrown, "code").as_deref() {
            Some("http") => Error::Http { url: self.name.clone(), status: None, detail: message },
            Some("truncated") => Error::Truncated {
                name: self.name.clone(),
                what: "a read".into(),
                offset,
                needed,
                available: self.len.saturating_sub(offset),
            },
            _ => Error::Io { name: self.name.clone(), source: std::io::Error::other(message) },
        }
    }
}

impl Source for JsSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, peregrine::Result<()>> {
        Box::pin(async move {
            let needed = buf.len() as u64;
            if offset.checked_add(needed).is_none_or(|end| end > self.len) {
                let available = self.len.saturating_sub(offset);
                return Err(Error::Truncated {
                    name: self.name.clone(),
                    what: "a read".into(),
                    offset,
                    needed,
                    available,
                });
            }
            let failed = |thrown: JsValue| self.error(&thrown, offset, needed);
            let promise = self
                .read
                .call2(&JsValue::NULL, &to_js_number(offset), &to_js_number(needed))
                .and_then(|value| value.dyn_into::<Promise>())
                .map_err(failed)?;
            let answer = JsFuture::from(promise).await.map_err(failed)?;
            let answer = if Array::is_array(&answer) { answer } else { Array::of1(&answer).into() };
            let pieces: Vec<Uint8Array> =
                Array::from(&answer).iter().map(JsCast::dyn_into).collect::<Result<_, _>>().map_err(failed)?;
            let came: u64 = pieces.iter().map(|piece| u64::from(piece.length())).sum();
            if came != needed {
                let source = std::io::Error::other(format!("{needed} bytes were asked for, {came} came"));
                return Err(Error::Io { name: self.name.clone(), source });
            }
            let mut rest = buf;
            for piece in pieces {
                let (here, behind) = rest.split_at_mut(piece.length() as usize);
                piece.copy_to(here);
                rest = behind;
            }
            Ok(())
        })
    }
}
