//! What a plan is recorded for: here, and nowhere else, is decided which kernels an operation uses
//! and which workgroups suit them.

use super::attention::{self, AttentionCooperative};
use super::linear::{self, Team};
use super::{Op, Rows, ssm};
use crate::config::Config;
use crate::gpu::{Gpu, Reduction, ShapeClass};
use crate::inspect::TOLERANCE_F16;
use crate::kernels::constants;
use crate::state::KvType;
use crate::weights::GpuMatrix;

constants! {
    /// Invocations in a workgroup, and how many of them share one sum.
    Shape {
        /// Invocations in a workgroup.
        THREADS: u32,
        /// Invocations that share a sum; a power of two that divides `THREADS`.
        LANES: u32,
    }
}

/// What a plan is recorded for: how many tokens, on which kind of device, how keys and values are
/// kept. What is private is asked for in this file alone: others ask what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Many tokens at once, or one.
    pub many: bool,
    /// How sums over lanes are made.
    pub reduction: Reduction,
    /// How keys and values are kept.
    pub kv: KvType,
    /// Whether the CPU computes.
    class: ShapeClass,
    /// Whether many tokens are multiplied with cooperative matrices.
    cooperative: bool,
    /// Whether it is the processor, by kernels of its own.
    processor: bool,
    /// Most lanes that share a sum.
    most_lanes: u32,
    /// Most invocations of a workgroup.
    most_threads: u32,
}

/// Invocations of a workgroup to ask a device for, of those that it has. Rows of up to 96 strips
/// are one round of `matvec_team` with 384; larger workgroups were slower. Not on Metal, nor in a
/// browser, which may stand on it: there what a pipeline may have depends on its registers, and
/// only WebGPU's default is sure.
pub fn invocations(backend: wgpu::Backend, offered: u32) -> u32 {
    match backend {
        wgpu::Backend::Vulkan | wgpu::Backend::Dx12 => offered.min(384),
        _ => wgpu::Limits::defaults().max_compute_invocations_per_workgroup,
    }
}

impl Target {
    /// Steps of many tokens on this device.
    pub fn of(gpu: &Gpu, kv: KvType) -> Self {
        let most_lanes = match gpu.reduction() {
            Reduction::Subgroup => gpu.subgroup_min_size().unwrap_or(4).min(32),
            Reduction::Workgroup => 32,
        };
        // A size that is no power of two does not exist, but a driver's word is not ours.
        let most_lanes = if most_lanes.is_power_of_two() { most_lanes } else { 1 };
        let (class, reduction, most_threads) = (gpu.shapes(), gpu.reduction(), gpu.max_invocations());
        let processor = gpu.is_processor();
        Self { processor, ..Self::new(class, reduction, gpu.cooperative(), kv, most_lanes, most_threads) }
    }

    /// Steps of many tokens on a GPU or an adapter in software, which need not be there.
    /// `most_lanes` share a sum at most, `most_threads` are a workgroup.
    pub fn new(
        class: ShapeClass,
        reduction: Reduction,
        cooperative: bool,
        kv: KvType,
        most_lanes: u32,
        most_threads: u32,
    ) -> Self {
        Self { many: true, reduction, kv, class, cooperative, processor: false, most_lanes, most_threads }
    }

    /// The same for many tokens, or for one.
    pub fn tokens(self, many: bool) -> Self {
        Self { many, ..self }
    }

    fn is_software(&self) -> bool {
        self.class == ShapeClass::Software
    }

    /// Whether norms and what prepares the mixers are part of the dispatches that follow them: one
    /// token, on a GPU. Software adapters would repeat that work in every workgroup and save
    /// nothing, since their dispatches cost nothing.
    pub fn fused(&self) -> bool {
        !self.many && !self.is_software()
    }

    /// Whether the norm of the SSM heads' output, in so many groups, is part of the linear layer
    /// that follows.
    pub fn fuses_gated_norm(&self, groups: u32) -> bool {
        self.fused() && groups == 1
    }

    /// The kernel of a linear layer. Only whole chunks are worth cooperative matrices.
    pub fn linear(&self, op: Op) -> linear::Variant {
        use linear::Variant::{Cooperative, Rows as OneToken, Team, Tile, Tokens};
        match (self.many, self.class) {
            (true, _) if self.cooperative && op.rows() == Rows::All => Cooperative,
            (true, ShapeClass::Hardware) => Tile,
            (true, ShapeClass::Software) => Tokens,
            (false, ShapeClass::Hardware) => Team,
            (false, ShapeClass::Software) => OneToken,
        }
    }

    /// The kernel of many tokens' attention.
    pub fn attention(&self, c: &Config) -> attention::Variant {
        match self.class {
            ShapeClass::Software => attention::Variant::Head,
            ShapeClass::Hardware if self.cooperative && AttentionCooperative::fits(c) => {
                attention::Variant::Cooperative
            }
            ShapeClass::Hardware => attention::Variant::Tile,
        }
    }

    /// Whether many tokens' SSM heads go chunk by chunk, with buffers for the chunks' states.
    pub fn has_ssm_chunks(&self) -> bool {
        !self.is_software()
    }

    /// The kernels of many tokens' SSM heads.
    pub fn ssm(&self, c: &Config) -> ssm::Variant {
        match self.class {
            ShapeClass::Software => ssm::Variant::Scan,
            ShapeClass::Hardware if self.cooperative && ssm::Variant::cooperative_fits(c) => ssm::Variant::Cooperative,
            ShapeClass::Hardware => ssm::Variant::Chunks,
        }
    }

    /// Whether the GPU samples at a temperature, too: not where the CPU computes, which reads the
    /// logits for nothing.
    pub fn samples_at_temperatures(&self) -> bool {
        !self.is_software()
    }

    /// So many tokens are read as quickly one after the other as at once. On a GPU a few at once
    /// take as long as a whole tile of them: on an H200 as long as some twenty, one by one.
    pub fn most_one_by_one(&self) -> usize {
        if self.is_software() { 1 } else { 8 }
    }

    /// Tokens read at a time in prefill unless the options say otherwise.
    pub fn chunk(&self) -> u32 {
        match (self.class, self.cooperative) {
            // Weights are decoded once for all of them.
            (ShapeClass::Software, _) if self.processor => 64,
            (ShapeClass::Software, _) => 32,
            (ShapeClass::Hardware, false) => 256,
            (ShapeClass::Hardware, true) => 1024,
        }
    }

    /// Bytes that a model and its sessions can have at most, where that is known of the device:
    /// wasm32 has addresses for 4 GiB, of which `own` are the module's.
    pub fn most_bytes(&self, own: u64) -> Option<u64> {
        self.is_here().then_some((4 << 30) - own)
    }

    /// Whether it is computed on the thread that hears of its end, and of all else: the processor
    /// in a browser.
    pub fn is_here(&self) -> bool {
        self.processor && cfg!(target_arch = "wasm32")
    }

    /// Tokens of a prompt that kernels compute together: a block that is not full takes as long as
    /// one that is.
    pub fn block(&self) -> u32 {
        if self.is_software() { 8 } else { 64 }
    }

    /// Dispatches to submit at a time before the device has shown how fast it is; `None` for all.
    pub fn first_dispatches(&self) -> Option<usize> {
        self.is_software().then_some(8)
    }

    /// Whether the device samples answers itself. On the processor a step that is queued is done
    /// before anything else: whoever waits for a token would wait for the step after it, too.
    pub fn samples(&self) -> bool {
        !self.processor
    }

    /// Whether work can be queued behind work that is waited for. Where the CPU computes it would
    /// be done before anybody is asked.
    pub fn queues(&self) -> bool {
        !self.is_software()
    }

    /// Whether the first use of pipelines and buffers costs time that can be spent beforehand.
    pub fn warms_up(&self) -> bool {
        !self.is_software()
    }

    /// Steps that are queued at most on tokens which the host does not know, where they are quick.
    /// In Chromium the way to the device and back takes about as long as one or two of them.
    pub fn most_steps_ahead(&self) -> u32 {
        if self.is_software() { 1 } else { 4 }
    }

    /// Whether a driver has compiled its kernels, so that they are tried before they are used. The
    /// processor's are as they were built and tested.
    pub fn needs_self_check(&self) -> bool {
        !self.processor
    }

    /// Tokens of each step of the self-check. First a prompt: on a GPU more than a tile and more
    /// than a chunk of the SSM heads, where the CPU computes more than the eight tokens that its
    /// kernels take at a time. Then two tokens, which find states that are not zero, then one.
    pub fn self_check_steps(&self) -> [u32; 3] {
        if self.is_software() { [9, 2, 1] } else { [67, 2, 1] }
    }

    /// Whether factors of many tokens' products are rounded to f16.
    pub fn rounds_factors(&self) -> bool {
        self.cooperative
    }

    /// How far results may be from the twin's where they may be `exact` from it in f32: what a
    /// prompt leaves in the states is as exact as the prompt.
    pub fn tolerance(&self, exact: f32) -> f32 {
        if self.rounds_factors() { TOLERANCE_F16 } else { exact }
    }

    /// How far logits after the kernels for many tokens may be from those after the kernels for
    /// one.
    pub fn tolerance_between_kernels(&self) -> f32 {
        match (self.rounds_factors(), self.kv) {
            (true, _) => 16.0 * TOLERANCE_F16,
            (false, KvType::F32) => 1e-3,
            (false, KvType::F16) => 1e-2,
            (false, KvType::Q8) => 1e-1,
        }
    }

    /// Invocations of `matvec` and `matmul`, the kernels of software adapters; each has two rows.
    pub fn linear_threads(&self) -> u32 {
        16
    }

    /// For `matvec_team`. `together`: rows of the matrix that a workgroup may share; `pairs`:
    /// whether an invocation may have two. `besides`: bytes of workgroup memory for other things.
    pub fn team(&self, matrix: &GpuMatrix, together: u32, pairs: bool, besides: u32) -> Team {
        let lanes = self.most_lanes;
        let strips = matrix.row_strips();
        let rows = together.min(4).min(lanes);
        // A pair halves what is read of the input, and the workgroups: where enough of them are
        // left.
        let paired = pairs && together >= 2 * rows && matrix.rows >= 4096;
        let mut spans = 1;
        loop {
            let span = strips.div_ceil(spans);
            let rounds = (rows * span).div_ceil(self.most_threads);
            let threads = (rows * span.div_ceil(rounds)).next_multiple_of(lanes);
            // The staged input, the lanes' sums, and what a reduction through workgroup memory
            // needs, in vec4s.
            if 8 * span + rows * (threads / lanes) + threads <= (MOST_WORKGROUP_MEMORY - besides) / 16 {
                let rounds = span.div_ceil(threads / rows);
                return Team {
                    THREADS: threads,
                    LANES: lanes,
                    ROWS: rows,
                    PAIRED: paired,
                    SPAN: span,
                    SPANS: spans,
                    ROUNDS: rounds,
                };
            }
            spans += 1;
        }
    }

    /// For A x of adapters with so many ranks, in fours; of many tokens with how many of these a
    /// workgroup has: so many that there are about four for each four tokens, however many ranks.
    pub fn lora_down(&self, ranks: u32) -> (Shape, u32) {
        match (self.class, self.many) {
            (ShapeClass::Software, _) => (Shape { THREADS: 16, LANES: 1 }, 1),
            (ShapeClass::Hardware, false) => (Shape { THREADS: 128, LANES: self.most_lanes }, 1),
            (ShapeClass::Hardware, true) => {
                let threads = self.most_threads.min(256);
                let most = (threads / self.most_lanes).min(8);
                let fours = (ranks / 4).next_power_of_two().clamp(1, most);
                (Shape { THREADS: threads, LANES: self.most_lanes }, fours)
            }
        }
    }

    /// For a norm over `width` values: one sum a workgroup, always through workgroup memory.
    pub fn norm(&self, width: u32) -> Shape {
        let lanes = match self.class {
            ShapeClass::Software => 1,
            ShapeClass::Hardware => 128.min((width / 8).max(1).next_power_of_two()),
        };
        Shape { THREADS: lanes, LANES: lanes }
    }

    /// For the mixers of one token on a GPU, with `d_state` N.
    pub fn mixer_step(&self, d_state: u32) -> Shape {
        Shape { THREADS: 256, LANES: self.most_lanes.min((d_state / 4).next_power_of_two()) }
    }

    /// For `candidates`.
    pub fn candidates(&self) -> u32 {
        match self.class {
            ShapeClass::Software => 16,
            ShapeClass::Hardware => 256,
        }
    }

    /// For kernels that work element by element.
    pub fn elements(&self) -> u32 {
        match self.class {
            ShapeClass::Software => 32,
            ShapeClass::Hardware => 64,
        }
    }
}

/// What every WebGPU device allows of workgroup memory, bytes.
const MOST_WORKGROUP_MEMORY: u32 = 16384;
