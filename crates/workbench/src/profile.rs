//! Where a step's time goes: the GPU's own clock around each stage of the page.
//!
//! A stage is timed with the dispatches of all layers one after the other in one pass. Each writes
//! what the next one of its kind writes too, so they wait for each other as they do in a token, and
//! the time of one includes what a barrier costs. The sum over the stages is therefore close to the
//! time of the whole step, which is measured as well.

use peregrine::gpu::Reduction;
use peregrine::inspect::Runner;
use peregrine::kernels::Typed;
use peregrine::model::Model;
use peregrine::ops::{Op, Probe};
use peregrine::plan::{Dispatch, SamplingMode, Step};
use peregrine::session::Session;
use peregrine::state::splits;
use peregrine::{Error, Result};

/// One stage of the page, all layers together.
#[derive(Clone, Debug)]
pub struct StageTime {
    /// The line of the page; `None` for all of it.
    pub op: Option<Op>,
    /// Dispatches.
    pub dispatches: u32,
    /// Seconds on the GPU.
    pub seconds: f64,
    /// Bytes of weights that were read.
    pub weight_bytes: u64,
}

impl StageTime {
    /// As tables say it: "step" for all of the page.
    pub fn name(&self) -> &'static str {
        self.op.map_or("step", Op::name)
    }
}

/// Runs a step of `tokens` tokens at the session's position stage by stage, `repeat` times, and
/// gives each stage's median. The session is reset afterwards: its states have become meaningless.
///
/// # Errors
/// [`Error::Unsupported`] on a device without timestamps; what the device says.
pub async fn profile(session: &mut Session, tokens: u32, repeat: u32) -> Result<Vec<StageTime>> {
    let ids = vec![0; tokens as usize];
    let runner = Runner::begin(session, &ids).await?;
    let (step, plan, model) = (*runner.step(), runner.plan(), runner.session().engine().model());
    let (gpu, kv) = (model.gpu(), model.kv());
    let is_needed = |d: &&Dispatch| d.is_needed(&step, SamplingMode::Greedy);
    let mut ops = vec![None];
    for dispatch in plan.dispatches().iter().filter(is_needed) {
        if !ops.contains(&Some(dispatch.stage.op)) {
            ops.push(Some(dispatch.stage.op));
        }
    }
    let mut times = Vec::new();
    for op in ops {
        let of_stage = |d: &&Dispatch| op.is_none_or(|op| d.stage.op == op);
        let stage: Vec<&Dispatch> = plan.dispatches().iter().filter(is_needed).filter(of_stage).collect();
        let mut seconds = Vec::new();
        for _ in 0..=repeat {
            let timed = gpu.timed(|pass| stage.iter().for_each(|dispatch| dispatch.encode(pass, &step, kv))).await?;
            seconds.push(timed.ok_or_else(|| Error::Unsupported {
                name: gpu.name().into(),
                field: "timestamp-query".into(),
                expected: "a device with timestamps".into(),
                found: "none".into(),
            })?);
        }
        // The first run may have found the clocks low.
        let mut seconds = seconds.split_off(1);
        seconds.sort_by(f64::total_cmp);
        let weight_bytes = stage.iter().map(|d| d.weight_bytes).sum();
        times.push(StageTime { op, dispatches: stage.len() as u32, seconds: seconds[seconds.len() / 2], weight_bytes });
    }
    session.reset();
    Ok(times)
}

/// What a token costs in decode, counted from the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenCost {
    /// Dispatches, those that sample the next token included.
    pub dispatches: u32,
    /// Bytes of weights that are read.
    pub weight_bytes: u64,
    /// Bytes of the recurrent states: read and written.
    pub state_bytes: u64,
    /// Bytes of keys and values that are read.
    pub kv_bytes: u64,
}

impl TokenCost {
    /// Of the token at `position`, sampled on the GPU.
    pub fn at(session: &Session, position: u32, mode: SamplingMode) -> Self {
        let step = Step { tokens: 1, position, first: 0, splits: splits(position + 1) };
        let needed = || session.plan(false).dispatches().iter().filter(|d| d.is_needed(&step, mode));
        let kv = session.engine().model().kv();
        Self {
            dispatches: needed().count() as u32,
            weight_bytes: needed().map(|d| d.weight_bytes).sum(),
            state_bytes: 2 * session.state().recurrent_bytes(),
            kv_bytes: u64::from(position + 1) * kv.bytes_of_page() / u64::from(peregrine::state::PAGE),
        }
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.weight_bytes + self.state_bytes + self.kv_bytes
    }
}

/// What a device can do at best, by its own clock.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSpeed {
    /// Bytes a second that a kernel reads which does nothing else.
    pub bytes_per_second: f64,
    /// Seconds from one dispatch to the next that waits for it and has nothing to do.
    pub dispatch_seconds: f64,
}

impl DeviceSpeed {
    /// Measures this device: 256 MiB, or what a binding holds, are allocated for a moment.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], what the device says. `None` on a device without timestamps.
    pub async fn measure(model: &Model) -> Result<Option<Self>> {
        let gpu = model.gpu();
        const THREADS: u32 = 256;
        const GROUPS: u32 = 4096;
        let large = gpu.storage("probe", (256 << 20).min(gpu.max_binding() / 16 * 16))?;
        let small = gpu.storage("probe", 16)?;
        let to = gpu.storage("probe", 4 * u64::from(THREADS * GROUPS))?;
        let best = async |from: &wgpu::Buffer, groups: u32, times: u32| -> Result<Option<f64>> {
            let probe = Probe { THREADS, data: from, sums: &to };
            let pipelines = model.pipelines();
            let (pipeline, bind_group) =
                pipelines.bound(Probe::KERNEL, Reduction::Workgroup, &probe.constants(), &probe.buffers());
            pipelines.finish().await?;
            let mut best = f64::INFINITY;
            // The clocks rise while it works.
            for _ in 0..10 {
                let timed = gpu.timed(|pass| {
                    pass.set_pipeline(&pipeline);
                    pass.set_bind_group(0, &bind_group, &[]);
                    (0..times).for_each(|_| pass.dispatch_workgroups(groups, 1, 1));
                });
                let Some(seconds) = timed.await? else { return Ok(None) };
                best = best.min(seconds / f64::from(times));
            }
            Ok(Some(best))
        };
        let (Some(read), Some(dispatch_seconds)) = (best(&large, GROUPS, 1).await?, best(&small, 1, 400).await?) else {
            return Ok(None);
        };
        Ok(Some(Self { bytes_per_second: large.size() as f64 / read, dispatch_seconds }))
    }

    /// Seconds that a token must cost here: its bytes, and its dispatches one after the other.
    pub fn floor(&self, token: &TokenCost) -> f64 {
        token.bytes() as f64 / self.bytes_per_second + f64::from(token.dispatches) * self.dispatch_seconds
    }
}
