//! Reading: bytes and values of tensors.

use super::{Checkpoint, Container, TensorInfo, names, source};
use crate::{Error, Result};

impl Checkpoint {
    /// Reads `buf.len()` bytes of a tensor, from its byte `offset` on.
    ///
    /// # Errors
    /// [`Error::Truncated`] past the tensor's end; the source's.
    pub async fn read(&self, tensor: &TensorInfo, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (needed, what) = (buf.len() as u64, &tensor.stored_name);
        source::check_range(&self.file, what, offset, needed, tensor.bytes)?;
        // `source` and the sum were checked when the tensor was listed.
        if self.remembered.copy_to(&tensor.name, offset, buf) {
            return Ok(());
        }
        self.sources[tensor.source].read(tensor.offset + offset, buf).await?;
        self.remembered.add(&tensor.name, offset, buf);
        Ok(())
    }

    /// Keeps rows of a tensor when they are read the next time, so that reading them again costs
    /// nothing. A tensor that the model does not have has none.
    pub(crate) fn remember(&self, hf_name: &str, rows: std::ops::Range<u64>) {
        if let Some(tensor) = self.get(hf_name) {
            let end = rows.end.min(tensor.rows()) * tensor.row_bytes();
            self.remembered.want(hf_name, rows.start * tensor.row_bytes()..end);
        }
    }

    /// Gives back the memory of what was remembered.
    pub(crate) fn forget(&self) {
        self.remembered.forget();
    }

    /// A whole tensor in f32. For small tensors, and for the CPU twin.
    ///
    /// `shape` is checked; dimensions of 1 do not count.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`], or the source's.
    pub async fn read_f32(&self, hf_name: &str, shape: &[u64]) -> Result<Vec<f32>> {
        let tensor = self.tensor(hf_name)?;
        let big = |&d: &u64| d != 1;
        if !shape.iter().copied().filter(big).eq(tensor.shape.iter().copied().filter(big)) {
            return Err(Error::TensorShape {
                name: self.file.clone(),
                tensor: tensor.stored_name.clone(),
                expected: shape.to_vec(),
                found: tensor.shape.clone(),
            });
        }
        self.read_rows_f32(tensor, 0, tensor.rows()).await
    }

    /// [`Error::Malformed`] where a weight among `bytes`, which begin at a row of the tensor, is
    /// NaN or infinite.
    pub(crate) fn check_finite(&self, tensor: &TensorInfo, first_row: u64, bytes: &[u8]) -> Result<()> {
        let spec = tensor.format.spec();
        let Some(block) = spec.first_not_finite(bytes) else {
            return Ok(());
        };
        let row = first_row + block as u64 * u64::from(spec.bytes) / tensor.row_bytes().max(1);
        Err(Error::Malformed {
            name: self.file.clone(),
            field: format!("tensor {}", tensor.stored_name),
            expected: "finite weights".into(),
            found: format!("NaN or an infinity in row {row}"),
        })
    }

    /// Rows `first_row..first_row + rows` of a tensor in f32, row-major.
    ///
    /// # Errors
    /// [`Error::Truncated`] past the last row; [`Error::Malformed`] for NaN and infinities; the
    /// source's.
    pub async fn read_rows_f32(&self, tensor: &TensorInfo, first_row: u64, rows: u64) -> Result<Vec<f32>> {
        let what = format!("rows of {}", tensor.stored_name);
        source::check_range(&self.file, &what, first_row, rows, tensor.rows())?;
        // The tensor lies inside its file, so these products are at most a small multiple of the
        // file's length.
        let row_bytes = tensor.row_bytes();
        let size = |n: u64| {
            usize::try_from(n).ok().filter(|&n| n < isize::MAX as usize / 4).ok_or_else(|| Error::OutOfMemory {
                what: what.clone(),
                bytes: Some(n),
                limit: Some(isize::MAX as u64),
            })
        };
        let mut bytes = vec![0; size(rows * row_bytes)?];
        let mut values = vec![0.0; size(rows * tensor.cols())?];
        self.read(tensor, first_row * row_bytes, &mut bytes).await?;
        self.check_finite(tensor, first_row, &bytes)?;
        tensor.format.spec().dequantize_blocks(&bytes, &mut values);
        Ok(values)
    }

    /// A = -exp(A_log) of one layer, one negative number for each of H heads.
    ///
    /// # Errors
    /// As [`Checkpoint::read_f32`].
    pub async fn mamba_a(&self, layer: u32) -> Result<Vec<f32>> {
        let shape = [self.config.mamba_n_heads.into()];
        match self.container {
            Container::Gguf => self.read_f32(&format!("model.layers.{layer}.mamba.A"), &shape).await,
            Container::Safetensors => {
                let name = format!("model.layers.{layer}.mamba.A_log");
                let mut a = self.read_f32(&name, &shape).await?;
                a.iter_mut().for_each(|a| *a = names::a_of_log(*a));
                Ok(a)
            }
        }
    }
}
