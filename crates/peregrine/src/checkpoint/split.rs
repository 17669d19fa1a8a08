//! Models in several GGUF files, as llama.cpp's `gguf-split` cuts them: `NAME-00001-of-00003.gguf`
//! and so on. Every file has a header and a tensor table of its own; the metadata of the model is
//! in the first.

use std::collections::HashSet;
use std::rc::Rc;

use super::Found;
use super::gguf::{Header, read_header};
use super::source::Source;
use crate::{Error, Result};

/// The names of all files of a split model, in order, from the name of any of them; `None` for
/// other names. What follows a `?` in an address stays.
pub fn names(name: &str) -> Option<Vec<String>> {
    let (path, query) = name.split_at(name.find('?').unwrap_or(name.len()));
    let stem = path.strip_suffix(".gguf")?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (rest, number) = rest.rsplit_once('-')?;
    if !digits(count) || !digits(number) {
        return None;
    }
    let (count, number): (u32, u32) = (count.parse().ok()?, number.parse().ok()?);
    let names = (1..=count).map(|i| format!("{rest}-{i:05}-of-{count:05}.gguf{query}"));
    (1..=count).contains(&number).then(|| names.collect())
}

/// Reads the headers of all files: the first one's, with the tensors of all.
///
/// # Errors
/// As [`read_header`]; [`Error::Malformed`] when a file is not the part that its place says, or
/// tensors are missing or occur twice; [`Error::Unsupported`] for one part alone.
pub(super) async fn read(sources: &[Rc<dyn Source>]) -> Result<(Header, Vec<Found>)> {
    let mut first = None;
    let mut tensors: Vec<Found> = Vec::new();
    for (i, source) in sources.iter().enumerate() {
        let mut header = read_header(&**source).await?;
        let (name, metadata) = (source.name(), &header.metadata);
        let (count, number) = (metadata.u32_or("split.count", 1)?, metadata.u32_or("split.no", 0)?);
        if sources.len() == 1 && count > 1 {
            return Err(Error::Unsupported {
                name: name.into(),
                field: "split.count".into(),
                expected: "all files of a model in several files".into(),
                found: format!("part {} of {count} alone", u64::from(number) + 1),
            });
        }
        let wrong = |field: &str, expected: usize, found: u32| Error::Malformed {
            name: name.into(),
            field: field.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        };
        if count.max(1) as usize != sources.len() {
            return Err(wrong("split.count", sources.len(), count));
        }
        if number as usize != i {
            return Err(wrong("split.no", i, number));
        }
        tensors.extend(std::mem::take(&mut header.tensors).into_iter().map(|t| Found {
            stored_name: t.name,
            shape: t.dims.into_iter().rev().collect(),
            format: t.format,
            source: i,
            offset: t.offset,
            bytes: t.bytes,
        }));
        first.get_or_insert(header);
    }
    let Some(header) = first else {
        return Err(Error::Argument {
            field: "model".into(),
            expected: "at least one file".into(),
            found: "none".into(),
        });
    };
    let malformed = |field: String, expected: String, found: String| Error::Malformed {
        name: header.metadata.file().into(),
        field,
        expected,
        found,
    };
    let stated = header.metadata.u32_opt("split.tensors.count")?;
    if let Some(stated) = stated.filter(|stated| *stated as usize != tensors.len()) {
        let found = format!("{} in all files", tensors.len());
        return Err(malformed("split.tensors.count".into(), stated.to_string(), found));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = tensors.iter().find(|t| !seen.insert(t.stored_name.as_str())) {
        return Err(malformed(format!("tensor {}", twice.stored_name), "one tensor of this name".into(), "two".into()));
    }
    Ok((header, tensors))
}
