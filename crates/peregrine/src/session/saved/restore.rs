//! Reading a saved session.

use std::ops::Range;

use futures_util::StreamExt;
use futures_util::stream;

use super::checksum::Checksum;
use super::{Header, MAGIC, PIECE, PREFIX, SavedAdapter, places};
use crate::checkpoint::Source;
use crate::error::{Error, Result};
use crate::gpu::streaming::{batches, bytes_of};
use crate::session::adapters::in_words;
use crate::session::{Session, check_range};

/// Pieces that are read at a time: the next ones arrive while the device takes one.
const UNDER_WAY: usize = 3;
/// Bytes of the shortest checksum.
const SHORTEST: u64 = 16;

impl Session {
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
        let mut prefix = [0; PREFIX as usize];
        if source.len() < PREFIX + SHORTEST {
            return Err(missing("a saved state", PREFIX + SHORTEST));
        }
        source.read(0, &mut prefix).await?;
        let word = |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        if prefix[..8] != MAGIC {
            return Err(wrong("magic", "a saved state".into(), format!("{:02x?}", &prefix[..8])));
        }
        let Some(mut checksum) = Checksum::of_version(word(8)) else {
            return Err(other("version", "2 or 3".into(), word(8).to_string()));
        };
        let header_len = u64::from(word(12));
        if PREFIX + header_len + checksum.bytes() > source.len() {
            return Err(missing("the state's header", PREFIX + header_len + checksum.bytes()));
        }
        let mut header = vec![0; header_len as usize];
        source.read(PREFIX, &mut header).await?;
        checksum.update(&prefix);
        checksum.update(&header);
        let header: Header = serde_json::from_slice(&header)
            .map_err(|error| wrong("header", "the state's header".into(), error.to_string()))?;
        let model = self.engine.model.fingerprint();
        if header.model != model {
            return Err(other("model", format!("the state of model {model}"), format!("that of {}", header.model)));
        }
        let kv = self.engine.model.kv().kv_type();
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
        let states = of_layer * self.decoder.state.layers.len() as u64 + self.decoder.state.recurrent_bytes();
        let expected = PREFIX + header_len + states + 4 * logits + checksum.bytes();
        if source.len() != expected {
            return Err(wrong("length", format!("{expected} bytes"), format!("{} bytes", source.len())));
        }
        self.make_room(position)?;
        self.decoder.begin_restoring();
        let mut at = PREFIX + header_len;
        self.read_states(source, at..at + states, position, &mut checksum).await?;
        at += states;
        let mut last = vec![0_u8; 4 * logits as usize];
        source.read(at, &mut last).await?;
        checksum.update(&last);
        let mut sum = vec![0; checksum.bytes() as usize];
        source.read(at + last.len() as u64, &mut sum).await?;
        let kind = checksum.name();
        if checksum.finish() != sum {
            return Err(wrong("checksum", format!("the {kind} of what is before it"), "another".into()));
        }
        self.logits = last.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        self.decoder.end_restoring(position);
        self.ids = header.ids;
        self.pending = header.pending as usize;
        self.consumed = header.consumed;
        self.note = header.note;
        Ok(())
    }
    /// Fills the states with bytes of the file.
    async fn read_states(
        &self,
        source: &dyn Source,
        bytes: Range<u64>,
        position: u32,
        checksum: &mut Checksum,
    ) -> Result<()> {
        let gpu = self.engine.model.gpu();
        let places = places(&self.decoder.state, position);
        let batches = batches(&places, PIECE);
        let starts = batches.iter().scan(bytes.start, |next, batch| {
            let at = *next;
            *next += bytes_of(batch);
            Some(at)
        });
        let pieces = starts.zip(&batches).map(|(at, batch)| async move {
            let mut piece = vec![0_u8; bytes_of(batch) as usize];
            source.read(at, &mut piece).await?;
            Ok::<_, Error>((*batch, piece))
        });
        let mut pieces = stream::iter(pieces).buffered(UNDER_WAY);
        let mut fence = None;
        while let Some(piece) = pieces.next().await {
            let (batch, piece) = piece?;
            checksum.update(&piece);
            let mut rest = &piece[..];
            for (buffer, first, bytes) in batch {
                let (part, after) = rest.split_at(*bytes as usize);
                gpu.write(buffer, *first, part);
                rest = after;
            }
            // What is queued lies in host memory until the device takes it: two pieces at most.
            if let Some(before) = fence.replace(gpu.fence()) {
                gpu.passed(before).await?;
            }
        }
        gpu.sync().await
    }
}
