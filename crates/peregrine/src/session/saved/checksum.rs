//! The checksum at a state's end. It finds damage: whoever wants to deceive can make it anew.

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::VERSION;

/// What the bytes of a file come to, as its version has it.
pub(super) enum Checksum {
    /// Version 2. In a browser, where no instruction makes it, gigabytes took seconds.
    Sha256(Sha256),
    /// Version 3: 128 bits of XXH3, which is as fast as a copy.
    Xxh3(Box<Xxh3>),
}

impl Default for Checksum {
    /// Of a file of the version that is written.
    fn default() -> Self {
        Self::Xxh3(Box::default())
    }
}

impl Checksum {
    /// Before the first byte of a file of this version; nothing for one that this runtime cannot
    /// read.
    pub(super) fn of_version(version: u32) -> Option<Self> {
        match version {
            2 => Some(Self::Sha256(Sha256::new())),
            VERSION => Some(Self::default()),
            _ => None,
        }
    }

    /// For messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Xxh3(_) => "XXH3",
        }
    }

    /// Bytes at the end of a file.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Sha256(_) => 32,
            Self::Xxh3(_) => 16,
        }
    }

    /// The next bytes of the file.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(digest) => digest.update(bytes),
            Self::Xxh3(digest) => digest.update(bytes),
        }
    }

    /// What stands at the end of a file with these bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(digest) => digest.finalize().to_vec(),
            Self::Xxh3(digest) => digest.digest128().to_le_bytes().to_vec(),
        }
    }
}
