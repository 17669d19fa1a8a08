//! The next token, sampled on the GPU and left there: the likeliest, or one at a temperature.

mod buffers;

pub use self::buffers::{CANDIDATES, Ends, MAX_ENDS, SamplingBuffers};
use super::{Op, Recorder};
use crate::kernels::{kernels, wgsl};
use crate::model::Model;
use crate::plan::Needed::{Greedy, Random, Token};
use crate::plan::Plan;
use crate::sampling::SamplingParams;

/// `Candidate` of `shaders/sample/candidate.wgsl`.
#[repr(C)]
pub struct Candidate([u32; 4]);

wgsl! {
    Candidate: "Candidate";
    Ends: "Ends";
    SamplingParams: "SamplingParams";
}

kernels! {
    /// The likeliest token of a slice of the vocabulary; keeps the logits.
    Candidates = CANDIDATES { THREADS: u32, SLICES: u32 }
    (
        ends: uniform Ends, logits: read f32, saved_logits: write f32, control: read u32, found: write Candidate, bins: write u32,
    )

    /// The same of the tokens that a mask allows.
    MaskedCandidates = MASKED_CANDIDATES { THREADS: u32, SLICES: u32 }
    (
        ends: uniform Ends, mask: read u32, saved_logits: write f32, masked: write u32, control: read u32, found: write Candidate, bins: write u32,
    )

    /// The likeliest of all.
    Sample = SAMPLE { SLICES: u32 } (ends: uniform Ends, found: read Candidate, ids: write u32, control: write u32)

    /// A slice of the vocabulary: tokens and their weights by distance from the likeliest.
    Histogram = HISTOGRAM { THREADS: u32, SLICES: u32 }
    (
        ends: uniform Ends, params: uniform SamplingParams, saved_logits: read f32, control: read u32, found: read Candidate,
        bins: write crate::kernels::Atomic,
    )

    /// The same slice: which bins top-k and top-p cut, the tokens in them, the weight of those
    /// before.
    Threshold = THRESHOLD { THREADS: u32, SLICES: u32 }
    (
        ends: uniform Ends, params: uniform SamplingParams, saved_logits: read f32, control: read u32, found: read Candidate,
        bins: read u32, slices: write [u32; 4], list: write u32,
    )

    /// All: the cuts exactly, and the walk to the random point.
    Multinomial = MULTINOMIAL { THREADS: u32, SLICES: u32 }
    (
        ends: uniform Ends, params: uniform SamplingParams, saved_logits: read f32, found: read Candidate, slices: read [u32; 4],
        list: read u32, ids: write u32, control: write u32,
    )
}

/// Invocations of a workgroup of [`Histogram`], [`Threshold`] and [`Multinomial`].
const THREADS: u32 = 256;

impl Model {
    /// The next token.
    pub(crate) fn sample(&self, r: &mut Recorder<'_>, buffers: &SamplingBuffers) {
        let SamplingBuffers { ends, saved_logits, control, candidates: found, bins, .. } = buffers;
        let logits = &self.scratch.logits;
        let (threads, all) = (r.target().candidates(), CANDIDATES);
        let kernel = Candidates { THREADS: threads, SLICES: all, ends, logits, saved_logits, control, found, bins };
        r.call(Op::Sample, &kernel, Token, move |_| [all, 1, 1]);
        self.sample_candidates(r, buffers, saved_logits);
    }

    /// The next token of those that a mask allows: a plan of its own, for after a step, while which
    /// the mask is made.
    pub(crate) fn masked_sample(&self, buffers: &SamplingBuffers) -> Plan {
        let mut r = Recorder::new(self.target.tokens(false), &self.step, &buffers.control);
        let SamplingBuffers { ends, saved_logits, mask, masked_logits: masked, .. } = buffers;
        let SamplingBuffers { control, candidates: found, bins, .. } = buffers;
        let (threads, all) = (r.target().candidates(), CANDIDATES);
        let kernel =
            MaskedCandidates { THREADS: threads, SLICES: all, ends, mask, saved_logits, masked, control, found, bins };
        r.call(Op::Sample, &kernel, Token, move |_| [all, 1, 1]);
        self.sample_candidates(&mut r, buffers, masked);
        Plan::new(&self.pipelines, r.finish())
    }

    /// From the likeliest of each slice, and the logits that were saved, to the token.
    fn sample_candidates(&self, r: &mut Recorder<'_>, buffers: &SamplingBuffers, saved_logits: &wgpu::Buffer) {
        let SamplingBuffers { ends, params, control, candidates: found, bins, slices, ids, .. } = buffers;
        let all = CANDIDATES;
        let kernel = Sample { SLICES: all, ends, found, ids, control };
        r.call(Op::Sample, &kernel, Greedy, |_| [1; 3]);
        if !self.samples_at_temperatures() {
            return;
        }
        let kernel = Histogram { THREADS, SLICES: all, ends, params, saved_logits, control, found, bins };
        r.call(Op::Sample, &kernel, Random, move |_| [all, 1, 1]);
        // The logits have been saved: their buffer has room for the list.
        let list = &self.scratch.logits;
        let kernel = Threshold { THREADS, SLICES: all, ends, params, saved_logits, control, found, bins, slices, list };
        r.call(Op::Sample, &kernel, Random, move |_| [all, 1, 1]);
        let kernel =
            Multinomial { THREADS, SLICES: all, ends, params, saved_logits, found, slices, list, ids, control };
        r.call(Op::Sample, &kernel, Random, |_| [1; 3]);
    }
}
