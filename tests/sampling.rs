//! The sampler against exact probabilities and against plain definitions of its filters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peregrine::sampling::{Sampler, SamplingOptions, logprobs};
use peregrine::{Error, Result};
use peregrine_tests::{computes_within, seed};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Everything off, temperature 1.
fn open() -> SamplingOptions {
    SamplingOptions { temperature: 1.0, top_p: 1.0, ..SamplingOptions::default() }
}

fn sample(options: &SamplingOptions, logits: &[f32], history: &[u32]) -> Result<u32> {
    Sampler::new(options.clone())?.sample(logits, history)
}

fn sample_many(options: &SamplingOptions, logits: &[f32], n: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(options.clone()).unwrap();
    (0..n).map(|_| sampler.sample(logits, &[]).unwrap()).collect()
}

fn softmax(logits: &[f32], temperature: f32) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = logits.iter().map(|l| (f64::from(l - max) / f64::from(temperature)).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

/// The filters by their definitions, on a full sort: ids with their probabilities.
fn expected(options: &SamplingOptions, logits: &[f32]) -> BTreeMap<u32, f64> {
    let mut all: Vec<(u32, f64)> = (0..).zip(softmax(logits, options.temperature)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if options.top_k > 0 {
        all.truncate(options.top_k as usize);
    }
    let sum = |set: &[(u32, f64)]| set.iter().map(|(_, p)| p).sum::<f64>();
    if options.top_p < 1.0 {
        let target = sum(&all) * f64::from(options.top_p);
        let enough = (1..=all.len()).find(|n| sum(&all[..*n]) >= target).unwrap();
        all.truncate(enough);
    }
    let least = all[0].1 * f64::from(options.min_p);
    all.retain(|(_, p)| *p >= least);
    let total = sum(&all);
    all.into_iter().map(|(id, p)| (id, p / total)).collect()
}

/// Chi-square against the expected probabilities, for each degree of freedom. With n samples from
/// the right distribution it is 1 on average, with a standard deviation of sqrt(2 / freedom).
fn chi_square(samples: &[u32], expected: &BTreeMap<u32, f64>) -> std::result::Result<f64, String> {
    let mut counts: BTreeMap<u32, f64> = expected.keys().map(|id| (*id, 0.0)).collect();
    for id in samples {
        *counts.get_mut(id).ok_or(format!("{id} cannot be sampled"))? += 1.0;
    }
    let n = samples.len() as f64;
    let sum: f64 = expected.iter().map(|(id, p)| (counts[id] - n * p).powi(2) / (n * p)).sum();
    let freedom = (expected.len() - 1).max(1) as f64;
    match sum / freedom {
        // Five standard deviations: with fixed seeds this either holds for ever or not at all.
        x if x < 1.0 + 5.0 * (2.0 / freedom).sqrt() => Ok(x),
        x => Err(format!("chi-square {x:.2} per degree of freedom, {freedom} degrees")),
    }
}

const LOGITS: [f32; 8] = [1.0, -0.5, 2.5, 0.0, 2.0, -1.5, 0.25, 1.5];

#[test]
fn samples_follow_the_probabilities() {
    for seed in [0, 1, 2, u64::MAX] {
        for options in [
            open(),
            SamplingOptions { temperature: 0.5, ..open() },
            SamplingOptions { temperature: 3.0, ..open() },
            SamplingOptions { top_k: 3, ..open() },
            SamplingOptions { top_p: 0.8, ..open() },
            SamplingOptions { min_p: 0.2, ..open() },
            SamplingOptions { temperature: 1.7, top_k: 6, top_p: 0.9, min_p: 0.15, ..open() },
        ] {
            let options = SamplingOptions { seed, ..options };
            chi_square(&sample_many(&options, &LOGITS, 20_000), &expected(&options, &LOGITS)).unwrap();
        }
    }
}

#[test]
fn the_first_samples_of_many_seeds_follow_the_probabilities() {
    let first: Vec<u32> =
        (0..20_000).map(|seed| sample(&SamplingOptions { seed, ..open() }, &LOGITS, &[]).unwrap()).collect();
    chi_square(&first, &expected(&open(), &LOGITS)).unwrap();
    // Neighboring samples of one seed, and the same sample of neighboring seeds, are independent:
    // pairs.
    let pair = |a: u32, b: u32| a * 8 + b;
    let probabilities = expected(&open(), &LOGITS);
    let pairs: BTreeMap<u32, f64> =
        probabilities.iter().flat_map(|(a, p)| probabilities.iter().map(move |(b, q)| (pair(*a, *b), p * q))).collect();
    let in_time: Vec<u32> = sample_many(&open(), &LOGITS, 40_000).chunks(2).map(|c| pair(c[0], c[1])).collect();
    let across: Vec<u32> = first.chunks(2).map(|c| pair(c[0], c[1])).collect();
    chi_square(&in_time, &pairs).unwrap();
    chi_square(&across, &pairs).unwrap();
}

#[test]
fn the_distribution_test_can_fail() {
    let samples = sample_many(&open(), &LOGITS, 20_000);
    let slightly_off = expected(&SamplingOptions { temperature: 1.1, ..open() }, &LOGITS);
    assert!(chi_square(&samples, &slightly_off).unwrap_err().contains("chi-square"));
    let too_few = expected(&SamplingOptions { top_k: 7, ..open() }, &LOGITS);
    assert!(chi_square(&samples, &too_few).unwrap_err().contains("cannot be sampled"));
}

#[test]
fn filters_keep_exactly_their_support() {
    let support = |options: &SamplingOptions| sample_many(options, &LOGITS, 5000).into_iter().collect::<BTreeSet<_>>();
    // By falling probability: 2, 4, 7, 0, 6, 3, 1, 5.
    assert_eq!(support(&SamplingOptions { top_k: 2, ..open() }), [2, 4].into());
    assert_eq!(support(&SamplingOptions { top_k: 8, ..open() }).len(), 8);
    assert_eq!(support(&SamplingOptions { top_k: 1000, ..open() }).len(), 8);
    // Probabilities .41 .25 .15 .09: 0.65 is reached by the second, 0.66 only by the third; at
    // least one stays.
    assert_eq!(support(&SamplingOptions { top_p: 0.65, ..open() }), [2, 4].into());
    assert_eq!(support(&SamplingOptions { top_p: 0.66, ..open() }), [2, 4, 7].into());
    assert_eq!(support(&SamplingOptions { top_p: 1e-6, ..open() }), [2].into());
    // exp(-0.5) = 0.607, exp(-1) = 0.368.
    assert_eq!(support(&SamplingOptions { min_p: 0.6, ..open() }), [2, 4].into());
    assert_eq!(support(&SamplingOptions { min_p: 0.36, ..open() }), [2, 4, 7].into());
    assert_eq!(support(&SamplingOptions { min_p: 1.0, ..open() }), [2].into());
    // Temperature comes before min-p.
    assert_eq!(support(&SamplingOptions { temperature: 0.5, min_p: 0.36, ..open() }), [2, 4].into());
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    let greedy = SamplingOptions::greedy();
    assert_eq!(sample(&greedy, &LOGITS, &[]).unwrap(), 2);
    assert_eq!(sample(&greedy, &[0.0, 3.0, 1.0, 3.0, 3.0], &[]).unwrap(), 1);
    assert_eq!(sample(&greedy, &[-0.0, 0.0], &[]).unwrap(), 0);
    assert_eq!(sample(&SamplingOptions { top_k: 1, ..open() }, &[1.0, 7.0, 7.0], &[]).unwrap(), 1);
    assert_eq!(sample(&SamplingOptions { temperature: 1e-30, ..open() }, &[1.0, 7.0, 6.9], &[]).unwrap(), 1);
    assert_eq!(sample(&greedy, &[f32::NEG_INFINITY, -3e38], &[]).unwrap(), 1);
    // Ties at the edge of top-k.
    let ties = sample_many(&SamplingOptions { top_k: 2, ..open() }, &[1.0; 9], 500);
    assert_eq!(ties.into_iter().collect::<BTreeSet<_>>(), [0, 1].into());
}

#[test]
fn the_seed_decides() {
    let with = |seed| sample_many(&SamplingOptions { seed, ..open() }, &LOGITS, 64);
    assert_eq!(with(7), with(7));
    assert_ne!(with(7), with(8));
    // These must never change: saved conversations are replayed with them.
    assert_eq!(with(7)[..8], [4, 4, 3, 4, 2, 2, 7, 7]);
}

#[test]
fn repetition_penalty() {
    let options = SamplingOptions { repetition_penalty: 2.0, ..SamplingOptions::greedy() };
    let logits = [3.0, 2.0, -1.0, -1.5];
    assert_eq!(sample(&options, &logits, &[]).unwrap(), 0);
    assert_eq!(sample(&options, &logits, &[0]).unwrap(), 1, "3 became 1.5");
    assert_eq!(sample(&options, &logits, &[0, 0, 0]).unwrap(), 1, "once, however often it occurred");
    assert_eq!(sample(&options, &[-1.0, -1.5], &[0]).unwrap(), 1, "negative logits are multiplied");
    let short = SamplingOptions { repetition_window: 2, ..options.clone() };
    assert_eq!(sample(&short, &logits, &[0, 5 - 3, 3]).unwrap(), 0, "out of the window");
    let whole = SamplingOptions { repetition_window: 0, ..options.clone() };
    assert_eq!(sample(&whole, &logits, &[0, 2, 3]).unwrap(), 1);
    assert!(matches!(sample(&options, &logits, &[4]), Err(Error::TokenOutOfRange { token: 4, vocab_size: 4 })));
    let sampled = SamplingOptions { repetition_penalty: 1.5, ..open() };
    let mut sampler = Sampler::new(sampled).unwrap();
    let samples: Vec<u32> = (0..20_000).map(|_| sampler.sample(&LOGITS, &[2, 5]).unwrap()).collect();
    let mut penalized = LOGITS;
    penalized[2] /= 1.5;
    penalized[5] *= 1.5;
    chi_square(&samples, &expected(&open(), &penalized)).unwrap();
}

#[test]
fn what_is_no_number_is_an_error() {
    for options in [open(), SamplingOptions::greedy()] {
        let fails = |logits: &[f32], expected: &str| {
            let error = sample(&options, logits, &[]).unwrap_err();
            assert_eq!(error.code(), "sampling");
            assert!(error.to_string().contains(expected), "{error}");
        };
        fails(&[0.0, f32::NAN, 1.0], "NaN for token 1");
        fails(&[f32::INFINITY, 0.0], "inf for token 0");
        fails(&[f32::NEG_INFINITY; 3], "minus infinity only");
        fails(&[], "none");
    }
}

#[test]
fn options_out_of_range_are_errors() {
    let fails = |field: &str, options: SamplingOptions| {
        let error = Sampler::new(options).unwrap_err();
        assert!(error.to_string().starts_with(field), "{error}");
    };
    for bad in [-0.1, f32::NAN, f32::INFINITY] {
        fails("temperature", SamplingOptions { temperature: bad, ..open() });
        fails("repetition_penalty", SamplingOptions { repetition_penalty: bad, ..open() });
        fails("min_p", SamplingOptions { min_p: bad, ..open() });
        fails("top_p", SamplingOptions { top_p: bad, ..open() });
    }
    fails("top_p", SamplingOptions { top_p: 0.0, ..open() });
    fails("min_p", SamplingOptions { min_p: 1.01, ..open() });
    SamplingOptions::default().validate().unwrap();
}

#[test]
fn a_large_vocabulary_is_fast() {
    let logits: Vec<f32> = (0..261_120u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6).collect();
    for options in [
        SamplingOptions { top_k: 40, top_p: 0.9, min_p: 0.05, ..open() },
        SamplingOptions { top_p: 0.9, ..open() },
        open(),
    ] {
        // Milliseconds a token; the bound is for the slowest machine that runs this.
        let what = format!("20 tokens, {options:?}");
        computes_within(Duration::from_secs(4), &what, || sample_many(&options, &logits, 20));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, rng_seed: RngSeed::Fixed(seed(224)), ..ProptestConfig::default()
    })]

    /// Whatever the logits, a token outside the filters' definitions is never sampled.
    #[test]
    fn support_by_definition(
        logits in proptest::collection::vec(-20.0f32..20.0, 1..50),
        temperature in 0.05f32..4.0,
        top_k in 0u32..60,
        top_p in 0.01f32..1.0,
        min_p in 0.0f32..0.9,
        seed in any::<u64>(),
    ) {
        let options = SamplingOptions { temperature, top_k, top_p, min_p, seed, ..open() };
        let allowed = expected(&options, &logits);
        for id in sample_many(&options, &logits, 20) {
            // The sampler's weights are within 6e-5 of the exact ones: a token at the very edge may
            // be a hair outside.
            prop_assert!(allowed.contains_key(&id) || allowed.len() < logits.len() && near_edge(&options, &logits, id));
        }
    }
}

/// Whether the token is allowed as soon as the limits are a ten-thousandth looser.
fn near_edge(options: &SamplingOptions, logits: &[f32], id: u32) -> bool {
    let looser = SamplingOptions {
        top_p: (options.top_p * (1.0 + 1e-4)).min(1.0),
        min_p: options.min_p * (1.0 - 1e-4),
        ..options.clone()
    };
    expected(&looser, logits).contains_key(&id)
}

/// The logits with the penalties and biases taken by their definitions.
fn biased(options: &SamplingOptions, logits: &[f32], answer: &[u32]) -> Vec<f32> {
    let mut out = logits.to_vec();
    for (id, logit) in (0u32..).zip(&mut out) {
        let count = answer.iter().filter(|a| **a == id).count() as f32;
        *logit -= options.frequency_penalty * count + if count > 0.0 { options.presence_penalty } else { 0.0 };
        *logit += options.logit_bias.iter().filter(|(at, _)| *at == id).map(|(_, bias)| bias).sum::<f32>();
    }
    out
}

#[test]
fn penalties_and_biases_change_the_logits_by_their_definitions() {
    let answer = [2, 4, 2, 7];
    for options in [
        SamplingOptions { presence_penalty: 1.5, ..open() },
        SamplingOptions { frequency_penalty: 0.75, ..open() },
        SamplingOptions {
            presence_penalty: -0.5,
            frequency_penalty: 1.0,
            logit_bias: vec![(0, -3.0), (6, 2.0)],
            ..open()
        },
    ] {
        let mut sampler = Sampler::new(options.clone()).unwrap();
        answer.iter().for_each(|token| sampler.accept(*token));
        let samples: Vec<u32> = (0..20_000).map(|_| sampler.sample(&LOGITS, &[]).unwrap()).collect();
        chi_square(&samples, &expected(&open(), &biased(&options, &LOGITS, &answer))).unwrap();
        chi_square(&samples, &expected(&open(), &LOGITS)).expect_err("the penalty changes nothing");
    }
}

#[test]
fn a_forbidden_token_is_never_sampled_and_bad_biases_are_refused() {
    let forbidden = SamplingOptions { logit_bias: vec![(2, f32::NEG_INFINITY)], ..open() };
    assert!(!sample_many(&forbidden, &LOGITS, 2000).contains(&2));
    let greedy = SamplingOptions { logit_bias: vec![(5, 100.0)], ..SamplingOptions::greedy() };
    assert_eq!(sample(&greedy, &LOGITS, &[]).unwrap(), 5);
    let outside = SamplingOptions { logit_bias: vec![(8, 1.0)], ..open() };
    assert!(matches!(sample(&outside, &LOGITS, &[]), Err(Error::TokenOutOfRange { token: 8, vocab_size: 8 })));
    for bias in [f32::NAN, f32::INFINITY] {
        let options = SamplingOptions { logit_bias: vec![(1, bias)], ..open() };
        assert!(matches!(sample(&options, &LOGITS, &[]), Err(Error::Sampling { field, .. }) if field == "logit_bias"));
    }
    for (field, options) in [
        ("presence_penalty", SamplingOptions { presence_penalty: f32::NAN, ..open() }),
        ("frequency_penalty", SamplingOptions { frequency_penalty: f32::INFINITY, ..open() }),
    ] {
        assert!(matches!(sample(&options, &LOGITS, &[]), Err(Error::Sampling { field: found, .. }) if found == field));
    }
}

#[test]
fn logprobs_are_the_logarithms_of_the_probabilities() {
    let expected = softmax(&LOGITS, 1.0);
    let found = logprobs(&LOGITS, 4, 3);
    assert!((f64::from(found.logprob) - expected[4].ln()).abs() < 1e-6);
    assert_eq!(found.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 4, 7]);
    for (id, logprob) in found.top {
        assert!((f64::from(logprob) - expected[id as usize].ln()).abs() < 1e-6);
    }
    assert_eq!(logprobs(&LOGITS, 4, 0).top, []);
    assert_eq!(logprobs(&LOGITS, 4, 99).top.len(), LOGITS.len());
}
