//! The header of a GGUF file to be written: fields and the tensor table, version 3.

use std::collections::HashSet;

use peregrine::format::Format;

/// Where tensors begin: every offset is a multiple of this.
pub const ALIGNMENT: u64 = 32;

/// A value for [`GgufHeader::field`], of the types that this runtime writes.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// GGUF's UINT32.
    U32(u32),
    /// GGUF's FLOAT32.
    F32(f32),
    /// GGUF's BOOL.
    Bool(bool),
    /// GGUF's STRING.
    Str(&'a str),
    /// An array of STRING.
    Strs(&'a [String]),
    /// An array of INT32.
    I32s(&'a [i32]),
}

/// Collects a header; [`GgufHeader::bytes`] is its bytes, [`GgufHeader::offsets`] where the tensors
/// go.
#[derive(Default)]
pub struct GgufHeader {
    keys: HashSet<String>,
    fields: Vec<u8>,
    tensor_count: u64,
    tensors: Vec<u8>,
    data: u64,
    offsets: Vec<u64>,
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl GgufHeader {
    /// Appends a field. Keys are the caller's to keep distinct.
    pub fn field(&mut self, key: &str, value: Field<'_>) {
        self.keys.insert(key.into());
        let out = &mut self.fields;
        put_str(out, key);
        let mut typed = |id: u32, bytes: &[u8]| {
            out.extend(id.to_le_bytes());
            out.extend(bytes);
        };
        match value {
            Field::U32(value) => typed(4, &value.to_le_bytes()),
            Field::F32(value) => typed(6, &value.to_le_bytes()),
            Field::Bool(value) => typed(7, &[value.into()]),
            Field::Str(text) => {
                typed(8, &[]);
                put_str(out, text);
            }
            Field::I32s(items) => {
                typed(9, &5u32.to_le_bytes());
                out.extend((items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| out.extend(item.to_le_bytes()));
            }
            Field::Strs(items) => {
                typed(9, &8u32.to_le_bytes());
                out.extend((items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| put_str(out, item));
            }
        }
    }

    /// Appends a field of another file, type and value in that file's bytes; a key that is there
    /// already stays as it is.
    pub(crate) fn raw(&mut self, key: &str, bytes: &[u8]) {
        if self.keys.insert(key.into()) {
            put_str(&mut self.fields, key);
            self.fields.extend(bytes);
        }
    }

    /// Appends a tensor; `dims` has the fastest dimension first. Returns its length in bytes,
    /// `None` if its rows are not whole blocks or it is too large to exist.
    pub fn tensor(&mut self, name: &str, dims: &[u64], format: Format) -> Option<u64> {
        let row = format.row_bytes(*dims.first()?)?;
        let bytes = dims[1..].iter().try_fold(row, |bytes, &d| bytes.checked_mul(d))?;
        let end = self.data.checked_add(bytes)?.checked_next_multiple_of(ALIGNMENT)?;
        put_str(&mut self.tensors, name);
        self.tensors.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| self.tensors.extend(dim.to_le_bytes()));
        self.tensors.extend(format.spec().gguf_id.to_le_bytes());
        self.tensors.extend(self.data.to_le_bytes());
        self.offsets.push(self.data);
        self.tensor_count += 1;
        self.data = end;
        Some(bytes)
    }

    /// The header with its padding: the data of the first tensor follows.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(self.tensor_count.to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        out.extend(&self.fields);
        out.extend(&self.tensors);
        out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
        out
    }

    /// Where each tensor begins, counted from the end of [`GgufHeader::bytes`].
    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }
}
