//! A session as a file: what it has read, and all states, so that it goes on elsewhere without
//! reading anything again.
//!
//! Layout, little-endian: `PGSTATE\0`; version, u32; bytes of the header, u32; the header, JSON
//! ([`Header`]); then layer by layer:
//! keys \[position, nkv, hd\] and values, f16, f32 or blocks of 8 bits as the header says
//! ([`KvType`](crate::state::KvType)), the ring of the convolution \[conv_dim, K\] and the SSM
//! state \[H, P, N\], f32; the logits \[V\], f32, where nothing is pending; and the SHA-256 of
//! everything before it. All lengths follow from the header and the model's configuration, and are
//! checked before anything is read.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::adapters::in_words;
use super::{Session, check_range};
use crate::adapter::Chosen;
use crate::chat::Transcript;
use crate::checkpoint::Source;
use crate::error::{Error, Result};
use crate::state::LayerState;

const MAGIC: [u8; 8] = *b"PGSTATE\0";
const VERSION: u32 = 2;
const PREFIX: u64 = 16;
const DIGEST: u64 = 32;
/// Bytes that are moved at a time.
const PIECE: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// [`Model::fingerprint`](crate::model::Model::fingerprint).
    model: String,
    /// [`KvType::name`](crate::state::KvType::name)
    kv: String,
    ids: Vec<u32>,
    /// How many at the end of `ids` the model has not run.
    pending: u32,
    /// What `ids` stand for, where they are a chat's.
    consumed: Option<Transcript>,
    /// [`Session::note`].
    note: Option<String>,
    /// Left out where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    adapters: Vec<SavedAdapter>,
}

/// An adapter that the states were made with.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedAdapter {
    /// For messages: it may be called otherwise where the file is read.
    name: String,
    /// [`Adapter::fingerprint`](crate::adapter::Adapter::fingerprint)
    fingerprint: String,
    scale: f32,
}

impl SavedAdapter {
    fn of(chosen: &Chosen) -> Self {
        let fingerprint = chosen.adapter().fingerprint().into();
        Self { name: chosen.name.to_string(), fingerprint, scale: chosen.scale }
    }

    fn is(&self, chosen: &Chosen) -> bool {
        self.fingerprint == chosen.adapter().fingerprint() && self.scale.to_bits() == chosen.scale.to_bits()
    }

    fn in_words(all: &[Self]) -> String {
        let one = |saved: &Self| match saved.scale {
            1.0 => format!("{:?} ({})", saved.name, saved.fingerprint),
            scale => format!("{:?} ({}) times {scale}", saved.name, saved.fingerprint),
        };
        match all {
            [] => "no adapters".into(),
            _ => format!("adapters {}", all.iter().map(one).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Session {
    /// Where the states lie on the GPU, in the file's order: buffer, first byte, bytes; no piece is
    /// larger than [`PIECE`].
    fn places(&self, position: u32) -> Vec<(wgpu::Buffer, u64, u64)> {
        let whole = |buffer: &wgpu::Buffer| (buffer.clone(), 0, buffer.size());
        let of = |(i, layer): (usize, &LayerState)| {
            let mut places = self.state.rows(i, false, 0, position);
            places.extend(self.state.rows(i, true, 0, position));
            places.extend([whole(&layer.conv), whole(&layer.ssm)]);
            places
        };
        let pieces = |(buffer, first, bytes): (wgpu::Buffer, u64, u64)| {
            let piece = move |at| (buffer.clone(), first + at, PIECE.min(bytes - at));
            (0..bytes).step_by(PIECE as usize).map(piece)
        };
        self.state.layers.iter().enumerate().flat_map(of).flat_map(pieces).collect()
    }

    /// Writes the session to `sink`, piece by piece.
    ///
    /// # Errors
    /// The sink's, or what the device says.
    pub async fn save(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.settle();
        let header = Header {
            ids: self.ids.clone(),
            pending: self.pending as u32,
            consumed: self.consumed.clone(),
            ..self.unread()
        };
        let mut digest = Sha256::new();
        let mut put = |bytes: &[u8]| {
            digest.update(bytes);
            sink(bytes)
        };
        put(&beginning(&header)?)?;
        let places = self.places(self.state.position);
        let mut rest = &places[..];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch(rest));
            put(&self.engine.model.gpu().read_places(batch).await?)?;
            rest = after;
        }
        if self.pending == 0 && !self.ids.is_empty() {
            put(bytemuck::cast_slice(&self.logits))?;
        }
        sink(&digest.finalize())
    }

    /// Writes a session that has read nothing, with this one's [note](Session::note). It needs no
    /// device: what a lost one has read is lost, what was said need not be.
    ///
    /// # Errors
    /// The sink's.
    pub fn save_note(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut digest = Sha256::new();
        let mut put = |bytes: &[u8]| {
            digest.update(bytes);
            sink(bytes)
        };
        put(&beginning(&self.unread())?)?;
        let zeros = vec![0; PIECE as usize];
        let mut rest = self.state.recurrent_bytes();
        while rest > 0 {
            let piece = rest.min(PIECE);
            put(&zeros[..piece as usize])?;
            rest -= piece;
        }
        sink(&digest.finalize())
    }

    /// The header of a session that has read nothing.
    fn unread(&self) -> Header {
        Header {
            model: self.engine.model.fingerprint().into(),
            kv: self.engine.model.kv().kv().name().into(),
            ids: Vec::new(),
            pending: 0,
            consumed: None,
            note: self.note.clone(),
            adapters: self.adapters().iter().map(SavedAdapter::of).collect(),
        }
    }

    /// Becomes the session that was saved, on this or another device. What it was is lost, also
    /// when the file turns out to be damaged: then it has read nothing.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no saved session or a damaged one, [`Error::Unsupported`]
    /// for another version or another model, [`Error::Truncated`], [`Error::ContextFull`]; what the
    /// device says.
    pub async fn restore(&mut self, source: &dyn Source) -> Result<()> {
        self.reset();
        let read = self.read_saved(source).await;
        if read.is_err() {
            self.reset();
        }
        read
    }

    async fn read_saved(&mut self, source: &dyn Source) -> Result<()> {
        let name = source.name();
        let wrong = |field: &str, expected: String, found: String| Error::Malformed {
            name: name.into(),
            field: field.into(),
            expected,
            found,
        };
        let other = |field: &str, expected: String, found: String| Error::Unsupported {
            name: name.into(),
            field: field.into(),
            expected,
            found,
        };
        let missing = |what: &str, needed: u64| Error::Truncated {
            name: name.into(),
            what: what.into(),
            offset: 0,
            needed,
            available: source.len(),
        };
        let mut digest = Sha256::new();
        let mut prefix = [0; PREFIX as usize];
        if source.len() < PREFIX + DIGEST {
            return Err(missing("a saved state", PREFIX + DIGEST));
        }
        source.read(0, &mut prefix).await?;
        let word = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        if prefix[..8] != MAGIC {
            return Err(wrong("magic", "a saved state".into(), format!("{:02x?}", &prefix[..8])));
        }
        if word(8) != VERSION {
            return Err(other("version", VERSION.to_string(), word(8).to_string()));
        }
        let header_len = u64::from(word(12));
        if PREFIX + header_len + DIGEST > source.len() {
            return Err(missing("the state's header", PREFIX + header_len + DIGEST));
        }
        let mut header = vec![0; header_len as usize];
        source.read(PREFIX, &mut header).await?;
        digest.update(prefix);
        digest.update(&header);
        let header: Header = serde_json::from_slice(&header)
            .map_err(|error| wrong("header", "the state's header".into(), error.to_string()))?;
        let model = self.engine.model.fingerprint();
        if header.model != model {
            return Err(other("model", format!("the state of model {model}"), format!("that of {}", header.model)));
        }
        let kv = self.engine.model.kv().kv();
        if header.kv != kv.name() {
            return Err(other("kv", format!("keys and values in {}", kv.name()), header.kv));
        }
        let own = self.adapters();
        if header.adapters.len() != own.len() || !header.adapters.iter().zip(own).all(|(saved, own)| saved.is(own)) {
            let expected = format!("the state of a session with {}", in_words(own));
            return Err(other(
                "adapters",
                expected,
                format!("that of one with {}", SavedAdapter::in_words(&header.adapters)),
            ));
        }
        let Some(position) = header.ids.len().checked_sub(header.pending as usize) else {
            return Err(wrong("pending", format!("at most {}", header.ids.len()), header.pending.to_string()));
        };
        self.fits(header.ids.len() as u64)?;
        check_range(&header.ids, self.engine.config())?;
        let position = position as u32;
        let keeps_logits = header.pending == 0 && position > 0;
        let logits = if keeps_logits { u64::from(self.engine.config().vocab_size) } else { 0 };
        let of_layer = 2 * u64::from(position) * kv.row_bytes(self.engine.config());
        let states = of_layer * self.state.layers.len() as u64 + self.state.recurrent_bytes();
        let expected = PREFIX + header_len + states + 4 * logits + DIGEST;
        if source.len() != expected {
            return Err(wrong("length", format!("{expected} bytes"), format!("{} bytes", source.len())));
        }
        self.make_room(position)?;
        let mut at = PREFIX + header_len;
        let mut piece = vec![0_u8; PIECE as usize];
        let gpu = self.engine.model.gpu().clone();
        let places = self.places(position);
        let mut rest = &places[..];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch(rest));
            let bytes = &mut piece[..batch.iter().map(|place| place.2 as usize).sum()];
            source.read(at, bytes).await?;
            digest.update(&*bytes);
            at += bytes.len() as u64;
            let mut from = 0;
            for (buffer, first, bytes_of) in batch {
                let end = from + *bytes_of as usize;
                gpu.write(buffer, *first, &bytes[from..end]);
                from = end;
            }
            // What is queued lies in host memory until the device takes it.
            gpu.sync().await?;
            rest = after;
        }
        let mut last = vec![0_u8; 4 * logits as usize];
        source.read(at, &mut last).await?;
        digest.update(&last);
        at += last.len() as u64;
        let mut sum = [0; DIGEST as usize];
        source.read(at, &mut sum).await?;
        if digest.finalize()[..] != sum {
            return Err(wrong("checksum", "the SHA-256 of what is before it".into(), "another".into()));
        }
        self.logits = last.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        self.state.position = position;
        self.ids = header.ids;
        self.pending = header.pending as usize;
        self.consumed = header.consumed;
        self.note = header.note;
        Ok(())
    }
}

/// A file's bytes up to the states.
fn beginning(header: &Header) -> Result<Vec<u8>> {
    let header = serde_json::to_vec(header)
        .map_err(|error| Error::Io { name: "the state".into(), source: std::io::Error::other(error) })?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header);
    Ok(bytes)
}

/// How many of the places fit one piece: at least one.
fn batch(places: &[(wgpu::Buffer, u64, u64)]) -> usize {
    let sums = places.iter().scan(0, |sum, (_, _, bytes)| {
        *sum += bytes;
        Some(*sum)
    });
    sums.take_while(|sum| *sum <= PIECE).count().max(1)
}
