//! Samples of the GPU against the host's sampler: the same token for the same logits, options and
//! number, whatever they are.

use std::rc::Rc;

use peregrine::Error;
use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::constraint::{allow, allows, mask_words};
use peregrine::format::Format;
use peregrine::gpu::{GpuOptions, ShapeClass};
use peregrine::model::LoadOptions;
use peregrine::sampling::{Sampler, SamplingOptions};
use peregrine::session::Session;
use peregrine_tests::{gguf_header, gpu, processor, seed, session};
use pollster::block_on;

/// The largest vocabulary of the family.
const LARGEST: u32 = 261_120;

/// One small layer of zeros under a large vocabulary: only its room for logits is used.
fn wide() -> Checkpoint {
    let sizes = [
        ("context_length", 128),
        ("embedding_length", 32),
        ("feed_forward_length", 32),
        ("block_count", 1),
        ("attention.head_count", 1),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 32),
        ("attention.value_length", 32),
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", 32),
        ("ssm.state_size", 16),
        ("ssm.time_step_rank", 1),
        ("ssm.group_count", 1),
    ];
    let mut header = gguf_header(&sizes, LARGEST);
    let mut data = Vec::new();
    let mut push = |name: &str, dims: &[u64], format: Format| {
        let bytes = header.tensor(name, dims, format).unwrap() as usize;
        let minus_one = if name.ends_with("ssm_a") { (-1f32).to_le_bytes() } else { [0; 4] };
        data.extend(minus_one.iter().cycle().take(bytes));
        data.resize(data.len().next_multiple_of(32), 0);
    };
    push("token_embd.weight", &[32, LARGEST.into()], Format::Q8_0);
    push("output_norm.weight", &[32], Format::F32);
    for (name, dims) in [
        ("attn_q.weight", &[32, 32][..]),
        ("attn_k.weight", &[32, 32]),
        ("attn_v.weight", &[32, 32]),
        ("ssm_in.weight", &[32, 32 + 64 + 1]),
        ("attn_output.weight", &[32, 32]),
        ("ssm_out.weight", &[32, 32]),
        ("ffn_gate.weight", &[32, 32]),
        ("ffn_up.weight", &[32, 32]),
        ("ffn_down.weight", &[32, 32]),
        ("attn_norm.weight", &[32]),
        ("ffn_norm", &[32]),
        ("ssm_conv1d.weight", &[4, 64]),
        ("ssm_conv1d.bias", &[64]),
        ("ssm_dt.bias", &[1]),
        ("ssm_a", &[1, 1]),
        ("ssm_d", &[1, 1]),
    ] {
        push(&format!("blk.0.{name}"), dims, Format::F32);
    }
    let source = MemorySource::new("wide", [header.bytes(), data].concat());
    block_on(Checkpoint::open_gguf(Rc::new(source))).unwrap()
}

fn open(shapes: ShapeClass) -> Session {
    let options = GpuOptions { shapes: Some(shapes), ..GpuOptions::default() };
    session(&gpu(&options), &wide(), &LoadOptions { chunk: Some(1), ..LoadOptions::default() })
}

/// Random numbers: what fails prints the seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.next()) * n as u64) >> 32) as usize
    }

    /// In [0, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 8) as f32 / (1 << 24) as f32
    }

    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A mask that allows at least one of so many tokens, with bits behind the last that mean
    /// nothing.
    fn mask(&mut self, len: usize) -> (&'static str, Vec<u32>) {
        let kind = self.pick(&["half", "few", "one", "all but one", "all"]);
        let one = self.below(len) as u32;
        let mut mask = vec![0u32; mask_words(len as u32)];
        for word in &mut mask {
            *word = match kind {
                "half" => self.next(),
                "few" if self.below(20) == 0 => self.next() & self.next(),
                "few" | "one" => 0,
                _ => u32::MAX,
            };
        }
        allow(&mut mask, one, kind != "all but one" || len == 1);
        (kind, mask)
    }

    /// Logits of one of several kinds.
    fn logits(&mut self, len: usize) -> (&'static str, Vec<f32>) {
        let spread = self.pick(&[0.01f32, 1.0, 3.0, 30.0]);
        let mut logits: Vec<f32> = (0..len).map(|_| spread * self.normal()).collect();
        let kind = self.pick(&["normal", "equal", "few values", "peaked", "forbidden", "tiny", "huge"]);
        for (i, logit) in logits.iter_mut().enumerate() {
            match kind {
                "equal" => *logit = 1.5,
                "few values" => *logit = (*logit * 2.0).round() / 2.0,
                "peaked" if i % 977 == 5 => *logit += 12.0 * spread,
                "forbidden" if i % 3 > 0 => *logit = f32::MIN,
                // Around the smallest normal number, on both sides of it and of zero.
                "tiny" => *logit *= 1e-38,
                "huge" => *logit *= 1.8e36,
                _ => {}
            }
        }
        if kind == "forbidden" {
            logits[0] = 0.0;
        }
        (kind, logits)
    }

    fn options(&mut self) -> SamplingOptions {
        let any = self.unit();
        SamplingOptions {
            temperature: self.pick(&[
                0.7,
                1.0,
                1.0,
                0.3 + 2.0 * any,
                1e-3,
                100.0,
                1e-30,
                1e30,
                f32::MIN_POSITIVE / 8.0,
            ]),
            top_k: self.pick(&[0, 0, 1, 2, 5, 40, 1000, 60_000, u32::MAX]),
            top_p: self.pick(&[1.0, 1.0, 0.9, 0.95, 0.5, any.max(1e-6), 1e-30, 0.999_999_9]),
            min_p: self.pick(&[0.0, 0.0, 0.05, any, 1e-6, 1.0]),
            seed: u64::from(self.next()) << 32 | u64::from(self.next()),
            ..SamplingOptions::default()
        }
    }
}

/// Sample number `n` of the host.
fn host(options: &SamplingOptions, logits: &[f32], n: u64) -> u32 {
    let mut sampler = Sampler::new(options.clone()).unwrap();
    (0..=n).map(|_| sampler.sample(logits, &[]).unwrap()).last().unwrap()
}

#[test]
fn the_gpu_samples_what_the_host_samples() {
    let mut session = open(ShapeClass::Hardware);
    let mut noise = Noise(seed(180));
    let mut different = 0;
    for round in 0..200 {
        let start = noise.0;
        let len = noise.pick(&[1, 2, 63, 64, 65, 1000, 4097, 6144, 32_784, 65_537, LARGEST as usize]);
        // The largest are slow, and as many would show no more.
        let len = if round % 8 == 0 { len } else { len.min(5000 + noise.below(3000)) };
        let (kind, logits) = noise.logits(len);
        for n in 0..3 {
            let options = noise.options();
            let found = block_on(session.sample_on_gpu(&logits, &options, n, None)).unwrap();
            let expected = host(&options, &logits, n);
            assert_eq!(found, expected, "noise {start}: {len} {kind} logits, sample {n}, {options:?}");
            different += u32::from(found != host(&SamplingOptions::greedy(), &logits, 0));
        }
    }
    // What is compared are not only the likeliest tokens.
    assert!(different > 100, "{different}");
}

/// Sample number `n` of the host under a mask.
fn masked_host(options: &SamplingOptions, logits: &[f32], n: u64, mask: &[u32]) -> u32 {
    let mut sampler = Sampler::new(options.clone()).unwrap();
    (0..=n).map(|_| sampler.sample_masked(logits, &[], Some(mask)).unwrap()).last().unwrap()
}

#[test]
fn the_gpu_samples_under_a_mask_what_the_host_samples() {
    let mut session = open(ShapeClass::Hardware);
    let mut noise = Noise(seed(209));
    let (mut different, mut forbidden) = (0, 0);
    for round in 0..150 {
        let start = noise.0;
        let len = noise.pick(&[1, 2, 31, 32, 33, 63, 65, 1000, 4097, 6144, 32_784, 65_537, LARGEST as usize]);
        let len = if round % 8 == 0 { len } else { len.min(5000 + noise.below(3000)) };
        let (kind, logits) = noise.logits(len);
        for n in 0..3 {
            let (masked, mask) = noise.mask(len);
            let options = if n == 0 { SamplingOptions::greedy() } else { noise.options() };
            let found = block_on(session.sample_on_gpu(&logits, &options, n, Some(&mask))).unwrap();
            let expected = masked_host(&options, &logits, n, &mask);
            let what = || format!("noise {start}: {len} {kind} logits, mask {masked}, sample {n}, {options:?}");
            assert_eq!(found, expected, "{}", what());
            assert!(allows(&mask, found), "{}", what());
            different += u32::from(found != masked_host(&SamplingOptions::greedy(), &logits, 0, &mask));
            forbidden += u32::from(!allows(&mask, host(&options, &logits, n)));
        }
    }
    assert!(different > 25, "not only the likeliest tokens: {different}");
    assert!(forbidden > 50, "without the mask it would be another one: {forbidden}");
    // What a masked sample leaves behind changes no other: the mask stays in its buffer.
    let options = SamplingOptions { temperature: 1.0, top_p: 1.0, ..SamplingOptions::default() };
    let logits: Vec<f32> = (0..5000).map(|_| noise.normal()).collect();
    block_on(session.sample_on_gpu(&logits, &options, 0, Some(&[1; 157]))).unwrap();
    let found = block_on(session.sample_on_gpu(&logits, &options, 1, None)).unwrap();
    assert_eq!(found, host(&options, &logits, 1));
}

#[test]
fn a_masked_software_adapter_takes_the_likeliest() {
    let mut noise = Noise(seed(240));
    let load = LoadOptions { chunk: Some(1), ..LoadOptions::default() };
    for mut software in [open(ShapeClass::Software), session(&processor(), &wide(), &load)] {
        masked_likeliest(&mut software, &mut noise);
    }
}

fn masked_likeliest(software: &mut Session, noise: &mut Noise) {
    for _ in 0..20 {
        let start = noise.0;
        let len = 1 + noise.below(7000);
        let (kind, logits) = noise.logits(len);
        let (masked, mask) = noise.mask(len);
        let greedy = SamplingOptions::greedy();
        let found = block_on(software.sample_on_gpu(&logits, &greedy, 0, Some(&mask))).unwrap();
        let what = format!("noise {start}: {len} {kind} logits, mask {masked}");
        assert_eq!(found, masked_host(&greedy, &logits, 0, &mask), "{what}");
    }
}

/// Logits that are no numbers show whether the mask allows their tokens or not, and no other
/// token's may be sampled.
#[test]
fn a_mask_hides_no_wrong_logit() {
    let mut session = open(ShapeClass::Hardware);
    let mut mask = vec![0; 94];
    allow(&mut mask, 77, true);
    for options in [SamplingOptions::default(), SamplingOptions::greedy()] {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY] {
            for at in [0, 77, 2999] {
                let mut logits = vec![0.0; 3000];
                logits[at] = bad;
                let found = block_on(session.sample_on_gpu(&logits, &options, 0, Some(&mask)));
                assert!(matches!(found, Err(Error::Sampling { field, .. }) if field == "logits"), "{bad} at {at}");
                let mut sampler = Sampler::new(options.clone()).unwrap();
                let found = sampler.sample_masked(&logits, &[], Some(&mask));
                assert!(matches!(found, Err(Error::Sampling { field, .. }) if field == "logits"), "{bad} at {at}");
            }
        }
        let mut sampled = |mask: &[u32]| block_on(session.sample_on_gpu(&[0.0; 3000], &options, 0, Some(mask)));
        assert_eq!(sampled(&mask).unwrap(), 77);
        assert!(sampled(&[0; 94]).is_err(), "nothing is allowed");
        let mut sampler = Sampler::new(options.clone()).unwrap();
        let refused = sampler.sample_masked(&[0.0; 3000], &[], Some(&[0; 94]));
        assert!(matches!(refused, Err(Error::Grammar { .. })));
    }
}

#[test]
fn the_comparison_with_the_host_can_fail() {
    let mut session = open(ShapeClass::Hardware);
    let mut noise = Noise(1);
    let logits: Vec<f32> = (0..5000).map(|_| noise.normal()).collect();
    let options = SamplingOptions { temperature: 1.0, top_p: 1.0, ..SamplingOptions::default() };
    let samples = |session: &mut Session, options: &SamplingOptions| -> Vec<u32> {
        (0..20).map(|n| block_on(session.sample_on_gpu(&logits, options, n, None)).unwrap()).collect()
    };
    let expected: Vec<u32> = (0..20).map(|n| host(&options, &logits, n)).collect();
    assert_eq!(samples(&mut session, &options), expected);
    for other in [
        SamplingOptions { seed: 1, ..options.clone() },
        SamplingOptions { temperature: 1.5, ..options.clone() },
        SamplingOptions { top_p: 0.5, ..options.clone() },
        SamplingOptions { top_k: 50, ..options.clone() },
        SamplingOptions { min_p: 0.5, ..options.clone() },
    ] {
        assert_ne!(samples(&mut session, &other), expected, "{other:?}");
    }
}

/// The host's samples are counted, and the first of them are the GPU's: where the two agree on
/// logits of every kind is tested above.
#[test]
fn samples_of_the_gpu_follow_the_probabilities() {
    let logits = [1.0, -0.5, 2.5, 0.0, 2.0, -1.5, 0.25, 1.5f32];
    let options = SamplingOptions { temperature: 1.0, top_p: 1.0, ..SamplingOptions::default() };
    const SAMPLES: u32 = 3000;
    let mut sampler = Sampler::new(options.clone()).unwrap();
    let samples: Vec<u32> = (0..SAMPLES).map(|_| sampler.sample(&logits, &[]).unwrap()).collect();
    let mut session = open(ShapeClass::Hardware);
    for (n, expected) in (0..).zip(&samples[..200]) {
        let found = block_on(session.sample_on_gpu(&logits, &options, n, None)).unwrap();
        assert_eq!(found, *expected, "sample {n}");
    }
    let mut counts = [0u32; 8];
    samples.iter().for_each(|token| counts[*token as usize] += 1);
    let chi_square = |temperature: f64| {
        let weights = logits.map(|l| (f64::from(l) / temperature).exp());
        let total: f64 = weights.iter().sum();
        let expected = weights.map(|w| w / total * f64::from(SAMPLES));
        counts.iter().zip(expected).map(|(found, e)| (f64::from(*found) - e).powi(2) / e).sum::<f64>() / 7.0
    };
    // Five standard deviations; and the measure sees a temperature that is a fifth off.
    let most = 1.0 + 5.0 * (2.0f64 / 7.0).sqrt();
    assert!(chi_square(1.0) < most, "{}", chi_square(1.0));
    assert!(chi_square(1.2) > most, "{}", chi_square(1.2));
}

#[test]
fn what_is_no_number_is_seen_on_the_gpu() {
    let mut session = open(ShapeClass::Hardware);
    let options = SamplingOptions::default();
    let mut sample =
        |logits: &[f32], options: &SamplingOptions| block_on(session.sample_on_gpu(logits, options, 0, None));
    for options in [options.clone(), SamplingOptions::greedy()] {
        for bad in [
            vec![f32::NEG_INFINITY; 3000],
            [vec![0.0; 2999], vec![f32::NEG_INFINITY]].concat(),
            [vec![0.0; 2999], vec![f32::NAN]].concat(),
            [vec![0.0; 2999], vec![-f32::NAN]].concat(),
            [vec![f32::INFINITY], vec![0.0; 2999]].concat(),
        ] {
            assert!(matches!(sample(&bad, &options), Err(Error::Sampling { field, .. }) if field == "logits"));
        }
        assert!(matches!(sample(&[], &options), Err(Error::Argument { .. })));
        assert!(matches!(sample(&vec![0.0; LARGEST as usize + 1], &options), Err(Error::Argument { .. })));
        assert!(sample(&[0.0; 3000], &options).is_ok(), "and what follows is sampled again");
    }
    let mut software = open(ShapeClass::Software);
    let refused = block_on(software.sample_on_gpu(&[0.0; 3000], &options, 0, None));
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "the host samples there");
    block_on(software.sample_on_gpu(&[0.0; 3000], &SamplingOptions::greedy(), 0, None)).unwrap();
}
