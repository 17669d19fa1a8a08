//! Pieces of tensors that will be wanted a second time: kept as they come by, so that nobody has to
//! fetch them again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

/// A piece: bytes of a tensor, as far as they have come, from its first on.
struct Piece {
    range: Range<u64>,
    bytes: Vec<u8>,
}

/// Pieces by the tensor that they are of.
#[derive(Default)]
pub(super) struct Remembered(RefCell<HashMap<String, Vec<Piece>>>);

impl Remembered {
    /// Keeps this range of a tensor's bytes when it is read the next time, from its beginning to
    /// its end.
    pub fn want(&self, tensor: &str, range: Range<u64>) {
        self.0.borrow_mut().entry(tensor.into()).or_default().push(Piece { range, bytes: Vec::new() });
    }

    pub fn forget(&self) {
        self.0.borrow_mut().clear();
    }

    /// Bytes of a tensor that have been read.
    pub fn add(&self, tensor: &str, offset: u64, read: &[u8]) {
        let mut all = self.0.borrow_mut();
        let Some(pieces) = all.get_mut(tensor) else { return };
        for Piece { range, bytes } in pieces {
            let next = range.start + bytes.len() as u64;
            let end = range.end.min(offset + read.len() as u64);
            if offset <= next && next < end {
                bytes.extend_from_slice(&read[(next - offset) as usize..(end - offset) as usize]);
            }
        }
    }

    /// Fills `buf` with a tensor's bytes from `offset` on, if they are here.
    pub fn copy_to(&self, tensor: &str, offset: u64, buf: &mut [u8]) -> bool {
        let all = self.0.borrow();
        let found = all.get(tensor).into_iter().flatten().find_map(|Piece { range, bytes }| {
            let first = usize::try_from(offset.checked_sub(range.start)?).ok()?;
            bytes.get(first..first.checked_add(buf.len())?)
        });
        found.inspect(|found| buf.copy_from_slice(found)).is_some()
    }
}

impl std::fmt::Debug for Remembered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remembered({} tensors)", self.0.borrow().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_kept_however_it_is_cut() {
        let remembered = Remembered::default();
        let all: Vec<u8> = (0..100).collect();
        for range in [0..10, 5..45, 90..100, 7..7] {
            remembered.want("a", range);
        }
        let told = |offset: u64, len: usize| {
            let mut buf = vec![255; len];
            remembered.copy_to("a", offset, &mut buf).then_some(buf)
        };
        assert_eq!(told(0, 4), None, "nothing has been read");
        for (first, end) in [(0, 3), (3, 20), (20, 21), (21, 95), (10, 30), (95, 100)] {
            remembered.add("a", first, &all[first as usize..end]);
            remembered.add("b", first, &[0; 50]);
        }
        for (offset, len) in [(0, 10), (2, 5), (5, 40), (44, 1), (90, 10)] {
            assert_eq!(told(offset, len).as_deref(), Some(&all[offset as usize..][..len]), "{offset} {len}");
        }
        for (offset, len) in [(0, 11), (4, 42), (45, 1), (89, 2), (95, 6), (u64::MAX, 2)] {
            assert_eq!(told(offset, len), None, "{offset} {len}");
        }
        remembered.forget();
        assert_eq!(told(0, 1), None);
    }
}
