//! GGUF, versions 2 and 3: the header, the metadata, the tensor table. Nothing here believes the
//! file.
//!
//! Layout, little-endian: "GGUF", u32 version, u64 tensors, u64 fields; the fields (string key, u32
//! type, value); the tensors (string name, u32 dimensions, u64 each, u32 block type, u64 offset);
//! padding; the data. A string is a u64 length and its bytes; an array is a u32 type, a u64 count,
//! its items.
//!
//! The header has no length of its own, so it is read in growing pieces: [`read_header`] parses
//! what it has, and where that is too little it reads on, but never past the end that the source
//! itself reports.

use std::collections::HashSet;

use super::gguf_value::{Metadata, Value, type_name};
use super::source::{Source, check_range, refuse_stand_in};
use crate::format::Format;
use crate::{Error, Result};

/// The first read. Enough for the metadata of a small model, one round trip for any.
const FIRST_READ: u64 = 1 << 20;
/// No honest header is longer: 260,000 tokens and merges take 12 MB.
const MAX_HEADER: u64 = 1 << 28;
/// The longest key or tensor name that the specification allows.
const MAX_NAME: u64 = 65_535;
/// Arrays in arrays that are passed over.
const MAX_NESTING: u32 = 8;
/// GGUF knows up to four dimensions.
const MAX_DIMS: u32 = 4;

/// One row of the tensor table.
#[derive(Clone, Debug)]
pub struct RawTensor {
    /// Name in the file.
    pub name: String,
    /// Dimensions in file order: the fastest first.
    pub dims: Vec<u64>,
    /// Block format.
    pub format: Format,
    /// First byte, from the beginning of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// What a GGUF file says about itself.
#[derive(Debug)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// The fields, in file order.
    pub metadata: Metadata,
    /// The tensors, in file order.
    pub tensors: Vec<RawTensor>,
}

/// Reads and checks the header of `source`.
///
/// # Errors
/// [`Error::NotGguf`], [`Error::Truncated`], [`Error::Malformed`], [`Error::Unsupported`], or the
/// source's.
pub async fn read_header(source: &dyn Source) -> Result<Header> {
    let mut bytes = Vec::new();
    let mut want = FIRST_READ.min(source.len());
    loop {
        let have = bytes.len();
        bytes.resize(want as usize, 0);
        source.read(have as u64, &mut bytes[have..]).await?;
        match parse(source.name(), &bytes, source.len()) {
            Ok(header) => return Ok(header),
            Err(Stop::Wrong(error)) => return Err(*error),
            Err(Stop::More(end)) => {
                if end > MAX_HEADER {
                    return Err(malformed(source.name(), "the header", "at most 256 MiB", end));
                }
                // `end` lies inside the file, else it would have been Wrong, and past what is here:
                // this ends.
                want = end.max(want * 2).min(MAX_HEADER).min(source.len());
            }
        }
    }
}

/// A value of a field that nobody may need: whoever does says what is wrong with it.
fn odd(shown: impl ToString, kind: String) -> Value {
    Value::Odd { shown: shown.to_string(), kind }
}

/// Why parsing stopped.
enum Stop {
    /// The file has this many bytes, but they are not here yet.
    More(u64),
    /// The file lies.
    Wrong(Box<Error>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Wrong(Box::new(error))
    }
}

fn malformed(name: &str, field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Malformed {
        name: name.into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

fn unsupported(name: &str, field: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Unsupported {
        name: name.into(),
        field: field.into(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// A cursor over the bytes that are here, of a file that is `len` long.
struct Cursor<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
    len: u64,
}

impl<'a> Cursor<'a> {
    /// The next `n` bytes. `what` is for the message.
    fn take(&mut self, n: u64, what: &str) -> Result<&'a [u8], Stop> {
        let at = self.at as u64;
        check_range(self.name, what, at, n, self.len)?;
        let end = at + n;
        if end > self.bytes.len() as u64 {
            return Err(Stop::More(end));
        }
        let taken = &self.bytes[self.at..end as usize];
        self.at = end as usize;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &str) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count of things of at least `least` bytes each, which must fit the rest of the file.
    fn count(&mut self, what: &str, least: u64) -> Result<u64, Stop> {
        let count = self.u64(what)?;
        check_range(self.name, what, self.at as u64, count.saturating_mul(least), self.len)?;
        Ok(count)
    }

    fn string(&mut self, what: &str, most: u64) -> Result<String, Stop> {
        let length = self.u64(what)?;
        if length > most {
            let field = format!("the length of {what}");
            return Err(malformed(self.name, &field, format!("at most {most}"), length).into());
        }
        let bytes = self.take(length, what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(error) => {
                let found = format!("byte {:#04x}", bytes[error.valid_up_to()]);
                Err(malformed(self.name, what, "UTF-8", found).into())
            }
        }
    }

    /// One integer of GGUF type `ty`; `None` if it is not an integer type.
    fn int(&mut self, ty: u32, what: &str) -> Result<Option<i128>, Stop> {
        Ok(Some(match ty {
            0 => u8::from_le_bytes(self.array(what)?).into(),
            1 => i8::from_le_bytes(self.array(what)?).into(),
            2 => u16::from_le_bytes(self.array(what)?).into(),
            3 => i16::from_le_bytes(self.array(what)?).into(),
            4 => u32::from_le_bytes(self.array(what)?).into(),
            5 => i32::from_le_bytes(self.array(what)?).into(),
            10 => u64::from_le_bytes(self.array(what)?).into(),
            11 => i64::from_le_bytes(self.array(what)?).into(),
            _ => return Ok(None),
        }))
    }

    fn float(&mut self, ty: u32, what: &str) -> Result<f64, Stop> {
        Ok(match ty {
            6 => f32::from_le_bytes(self.array(what)?).into(),
            _ => f64::from_le_bytes(self.array(what)?),
        })
    }

    /// The value of field `key`.
    fn value(&mut self, key: &str) -> Result<Value, Stop> {
        let ty = self.u32(key)?;
        Ok(match ty {
            0..=5 | 10 | 11 => Value::Int(self.int(ty, key)?.unwrap_or_default()),
            6 | 12 => Value::Float(self.float(ty, key)?),
            7 => match self.array::<1>(key)?[0] {
                bit @ 0..=1 => Value::Bool(bit == 1),
                other => odd(other, format!("a bool that is {other}")),
            },
            8 => self.text(key)?,
            9 => self.list(key)?,
            _ => return Err(self.bad_type(key, ty)),
        })
    }

    /// A string, or what stands for one that is no UTF-8.
    fn text(&mut self, key: &str) -> Result<Value, Stop> {
        let length = self.u64(key)?;
        let bytes = self.take(length, key)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => Value::String(text.into()),
            Err(error) => {
                let kind = format!("a string that is not UTF-8 (byte {:#04x})", bytes[error.valid_up_to()]);
                odd(String::from_utf8_lossy(bytes), kind)
            }
        })
    }

    /// Passes over an array inside an array.
    fn nested(&mut self, key: &str, depth: u32) -> Result<(), Stop> {
        let (ty, field) = (self.u32(key)?, format!("field {key}"));
        let size = match ty {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..self.count(&field, 8)? {
                    let length = self.u64(key)?;
                    self.take(length, key)?;
                }
                return Ok(());
            }
            9 if depth > 0 => {
                for _ in 0..self.count(&field, 12)? {
                    self.nested(key, depth - 1)?;
                }
                return Ok(());
            }
            9 => return Err(malformed(self.name, &field, "arrays in at most 8 levels", "more").into()),
            _ => return Err(self.bad_type(key, ty)),
        };
        let count = self.count(&field, size)?;
        self.take(count * size, key)?;
        Ok(())
    }

    fn bad_type(&self, key: &str, ty: u32) -> Stop {
        let field = format!("the type of field {key}");
        malformed(self.name, &field, "a GGUF value type, 0 to 12", ty).into()
    }

    /// The items of an array field. Room is made only for items whose bytes are here.
    fn list(&mut self, key: &str) -> Result<Value, Stop> {
        let ty = self.u32(key)?;
        let least = match ty {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => {
                // Passed over: nothing needs one.
                let count = self.count(&format!("field {key}"), 12)?;
                for _ in 0..count {
                    self.nested(key, MAX_NESTING)?;
                }
                return Ok(odd(format!("{count} arrays"), "an array of arrays".into()));
            }
            _ => return Err(self.bad_type(key, ty)),
        };
        let count = self.count(&format!("field {key}"), least)?;
        let here = (self.bytes.len() - self.at) as u64 / least;
        let room = count.min(here) as usize;
        match ty {
            7 => {
                let bits = self.take(count, key)?;
                Ok(match bits.iter().find(|bit| **bit > 1) {
                    Some(other) => odd(format!("{count} bools"), format!("an array of bools, one of them {other}")),
                    None => Value::Bools(bits.iter().map(|bit| *bit == 1).collect()),
                })
            }
            8 => {
                // A string takes more memory than the 8 bytes that it must have in the file.
                let mut items = Vec::with_capacity(room.min(1 << 16));
                let mut broken = None;
                for _ in 0..count {
                    match self.text(key)? {
                        Value::String(text) => items.push(text),
                        other => broken = Some(other.kind()),
                    }
                }
                Ok(match broken {
                    Some(kind) => odd(format!("{count} strings"), format!("an array of strings, one of them {kind}")),
                    None => Value::Strings(items),
                })
            }
            6 | 12 => {
                let mut items = Vec::with_capacity(room);
                for _ in 0..count {
                    items.push(self.float(ty, key)?);
                }
                Ok(Value::Floats(items))
            }
            _ => {
                let mut items = Vec::with_capacity(room);
                let mut large = None;
                for _ in 0..count {
                    let item = self.int(ty, key)?.unwrap_or_default();
                    match i64::try_from(item) {
                        Ok(item) => items.push(item),
                        Err(_) => large = Some(item),
                    }
                }
                Ok(match large {
                    Some(item) => odd(format!("{count} integers"), format!("an array of integers, one of them {item}")),
                    None => Value::Ints(items),
                })
            }
        }
    }
}

/// Parses the header of a file that is `len` bytes long, of which `bytes` are here.
fn parse(name: &str, bytes: &[u8], len: u64) -> Result<Header, Stop> {
    let mut cursor = Cursor { name, bytes, at: 0, len };
    let magic = &bytes[..bytes.len().min(4)];
    if magic != b"GGUF" {
        refuse_stand_in(name, bytes, "a GGUF file")?;
        let found = format!("\"{}\"", magic.escape_ascii());
        return Err(Error::NotGguf { name: name.into(), found }.into());
    }
    cursor.take(4, "the magic")?;
    let version = cursor.u32("the version")?;
    if !(2..=3).contains(&version) {
        let found = if (2..=3).contains(&version.swap_bytes()) {
            format!("{} in big-endian order", version.swap_bytes())
        } else {
            version.to_string()
        };
        return Err(unsupported(name, "the GGUF version", "2 or 3, little-endian", found).into());
    }
    // The least that a tensor or a field can take: an empty name, and the fixed parts.
    let tensor_count = cursor.count("the tensor table", 8 + 4 + 4 + 8)?;
    let field_count = cursor.count("the metadata", 8 + 4 + 1)?;

    let mut metadata = Metadata::new(name);
    for index in 0..field_count {
        let key = cursor.string(&format!("the key of field {index}"), MAX_NAME)?;
        let begin = cursor.at;
        let value = cursor.value(&key)?;
        let vocabulary = ["tokens", "merges", "token_type", "scores"].map(|list| format!("tokenizer.ggml.{list}"));
        if !vocabulary.contains(&key) {
            metadata.push_raw(&key, &bytes[begin..cursor.at]);
        }
        metadata.push(key, value)?;
    }
    let alignment = metadata.u32_or("general.alignment", 32)?;
    if !alignment.is_power_of_two() {
        return Err(malformed(name, "general.alignment", "a power of two", alignment).into());
    }

    let mut tensors = Vec::new();
    for index in 0..tensor_count {
        tensors.push(tensor(&mut cursor, index)?);
    }
    let mut seen = HashSet::new();
    if let Some(twice) = tensors.iter().find(|t| !seen.insert(t.name.as_str())) {
        let field = format!("tensor {}", twice.name);
        return Err(malformed(name, &field, "one tensor of this name", "two").into());
    }
    let data = (cursor.at as u64).next_multiple_of(alignment.into());
    place(name, &mut tensors, data, alignment.into(), len)?;
    Ok(Header { version, metadata, tensors })
}

/// One row of the tensor table; its offset is still relative to the data.
fn tensor(cursor: &mut Cursor<'_>, index: u64) -> Result<RawTensor, Stop> {
    let file = cursor.name;
    let name = cursor.string(&format!("the name of tensor {index}"), MAX_NAME)?;
    let field = format!("tensor {name}");
    let rank = cursor.u32(&field)?;
    if !(1..=MAX_DIMS).contains(&rank) {
        return Err(malformed(file, &field, "1 to 4 dimensions", rank).into());
    }
    let mut dims = Vec::new();
    for _ in 0..rank {
        dims.push(cursor.u64(&field)?);
    }
    let type_id = cursor.u32(&field)?;
    let offset = cursor.u64(&field)?;

    let product = dims.iter().try_fold(1u64, |product, &d| product.checked_mul(d));
    if product.is_none_or(|values| values == 0) {
        let expected = "dimensions above 0 with a product below 2^64";
        return Err(malformed(file, &field, expected, format!("{dims:?}")).into());
    }
    let Some(format) = Format::from_gguf_id(type_id) else {
        let known: Vec<_> = crate::format::FORMATS.iter().map(|spec| spec.name).collect();
        let found = match type_name(type_id) {
            Some(known) => format!("block type {known} (id {type_id})"),
            None => format!("block type id {type_id}"),
        };
        let expected = format!("one of {}", known.join(", "));
        return Err(unsupported(file, &field, expected, found).into());
    };
    let Some(row) = format.row_bytes(dims[0]) else {
        let expected = format!("rows of a multiple of {} values for {format}", format.spec().block);
        return Err(malformed(file, &field, expected, dims[0]).into());
    };
    let bytes = dims[1..].iter().try_fold(row, |bytes, &d| bytes.checked_mul(d));
    let Some(bytes) = bytes else {
        let expected = "a tensor below 2^64 bytes";
        return Err(malformed(file, &field, expected, format!("{dims:?}")).into());
    };
    Ok(RawTensor { name, dims, format, offset, bytes })
}

/// Makes offsets absolute; every tensor must be aligned, inside the file, and alone in its place.
fn place(name: &str, tensors: &mut [RawTensor], data: u64, align: u64, len: u64) -> Result<()> {
    for tensor in tensors.iter_mut() {
        let what = format!("tensor {}", tensor.name);
        if !tensor.offset.is_multiple_of(align) {
            let expected = format!("an offset that is a multiple of {align}");
            return Err(malformed(name, &what, expected, tensor.offset));
        }
        // An overflow is a place past the end of any file.
        tensor.offset = tensor.offset.saturating_add(data);
        check_range(name, &what, tensor.offset, tensor.bytes, len)?;
    }
    let mut order: Vec<&RawTensor> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let field = format!("tensor {}", pair[1].name);
            let found = format!("an overlap with {}", pair[0].name);
            return Err(malformed(name, &field, "a place of its own", found));
        }
    }
    Ok(())
}
