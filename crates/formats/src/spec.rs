//! What a format's row says about whole rows of a matrix.

use super::{Format, FormatSpec, STRIP};

impl FormatSpec {
    /// Strips of a row of `cols` values. A last strip that is not full is padded with zeros (float
    /// formats only).
    pub fn row_strips(&self, cols: usize) -> usize {
        cols.div_ceil(STRIP)
    }

    /// `u32` words of plane Q for a row of `cols` values.
    pub fn row_words(&self, cols: usize) -> usize {
        self.row_strips(cols) * self.strip_words as usize
    }

    /// 16-bit words of plane S for a row of `cols` values.
    pub fn row_halves(&self, cols: usize) -> usize {
        self.row_strips(cols) / self.unit_strips as usize * self.scale_halves as usize
    }

    /// Dequantizes whole blocks: `values.len() / block` of them.
    ///
    /// # Panics
    /// When `bytes` is not exactly that many blocks: the caller computes both lengths from one row.
    pub fn dequantize_blocks(&self, bytes: &[u8], values: &mut [f32]) {
        if self.block == 1 {
            // One call for the whole run: the float formats take any length.
            assert_eq!(bytes.len(), values.len() * self.bytes as usize);
            return (self.dequantize)(bytes, values);
        }
        let (block, size) = (self.block as usize, self.bytes as usize);
        assert_eq!((bytes.len() / size, bytes.len() % size), (values.len() / block, values.len() % block));
        for (bytes, values) in bytes.chunks_exact(size).zip(values.chunks_exact_mut(block)) {
            (self.dequantize)(bytes, values);
        }
    }

    /// Quantizes whole blocks; false if this runtime does not write the format.
    ///
    /// # Panics
    /// As [`FormatSpec::dequantize_blocks`].
    pub fn quantize_blocks(&self, values: &[f32], bytes: &mut [u8]) -> bool {
        let Some(quantize) = self.quantize else {
            return false;
        };
        let (block, size) = (self.block as usize, self.bytes as usize);
        assert_eq!((bytes.len() / size, bytes.len() % size), (values.len() / block, values.len() % block));
        if block == 1 {
            quantize(values, bytes);
        } else {
            values.chunks_exact(block).zip(bytes.chunks_exact_mut(size)).for_each(|(v, b)| quantize(v, b));
        }
        true
    }

    /// Repacks one row of a matrix, as it lies in a file, to the GPU's two planes.
    ///
    /// `row` is `Format::row_bytes(cols)` long, `strips` [`FormatSpec::row_words`], `meta`
    /// [`FormatSpec::row_halves`].
    ///
    /// # Panics
    /// When the three lengths do not belong to one row.
    pub fn repack_row(&self, row: &[u8], strips: &mut [u32], meta: &mut [u16]) {
        let unit_values = STRIP * self.unit_strips as usize;
        let unit_bytes = unit_values / self.block as usize * self.bytes as usize;
        let unit_words = (self.strip_words * self.unit_strips) as usize;
        let halves = self.scale_halves as usize;
        let units = row.len().div_ceil(unit_bytes);
        assert_eq!((strips.len(), meta.len()), (units * unit_words, units * halves));
        for (unit, bytes) in row.chunks(unit_bytes).enumerate() {
            let strips = &mut strips[unit * unit_words..(unit + 1) * unit_words];
            (self.repack)(bytes, strips, &mut meta[unit * halves..(unit + 1) * halves]);
        }
    }

    /// The first of these blocks with a weight that is NaN or infinite.
    pub fn first_not_finite(&self, bytes: &[u8]) -> Option<usize> {
        let odd_half = |block: &[u8], at: usize| block[at + 1] & 0x7c == 0x7c;
        let odd = |block: &[u8]| match self.format {
            Format::F32 => block[3] & 0x7f == 0x7f && block[2] & 0x80 != 0,
            Format::BF16 => block[1] & 0x7f == 0x7f && block[0] & 0x80 != 0,
            _ => self.halves.iter().any(|&at| odd_half(block, at)),
        };
        bytes.chunks_exact(self.bytes as usize).position(odd)
    }
}
