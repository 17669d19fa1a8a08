//! What comes back from the device: values, times, and that it is done.

use futures_channel::oneshot;

use super::Gpu;
use super::streaming::{Place, bytes_of};
use crate::error::{Error, Result};

/// A mark in the queue: [`Gpu::fence`].
pub struct Fence {
    submission: wgpu::SubmissionIndex,
    receiver: oneshot::Receiver<()>,
}

/// A read-back on its way.
pub struct Reading {
    staging: wgpu::Buffer,
    submission: wgpu::SubmissionIndex,
    receiver: oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl Gpu {
    /// Reads `len` f32 from float `first` of a buffer, after all work queued so far.
    ///
    /// # Errors
    /// What the device has reported since the last check, or a lost device.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) async fn read(&self, buffer: &wgpu::Buffer, first: u64, len: u64) -> Result<Vec<f32>> {
        if len == 0 {
            return Ok(Vec::new());
        }
        let staging = self.staging(4 * len);
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 4 * first, &staging, 0, 4 * len);
        self.arrive_once(self.submit_reading(encoder, staging)).await
    }

    /// Reads pieces of buffers (buffer, first byte, bytes; multiples of 4) one after the other,
    /// after all work queued so far.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub(crate) async fn read_places(&self, places: &[Place]) -> Result<Vec<u8>> {
        match places.iter().any(|(_, _, bytes)| *bytes > 0) {
            true => self.arrive_once(self.reading_of(places)).await,
            false => Ok(Vec::new()),
        }
    }

    /// The same, asked for now and read later: what follows may overwrite it. At least one byte.
    pub(crate) fn reading_of(&self, places: &[Place]) -> Reading {
        self.reading_into(self.staging(bytes_of(places)), places)
    }

    /// The same into a buffer of [`Gpu::staging`], which has room for it.
    pub(super) fn reading_into(&self, staging: wgpu::Buffer, places: &[Place]) -> Reading {
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        let mut at = 0;
        for (buffer, first, bytes) in places {
            encoder.copy_buffer_to_buffer(buffer, *first, &staging, at, *bytes);
            at += bytes;
        }
        self.submit_reading(encoder, staging)
    }

    /// Seconds that one pass takes on the GPU, by its own clock; `None` where the device has no
    /// timestamps.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) async fn timed(&self, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) -> Result<Option<f64>> {
        let device = &self.0.device;
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: Some("timed"),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: &set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            }),
        });
        record(&mut pass);
        drop(pass);
        encoder.resolve_query_set(&set, 0..2, &resolved, 0);
        let staging = self.staging(16);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, 16);
        let ticks = self.arrive_once::<u64>(self.submit_reading(encoder, staging)).await?;
        resolved.destroy();
        set.destroy();
        let ticks = ticks[1].saturating_sub(ticks[0]);
        Ok(Some(ticks as f64 * f64::from(self.0.queue.get_timestamp_period()) * 1e-9))
    }

    /// A buffer to read back `bytes` bytes with.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn staging(&self, bytes: u64) -> wgpu::Buffer {
        self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read-back"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Submits work that fills `staging`, and asks for its content without waiting.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn submit_reading(&self, encoder: wgpu::CommandEncoder, staging: wgpu::Buffer) -> Reading {
        let submission = self.0.queue.submit([encoder.finish()]);
        let (sender, receiver) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |outcome| {
            let _ = sender.send(outcome);
        });
        Reading { staging, submission, receiver }
    }

    /// The content of a read-back, once its work is done, and the buffer to use again.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) async fn arrive<T: bytemuck::Pod>(&self, reading: Reading) -> Result<(Vec<T>, wgpu::Buffer)> {
        let staging = self.mapped(reading).await?;
        let view = staging.get_mapped_range(..).map_err(|e| Error::Gpu { detail: e.to_string() })?;
        let values = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        staging.unmap();
        Ok((values, staging))
    }

    /// The content of a read-back whose buffer is not wanted again: in a browser it would lie there
    /// until the collector comes.
    pub(crate) async fn arrive_once<T: bytemuck::Pod>(&self, reading: Reading) -> Result<Vec<T>> {
        let (values, staging) = self.arrive(reading).await?;
        staging.destroy();
        Ok(values)
    }

    /// Maps a buffer of [`Gpu::staging`] for reading, after all work queued so far.
    ///
    /// # Errors
    /// As [`Gpu::read`].
    pub(crate) async fn map(&self, staging: &wgpu::Buffer) -> Result<()> {
        let encoder = self.0.device.create_command_encoder(&Default::default());
        self.mapped(self.submit_reading(encoder, staging.clone())).await.map(|_| ())
    }

    pub(super) async fn mapped(&self, reading: Reading) -> Result<wgpu::Buffer> {
        let Reading { staging, submission, receiver } = reading;
        self.wait(submission).await?;
        let outcome = receiver.await;
        self.check()?;
        match outcome {
            Ok(Ok(())) => Ok(staging),
            Ok(Err(e)) => Err(Error::Gpu { detail: format!("read-back failed: {e}") }),
            Err(_) => Err(Error::DeviceLost { detail: "a read-back was never answered".into() }),
        }
    }

    /// A mark behind everything queued so far.
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) fn fence(&self) -> Fence {
        let submission = self.0.queue.submit([]);
        let (sender, receiver) = oneshot::channel();
        self.0.queue.on_submitted_work_done(move || {
            let _ = sender.send(());
        });
        Fence { submission, receiver }
    }

    /// Waits until the device has done everything before the mark.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    #[cfg_attr(feature = "internals", doc(hidden), visibility::make(pub))]
    pub(crate) async fn passed(&self, fence: Fence) -> Result<()> {
        self.wait(fence.submission).await?;
        let _ = fence.receiver.await;
        self.check()
    }

    /// Waits until the device has done everything queued so far.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub async fn sync(&self) -> Result<()> {
        self.passed(self.fence()).await
    }

    /// Natively somebody must turn the crank until that submission is done; a browser does by
    /// itself, unless the processor computes.
    async fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        #[cfg(target_arch = "wasm32")]
        if self.0.processor {
            self.0.messages.let_in().await;
        }
        match self.0.device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None }) {
            Ok(_) => Ok(()),
            Err(e) => {
                self.check()?;
                Err(Error::DeviceLost { detail: e.to_string() })
            }
        }
    }
}
