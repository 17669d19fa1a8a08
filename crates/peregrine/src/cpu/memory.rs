//! Buffers in host memory.

use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use bytemuck::Pod;

/// Bytes from which wide loads do not straddle two lines of the cache.
const LINE: usize = 64;

/// Bytes from which it is asked whether a buffer can be filled: what is smaller is no matter.
const LARGE: u64 = 16 << 20;

/// The bytes of a buffer, from a whole line of the cache on.
#[derive(Debug, Default)]
pub struct Memory {
    words: Vec<u32>,
    first: usize,
    bytes: usize,
}

impl Memory {
    /// Zeros; `None` where there is no room.
    fn zeros(bytes: usize) -> Option<Self> {
        let words = bytes.div_ceil(4).checked_add(LINE / 4)?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(words).ok()?;
        memory.resize(words, 0);
        // An offset that cannot be told only costs time.
        let first = Some(memory.as_ptr().align_offset(LINE)).filter(|first| *first <= LINE / 4).unwrap_or(0);
        Some(Self { words: memory, first, bytes })
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words[self.first..])[..self.bytes]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words[self.first..])[..self.bytes]
    }

    /// As values of a type.
    pub fn values<T: Pod>(&self) -> &[T] {
        let bytes = self.bytes();
        bytemuck::cast_slice(&bytes[..bytes.len() / size_of::<T>() * size_of::<T>()])
    }

    /// The same to be written.
    pub fn values_mut<T: Pod>(&mut self) -> &mut [T] {
        let bytes = self.bytes_mut();
        let whole = bytes.len() / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut bytes[..whole])
    }
}

/// A buffer. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<RwLock<Memory>>);

impl Buffer {
    /// Of so many zero bytes; `None` where there is no room.
    pub fn new(bytes: u64) -> Option<Self> {
        if bytes >= LARGE && super::available().is_some_and(|available| available < bytes) {
            return None;
        }
        Some(Self(Arc::new(RwLock::new(Memory::zeros(usize::try_from(bytes).ok()?)?))))
    }

    /// One without memory, as after [`Buffer::free`].
    pub fn empty() -> Self {
        Self(Arc::default())
    }

    /// Reads it; `None` while it is written.
    pub fn read(&self) -> Option<RwLockReadGuard<'_, Memory>> {
        match self.0.try_read() {
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            memory => memory.ok(),
        }
    }

    /// Writes it; `None` while it is read or written.
    pub fn write(&self) -> Option<RwLockWriteGuard<'_, Memory>> {
        match self.0.try_write() {
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            memory => memory.ok(),
        }
    }

    /// Overwrites bytes from `offset` on; whether they are in it.
    pub fn put(&self, offset: u64, from: &[u8]) -> bool {
        let Some(mut memory) = self.write() else { return false };
        let Some(range) = range(offset, from.len() as u64) else { return false };
        memory.bytes_mut().get_mut(range).map(|to| to.copy_from_slice(from)).is_some()
    }

    /// Makes bytes zeros; whether they are in it.
    pub fn clear(&self, offset: u64, bytes: Option<u64>) -> bool {
        let Some(mut memory) = self.write() else { return false };
        let bytes = bytes.unwrap_or((memory.bytes as u64).saturating_sub(offset));
        let Some(range) = range(offset, bytes) else { return false };
        memory.bytes_mut().get_mut(range).map(|to| to.fill(0)).is_some()
    }

    /// Copies to another buffer; whether both have the bytes.
    pub fn copy(&self, offset: u64, to: &Self, to_offset: u64, bytes: Option<u64>) -> bool {
        let Some(from) = self.read() else { return false };
        let bytes = bytes.unwrap_or((from.bytes as u64).saturating_sub(offset));
        let Some(range) = range(offset, bytes) else { return false };
        from.bytes().get(range).is_some_and(|from| to.put(to_offset, from))
    }

    /// Gives its memory back.
    pub fn free(&self) {
        if let Some(mut memory) = self.write() {
            *memory = Memory::default();
        }
    }
}

fn range(offset: u64, bytes: u64) -> Option<std::ops::Range<usize>> {
    let (first, bytes) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
    Some(first..first.checked_add(bytes)?)
}

/// Bytes that the caller may look at: a copy, since nobody can borrow for as long as they like.
#[derive(Debug)]
pub struct Mapped {
    buffer: Buffer,
    offset: u64,
    bytes: Vec<u8>,
    written: Mutex<bool>,
}

impl Mapped {
    /// Of these bytes of a buffer.
    pub fn new(buffer: &Buffer, place: std::ops::Range<u64>) -> Option<Self> {
        let bytes = buffer.read()?.bytes().get(range(place.start, place.end.checked_sub(place.start)?)?)?.to_vec();
        Some(Self { buffer: buffer.clone(), offset: place.start, bytes, written: Mutex::new(false) })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.written.get_mut().is_ok_and(|written| *written) {
            self.buffer.put(self.offset, &self.bytes);
        }
    }
}

#[expect(unsafe_code, reason = "wgpu's interface; nothing here is")]
impl wgpu::custom::BufferMappedRangeInterface for Mapped {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    unsafe fn read_slice(&self) -> &[u8] {
        &self.bytes
    }

    #[cfg(target_arch = "wasm32")]
    fn as_uint8array(&self) -> &js_sys::Uint8Array {
        super::device::never("memory of JavaScript's")
    }

    unsafe fn write_slice(&mut self) -> wgpu::WriteOnly<'_, [u8]> {
        if let Ok(written) = self.written.get_mut() {
            *written = true;
        }
        wgpu::WriteOnly::from_mut(&mut self.bytes)
    }
}

impl wgpu::custom::BufferInterface for Buffer {
    fn map_async(
        &self,
        _mode: wgpu::MapMode,
        _range: std::ops::Range<wgpu::BufferAddress>,
        callback: wgpu::custom::BufferMapCallback,
    ) {
        // What was submitted has been done.
        callback(Ok(()));
    }

    fn get_mapped_range(
        &self,
        range: std::ops::Range<wgpu::BufferAddress>,
    ) -> Result<wgpu::custom::DispatchBufferMappedRange, wgpu::MapRangeError> {
        // wgpu has compared the range with the buffer. One that was destroyed has nothing left to
        // show.
        let bytes = range.end - range.start;
        let mapped = Mapped::new(self, range).unwrap_or_else(|| Mapped {
            buffer: Self::empty(),
            offset: 0,
            bytes: vec![0; bytes as usize],
            written: Mutex::new(false),
        });
        Ok(wgpu::custom::DispatchBufferMappedRange::custom(mapped))
    }

    fn unmap(&self) {}

    fn destroy(&self) {
        self.free();
    }
}
