//! GPTQ checkpoints: a linear layer W \[out, in\] is stored as integers that lie along the input,
//! W\[o, i\] = scale\[g, o\] · (code\[i, o\] − zero\[g, o\]), where g is the group of input i. In
//! the file, with b bits (4 or 8) and 32 / b codes to an i32, from the low bits up:
//!
//! | tensor | shape | |
//! |---|---|---|
//! | qweight | \[in · b / 32, out\] | codes of consecutive inputs |
//! | qzeros | \[groups, out · b / 32\] | zeros of consecutive outputs; zero − 1 in version 1 |
//! | scales | \[groups, out\] | halves |
//! | g_idx | \[in\] | group of each input; may be missing where it is i / group_size |
//!
//! These values are also those of a block format, exactly: with zero 8 Q4_0's, with other zeros
//! Q5_0's (a code less its zero has 5 bits), with 8 bits and zero 128 Q8_0's. So such a layer is
//! offered as a tensor of that format, from a [`Source`] that packs its rows when they are asked
//! for. What no block can hold becomes F32, still exactly: inputs in another order (`desc_act`),
//! groups that are not whole blocks, other zeros of 8 bits, scales that are no halves.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use super::Found;
use super::source::{Source, check_range, read_whole};
use crate::checkpoint::LocalFuture;
use crate::format::{Format, STRIP};
use crate::{Error, Result};

/// Rows packed at a time: codes of neighboring outputs lie side by side in the file.
const ROWS: usize = 64;

/// `quantization_config`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scheme {
    bits: u32,
    /// `None`: all inputs are one group.
    group_size: Option<usize>,
    /// All zeros are half of the range.
    symmetric: bool,
    /// The file stores zero − 1.
    less_one: bool,
}

impl Scheme {
    /// Reads `quantization_config`, whose method is known to be gptq, of the file `name`.
    pub fn from_json(name: &str, config: &Value) -> Result<Self> {
        let field = |key: &str| format!("quantization_config.{key}");
        let unsupported = |key: &str, expected: &str| Error::Unsupported {
            name: name.into(),
            field: field(key),
            expected: expected.into(),
            found: config.get(key).map_or("nothing".into(), Value::to_string),
        };
        let bits = match config.get("bits").and_then(Value::as_u64) {
            Some(bits @ (4 | 8)) => bits as u32,
            _ => return Err(unsupported("bits", "4 or 8")),
        };
        let group_size = match config.get("group_size").and_then(Value::as_i64) {
            Some(-1) => None,
            Some(size @ 1..=1_000_000) => Some(size as usize),
            _ => return Err(unsupported("group_size", "a number of inputs, or -1")),
        };
        let switch = |key: &str| match config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| unsupported(key, "true or false")),
        };
        let less_one = match config.get("checkpoint_format").and_then(Value::as_str) {
            None | Some("gptq") => true,
            Some("gptq_v2") => false,
            Some(_) => return Err(unsupported("checkpoint_format", "gptq or gptq_v2")),
        };
        // Rules that leave layers as they are need nothing: such layers have plain weights. Others
        // must say what all say.
        for (rule, overrides) in config.get("dynamic").and_then(Value::as_object).into_iter().flatten() {
            let same = |(key, value): (&String, &Value)| config.get(key) == Some(value);
            if !rule.starts_with("-:") && !overrides.as_object().is_none_or(|overrides| overrides.iter().all(same)) {
                return Err(unsupported("dynamic", "the same scheme for all layers that are quantized"));
            }
        }
        switch("desc_act")?; // g_idx says what it means
        Ok(Self { bits, group_size, symmetric: switch("sym")?.unwrap_or(false), less_one })
    }

    fn per_word(self) -> usize {
        32 / self.bits as usize
    }

    fn mask(self) -> u32 {
        (1 << self.bits) - 1
    }
}

/// A run of bytes in a file.
struct Place {
    source: Rc<dyn Source>,
    offset: u64,
    bytes: u64,
}

impl Place {
    fn of(found: &Found, sources: &[Rc<dyn Source>]) -> Self {
        Self { source: sources[found.source].clone(), offset: found.offset, bytes: found.bytes }
    }

    async fn read(&self) -> Result<Vec<u8>> {
        read_whole(&*self.source, self.offset, self.bytes).await
    }
}

/// The tensors of a layer in memory.
struct Loaded {
    qweight: Vec<u8>,
    qzeros: Vec<u8>,
    scales: Vec<u8>,
}

/// The layer that was read last, which is read in many pieces: memory for one, however many there
/// are.
type Latest = Rc<RefCell<Option<(String, Rc<Loaded>)>>>;

/// One linear layer as a tensor of a block format, or of F32.
struct Linear {
    /// Without the ending.
    stem: String,
    file: String,
    scheme: Scheme,
    inputs: usize,
    outputs: usize,
    group_size: usize,
    /// The group of each input, where it is not i / group_size.
    order: Option<Vec<u32>>,
    scale_format: Format,
    format: Format,
    qweight: Place,
    qzeros: Place,
    scales: Place,
    latest: Latest,
}

/// Replaces the GPTQ layers among `ints` and `floats` by tensors that [`super::Checkpoint`] can
/// read: with sources of their own.
pub(super) async fn assemble(
    scheme: Scheme,
    floats: &mut Vec<Found>,
    ints: Vec<Found>,
    sources: &mut Vec<Rc<dyn Source>>,
) -> Result<()> {
    let mut ints: HashMap<String, Found> = ints.into_iter().map(|t| (t.stored_name.clone(), t)).collect();
    let mut stems: Vec<String> =
        ints.keys().filter_map(|name| name.strip_suffix(".qweight").map(String::from)).collect();
    stems.sort();
    let latest = Latest::default();
    for stem in stems {
        let file = |found: &Found| sources[found.source].name().to_string();
        let Some(qweight) = ints.remove(&format!("{stem}.qweight")) else { continue };
        let missing = |what: &str| Error::MissingTensor { name: file(&qweight), tensor: format!("{stem}.{what}") };
        let qzeros = ints.remove(&format!("{stem}.qzeros")).ok_or_else(|| missing("qzeros"))?;
        let at = floats.iter().position(|t| t.stored_name.strip_prefix(&stem) == Some(".scales"));
        let scales = floats.swap_remove(at.ok_or_else(|| missing("scales"))?);
        let g_idx = ints.remove(&format!("{stem}.g_idx"));
        let linear = Linear::new(scheme, stem, [&qweight, &qzeros, &scales], g_idx.as_ref(), sources, &latest).await?;
        floats.push(Found {
            stored_name: format!("{}.weight", linear.stem),
            shape: vec![linear.outputs as u64, linear.inputs as u64],
            format: linear.format,
            source: sources.len(),
            offset: 0,
            bytes: linear.len(),
        });
        sources.push(Rc::new(linear));
    }
    match ints.into_values().next() {
        None => Ok(()),
        Some(left) => Err(Error::Unsupported {
            name: sources[left.source].name().into(),
            field: format!("tensor {}", left.stored_name),
            expected: "integers only in qweight, qzeros and g_idx of one layer".into(),
            found: "dtype I32".into(),
        }),
    }
}

impl Linear {
    async fn new(
        scheme: Scheme,
        stem: String,
        [qweight, qzeros, scales]: [&Found; 3],
        g_idx: Option<&Found>,
        sources: &[Rc<dyn Source>],
        latest: &Latest,
    ) -> Result<Self> {
        let per_word = scheme.per_word() as u64;
        let file = sources[qweight.source].name().to_string();
        let [words, outputs] = *qweight.shape.as_slice() else {
            return Err(shape(&file, qweight, vec![0, 0]));
        };
        let inputs = words.saturating_mul(per_word);
        let group_size = scheme.group_size.map_or(inputs, |size| size as u64);
        let groups = inputs.div_ceil(group_size.max(1));
        for (tensor, expected) in [(qzeros, vec![groups, outputs / per_word]), (scales, vec![groups, outputs])] {
            if tensor.shape != expected || !outputs.is_multiple_of(per_word) {
                return Err(shape(&file, tensor, expected));
            }
        }
        // The tensors lie in their files, so these numbers fit.
        let (inputs, outputs) = (inputs as usize, outputs as usize);
        let order = match g_idx {
            None => None,
            Some(tensor) if tensor.shape != [inputs as u64] => return Err(shape(&file, tensor, vec![inputs as u64])),
            Some(tensor) => {
                let bytes = Place::of(tensor, sources).read().await?;
                let order: Vec<u32> = bytes.chunks_exact(4).map(word).collect();
                if let Some(odd) = order.iter().find(|group| u64::from(**group) >= groups) {
                    return Err(Error::Malformed {
                        name: file,
                        field: format!("tensor {}", tensor.stored_name),
                        expected: format!("groups below {groups}"),
                        found: odd.to_string(),
                    });
                }
                let plain = order.iter().zip(0u64..).all(|(group, i)| u64::from(*group) == i / group_size);
                (!plain).then_some(order)
            }
        };
        let whole_blocks = inputs.is_multiple_of(STRIP)
            && match &order {
                None => group_size.is_multiple_of(STRIP as u64),
                Some(order) => order.chunks(STRIP).all(|block| block.iter().all(|group| *group == block[0])),
            };
        let format = match (scheme.bits, scheme.symmetric) {
            _ if !whole_blocks || scales.format != Format::F16 => Format::F32,
            (4, true) => Format::Q4_0,
            (4, false) => Format::Q5_0,
            (8, true) => Format::Q8_0,
            _ => Format::F32,
        };
        Ok(Self {
            stem,
            file,
            scheme,
            inputs,
            outputs,
            group_size: group_size as usize,
            order,
            scale_format: scales.format,
            format,
            qweight: Place::of(qweight, sources),
            qzeros: Place::of(qzeros, sources),
            scales: Place::of(scales, sources),
            latest: latest.clone(),
        })
    }

    fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.inputs as u64).unwrap_or(0) as usize
    }

    fn group(&self, input: usize) -> usize {
        self.order.as_ref().map_or(input / self.group_size, |order| order[input] as usize)
    }

    async fn loaded(&self) -> Result<Rc<Loaded>> {
        if let Some((stem, loaded)) = &*self.latest.borrow()
            && *stem == self.stem
        {
            return Ok(loaded.clone());
        }
        // The one before goes first.
        self.latest.replace(None);
        let (qweight, qzeros, scales) =
            (self.qweight.read().await?, self.qzeros.read().await?, self.scales.read().await?);
        let loaded = Rc::new(Loaded { qweight, qzeros, scales });
        self.latest.replace(Some((self.stem.clone(), loaded.clone())));
        Ok(loaded)
    }

    /// Codes of rows `first..first + rows`, row by row.
    fn codes(&self, loaded: &Loaded, first: usize, rows: usize) -> Vec<u8> {
        let (per_word, mask, bits) = (self.scheme.per_word(), self.scheme.mask(), self.scheme.bits as usize);
        let mut codes = vec![0; rows * self.inputs];
        for (at, words) in loaded.qweight.chunks_exact(4 * self.outputs).enumerate() {
            for (row, bytes) in words[4 * first..4 * (first + rows)].chunks_exact(4).enumerate() {
                let word = word(bytes);
                let to = row * self.inputs + at * per_word;
                for (j, code) in codes[to..to + per_word].iter_mut().enumerate() {
                    *code = (word >> (bits * j) & mask) as u8;
                }
            }
        }
        codes
    }

    fn zero(&self, loaded: &Loaded, group: usize, output: usize) -> u8 {
        let (per_word, bits) = (self.scheme.per_word(), self.scheme.bits as usize);
        let at = 4 * (group * (self.outputs / per_word) + output / per_word);
        let stored = word(&loaded.qzeros[at..at + 4]) >> (bits * (output % per_word)) & self.scheme.mask();
        // A zero of 0 less one is the greatest code.
        (if self.scheme.less_one { (stored + 1) & self.scheme.mask() } else { stored }) as u8
    }

    /// One row in the tensor's format.
    fn pack(&self, loaded: &Loaded, output: usize, codes: &[u8], row: &mut [u8]) -> Result<()> {
        let size = self.scale_format.spec().bytes as usize;
        let scale = |group: usize| &loaded.scales[size * (group * self.outputs + output)..][..size];
        if self.format == Format::F32 {
            let mut by_group: Vec<Option<(f32, f32)>> = Vec::new();
            for (i, (code, value)) in codes.iter().zip(row.chunks_exact_mut(4)).enumerate() {
                let group = self.group(i);
                by_group.resize(by_group.len().max(group + 1), None);
                let (scale, zero) = *by_group[group].get_or_insert_with(|| {
                    let mut one = [0.0];
                    self.scale_format.spec().dequantize_blocks(scale(group), &mut one);
                    (one[0], f32::from(self.zero(loaded, group, output)))
                });
                // A half times 9 bits: nothing is rounded.
                value.copy_from_slice(&(scale * (f32::from(*code) - zero)).to_le_bytes());
            }
            return Ok(());
        }
        let block_bytes = self.format.spec().bytes as usize;
        let middle = 1u8 << (self.scheme.bits - 1);
        for (at, (block, codes)) in row.chunks_exact_mut(block_bytes).zip(codes.chunks_exact(STRIP)).enumerate() {
            let group = self.group(at * STRIP);
            let zero = self.zero(loaded, group, output);
            block[..2].copy_from_slice(scale(group));
            if self.format != Format::Q5_0 && zero != middle {
                return Err(Error::Malformed {
                    name: self.file.clone(),
                    field: format!("tensor {}.qzeros", self.stem),
                    expected: format!("{middle} everywhere, as quantization_config.sym says"),
                    found: zero.to_string(),
                });
            }
            match self.format {
                Format::Q8_0 => {
                    for (byte, code) in block[2..].iter_mut().zip(codes) {
                        *byte = code ^ 0x80; // less 128
                    }
                }
                Format::Q4_0 => nibbles(&mut block[2..], |i| codes[i]),
                _ => {
                    let five = |i: usize| codes[i] + 16 - zero;
                    let high = (0..STRIP).fold(0, |high, i| high | u32::from(five(i) >> 4) << i);
                    block[2..6].copy_from_slice(&high.to_le_bytes());
                    nibbles(&mut block[6..], |i| five(i) & 15);
                }
            }
        }
        Ok(())
    }
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// 16 bytes: value i in the low nibble of byte i, value i + 16 in the high one.
fn nibbles(bytes: &mut [u8], code: impl Fn(usize) -> u8) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = code(i) | code(i + 16) << 4;
    }
}

fn shape(file: &str, tensor: &Found, expected: Vec<u64>) -> Error {
    Error::TensorShape { name: file.into(), tensor: tensor.stored_name.clone(), expected, found: tensor.shape.clone() }
}

impl Source for Linear {
    fn name(&self) -> &str {
        &self.file
    }

    fn len(&self) -> u64 {
        self.outputs as u64 * self.row_bytes() as u64
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, Result<()>> {
        Box::pin(async move {
            check_range(&self.file, &self.stem, offset, buf.len() as u64, self.len())?;
            let loaded = self.loaded().await?;
            let row_bytes = self.row_bytes();
            let mut row = vec![0; row_bytes];
            // In range, so it fits usize.
            let (mut at, end) = (offset as usize, offset as usize + buf.len());
            while at < end {
                let first = at / row_bytes;
                let rows = (end.div_ceil(row_bytes) - first).min(ROWS);
                for (i, codes) in self.codes(&loaded, first, rows).chunks_exact(self.inputs).enumerate() {
                    self.pack(&loaded, first + i, codes, &mut row)?;
                    // The first and the last row may be wanted in part.
                    let from = at - (first + i) * row_bytes;
                    let to = row_bytes.min(end - (first + i) * row_bytes);
                    buf[at - offset as usize..][..to - from].copy_from_slice(&row[from..to]);
                    at += to - from;
                }
            }
            Ok(())
        })
    }
}
