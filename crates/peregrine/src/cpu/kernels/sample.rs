//! The likeliest token, of all or of those that a mask allows; it becomes the next step's input. At
//! a temperature the host samples, which reads the logits for nothing here.

use crate::cpu::pool::prelude::*;

use super::{Numbers, Run, Slot};
use crate::ops::sample::{Candidates, Ends, MaskedCandidates};

/// None that can be sampled.
const NO_TOKEN: u32 = u32::MAX;

/// `Candidate` of `shaders/sample/candidate.wgsl`.
#[derive(Clone, Copy)]
struct Candidate {
    logit: f32,
    token: u32,
    wrong: u32,
}

impl Candidate {
    const NONE: Self = Self { logit: 0.0, token: NO_TOKEN, wrong: 0 };

    /// The likelier one, among equals the lower id.
    fn better(self, other: Self) -> Self {
        let second = other.token != NO_TOKEN
            && (self.token == NO_TOKEN
                || other.logit > self.logit
                || (other.logit == self.logit && other.token < self.token));
        let best = if second { other } else { self };
        Self { wrong: self.wrong | other.wrong, ..best }
    }

    fn words(self) -> [u32; 4] {
        [self.logit.to_bits(), self.token, self.wrong, 0]
    }

    fn of([logit, token, wrong, _]: [u32; 4]) -> Self {
        Self { logit: f32::from_bits(logit), token, wrong }
    }
}

/// The slices of the vocabulary, each every so many runs of so many tokens, and the best of each.
fn slices(vocab: usize, threads: usize, slices: usize, of: impl Fn(usize) -> Candidate, found: &mut [[u32; 4]]) {
    for (slice, found) in found.iter_mut().enumerate().take(slices) {
        let runs = (slice * threads..vocab).step_by(slices * threads);
        let tokens = runs.flat_map(|first| first..(first + threads).min(vocab));
        *found = tokens.map(&of).fold(Candidate::NONE, Candidate::better).words();
    }
}

pub fn candidates(c: Numbers<Candidates<'_>>) -> Run {
    let (threads, count) = (c.THREADS as usize, c.SLICES as usize);
    Box::new(move |slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [ends, logits, saved_logits, control, found, bins] = slots else { return };
        let vocab = ends.one::<Ends>().vocab_size as usize;
        let logits = &logits.of::<f32>()[..vocab];
        if control.of::<u32>()[0] == 0 {
            saved_logits.written::<f32>()[..vocab].copy_from_slice(logits);
        }
        let of = |i: usize| match logits[i].is_finite() {
            true => Candidate { logit: logits[i], token: i as u32, wrong: 0 },
            false => Candidate { wrong: 1, ..Candidate::NONE },
        };
        slices(vocab, threads, count, of, found.written());
        bins.written::<u32>()[..3072].fill(0);
    })
}

pub fn masked_candidates(c: Numbers<MaskedCandidates<'_>>) -> Run {
    let (threads, count) = (c.THREADS as usize, c.SLICES as usize);
    Box::new(move |slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [ends, mask, saved_logits, masked, control, found, bins] = slots else { return };
        let vocab = ends.one::<Ends>().vocab_size as usize;
        let mask = mask.of::<u32>();
        let allowed = |i: usize| (mask[i / 32] >> (i % 32)) & 1 == 1;
        let masked = &mut masked.written::<f32>()[..vocab];
        let of = |i: usize| match (masked[i].is_finite(), allowed(i)) {
            (true, true) => Candidate { logit: masked[i], token: i as u32, wrong: 0 },
            (true, false) => Candidate::NONE,
            (false, _) => Candidate { wrong: 1, ..Candidate::NONE },
        };
        slices(vocab, threads, count, of, found.written());
        if control.of::<u32>()[0] == 0 {
            saved_logits.written::<f32>()[..vocab].copy_from_slice(masked);
            let forbidden = masked.iter_mut().enumerate().filter(|(i, _)| !allowed(*i));
            forbidden.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
        }
        bins.written::<u32>()[..3072].fill(0);
    })
}

pub fn sample() -> Run {
    Box::new(|slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [ends, found, ids, control] = slots else { return };
        let (ends, found) = (ends.one::<Ends>(), found.of::<[u32; 4]>());
        let best = found.iter().map(|words| Candidate::of(*words)).fold(Candidate::NONE, Candidate::better);
        let control = control.written::<u32>();
        if control[0] != 0 {
            return;
        }
        // No finite logit at all is as wrong as a NaN. The id must stay inside the vocabulary
        // whatever happens.
        let failed = best.wrong != 0 || best.token == NO_TOKEN;
        let token = if failed { 0 } else { best.token };
        let is_end = failed || ends.id[..ends.count as usize].contains(&token);
        ids.written::<u32>()[0] = token;
        control[..3].copy_from_slice(&[is_end.into(), token, failed.into()]);
    })
}

/// Reads all, and nothing else.
pub fn probe() -> Run {
    Box::new(|slots: &mut [Slot<'_>], _: [u32; 3]| {
        let [data, sums] = slots else { return };
        let pieces =
            data.of::<u32>().par_chunks(1 << 18).map(|words| words.iter().fold(0, |a: u32, b| a.wrapping_add(*b)));
        let pieces: Vec<u32> = pieces.collect();
        sums.written::<u32>()[0] = pieces.into_iter().fold(0, u32::wrapping_add);
    })
}
