//! A session as a file: what it has read, and all states, so that it goes on elsewhere without
//! reading anything again.
//!
//! Layout, little-endian: `PGSTATE\0`; version, u32; bytes of the header, u32; the header, JSON
//! ([`Header`]); then layer by layer:
//! keys \[position, nkv, hd\] and values, f16, f32 or blocks of 8 bits as the header says
//! ([`KvType`](crate::state::KvType)), the ring of the convolution \[conv_dim, K\] and the SSM
//! state \[H, P, N\], f32; the logits \[V\], f32, where nothing is pending; and the
//! [`Checksum`](checksum::Checksum) of everything before it. All lengths follow from the header and
//! the model's configuration, and are checked before anything is read.
//!
//! Version 3 is written; version 2, which differs in the checksum alone, is read as well.

mod checksum;
mod restore;

use serde::{Deserialize, Serialize};

use self::checksum::Checksum;
use super::Session;
use crate::adapter::Chosen;
use crate::chat::Transcript;
use crate::error::{Error, Result};
use crate::gpu::streaming::{Place, batches};
use crate::state::{LayerState, State};

const MAGIC: [u8; 8] = *b"PGSTATE\0";
const VERSION: u32 = 3;
const PREFIX: u64 = 16;
/// Bytes that are moved at a time: each costs a browser some milliseconds of waiting.
const PIECE: u64 = 8 << 20;

#[derive(Clone, Serialize, Deserialize)]
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
#[derive(Clone, Serialize, Deserialize)]
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

/// A file that is being written.
struct Output<'a> {
    checksum: Checksum,
    sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
}

impl<'a> Output<'a> {
    fn new(sink: &'a mut dyn FnMut(&[u8]) -> Result<()>) -> Self {
        Self { checksum: Checksum::default(), sink }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.checksum.update(bytes);
        (self.sink)(bytes)
    }

    fn finish(self) -> Result<()> {
        (self.sink)(&self.checksum.finish())
    }
}

impl Session {
    /// Writes the session to `sink`, piece by piece.
    ///
    /// # Errors
    /// The sink's, or what the device says.
    pub async fn save(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.settle();
        if self.pending == 0 && !self.ids.is_empty() && self.logits.is_empty() {
            // An answer was abandoned before its logits came, and a file has them.
            self.read_again();
        }
        let header = Header {
            ids: self.ids.clone(),
            pending: self.pending as u32,
            consumed: self.consumed.clone(),
            ..self.unread_header()
        };
        let mut file = Output::new(sink);
        file.put(&beginning(&header)?)?;
        let places = places(&self.decoder.state, self.position());
        let gpu = self.engine.model.gpu();
        gpu.stream_places(&batches(&places, PIECE), &mut |bytes| file.put(bytes)).await?;
        if self.pending == 0 && !self.ids.is_empty() {
            file.put(bytemuck::cast_slice(&self.logits))?;
        }
        file.finish()
    }

    /// Writes a session that has read nothing, with this one's [note](Session::note). It needs no
    /// device: what a lost one has read is lost, what was said need not be.
    ///
    /// # Errors
    /// The sink's.
    pub fn save_note(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.unread().save(self.note.as_deref(), sink)
    }

    /// What [`Session::save_note`] needs of a session, for whoever lets it go with a lost device.
    pub fn unread(&self) -> Unread {
        Unread { header: self.unread_header(), recurrent: self.decoder.state.recurrent_bytes() }
    }

    /// The header of a session that has read nothing.
    fn unread_header(&self) -> Header {
        Header {
            model: self.engine.model.fingerprint().into(),
            kv: self.engine.model.kv().kv_type().name().into(),
            ids: Vec::new(),
            pending: 0,
            consumed: None,
            note: self.note.clone(),
            adapters: self.adapters().iter().map(SavedAdapter::of).collect(),
        }
    }
}

/// Where the states lie on the GPU, in the file's order; no piece is larger than [`PIECE`].
fn places(state: &State, position: u32) -> Vec<Place> {
    let whole = |buffer: &wgpu::Buffer| (buffer.clone(), 0, buffer.size());
    let of = |(i, layer): (usize, &LayerState)| {
        let mut places = state.rows(i, false, 0, position);
        places.extend(state.rows(i, true, 0, position));
        places.extend([whole(&layer.conv), whole(&layer.ssm)]);
        places
    };
    let pieces = |(buffer, first, bytes): Place| {
        let piece = move |at| (buffer.clone(), first + at, PIECE.min(bytes - at));
        (0..bytes).step_by(PIECE as usize).map(piece)
    };
    state.layers.iter().enumerate().flat_map(of).flat_map(pieces).collect()
}

/// A session that has read nothing, as a file: all that is left of one whose device was lost.
pub struct Unread {
    header: Header,
    /// Bytes of convolution and SSM states, zeros.
    recurrent: u64,
}

impl Unread {
    /// Writes it with a [note](Session::note).
    ///
    /// # Errors
    /// The sink's.
    pub fn save(&self, note: Option<&str>, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut file = Output::new(sink);
        file.put(&beginning(&Header { note: note.map(String::from), ..self.header.clone() })?)?;
        let zeros = vec![0; PIECE as usize];
        let mut rest = self.recurrent;
        while rest > 0 {
            let piece = rest.min(PIECE);
            file.put(&zeros[..piece as usize])?;
            rest -= piece;
        }
        file.finish()
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
