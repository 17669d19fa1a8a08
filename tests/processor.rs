//! The processor as a device of its own: sessions that begin on it and go on on a GPU, and the
//! other way round; what it tells of itself. That it computes what transformers does stands in
//! `model.rs`, `mixes.rs` and `adapters.rs`, beside the same of GPUs.

use std::collections::BTreeSet;

use peregrine::Error;
use peregrine::checkpoint::MemorySource;
use peregrine::gpu::{Access, DeviceKind, Gpu, GpuOptions};
use peregrine::kernels::Pipelines;
use peregrine::model::{LoadOptions, Model};
use peregrine::ops::all_signatures;
use peregrine::ops::target::Target;
use peregrine::selfcheck::{self, Outcomes};
use peregrine::session::Session;
use peregrine::state::KvType;
use peregrine_tests::{
    argmax, assert_close, assert_same, checkpoint, device, exact, golden_path, gpu, processor, session, states,
};
use pollster::block_on;

/// As in `model.rs`.
const LOGITS: f32 = 2e-4;

/// The device that shaders run on.
fn a_gpu() -> Gpu {
    gpu(&GpuOptions::default())
}

fn moved(from: &mut Session, to: &mut Session) {
    let mut bytes = Vec::new();
    let mut keep = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    block_on(from.save(&mut keep)).unwrap();
    block_on(to.restore(&MemorySource::new("a state", bytes))).unwrap();
}

/// States as floats; the position is apart.
fn floats(session: &Session) -> Vec<f32> {
    states(session)[1..].iter().map(|bits| f32::from_bits(*bits)).collect()
}

#[test]
fn sessions_wander_between_processor_and_gpu() {
    for case in ["norm1.gguf", "odd.gguf", "quant.gguf"] {
        let file = checkpoint(&golden_path(case));
        let [a, b] = [processor(), a_gpu()];
        let mut sessions = [session(&a, &file, &exact()), session(&b, &file, &exact())];
        // The same tokens in the same steps, on one device alone.
        let mut alone = session(&a, &file, &exact());
        let mut noise = 1u64;
        let mut below = |n: u64| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) % n
        };
        let mut here = 0;
        for turn in 0..12 {
            let ids: Vec<u32> = (0..1 + below(20)).map(|_| below(file.config.vocab_size.into()) as u32).collect();
            block_on(sessions[here].prefill(&ids)).unwrap();
            block_on(alone.prefill(&ids)).unwrap();
            let what = format!("{case}, turn {turn}");
            assert_close(&format!("{what}: logits"), sessions[here].logits(), alone.logits(), LOGITS);
            assert_close(&format!("{what}: states"), &floats(&sessions[here]), &floats(&alone), LOGITS);
            if below(2) == 1 {
                let [first, second] = &mut sessions;
                let before = states(if here == 0 { first } else { second });
                match here {
                    0 => moved(first, second),
                    _ => moved(second, first),
                }
                here = 1 - here;
                assert_same(&states(&sessions[here]), &before, "what was moved");
            }
        }
    }
}

#[test]
fn a_session_moves_with_its_keys_and_values_as_they_are_kept() {
    let file = checkpoint(&golden_path("norm2.gguf"));
    let ids: Vec<u32> = (0..150).map(|i| (i * 37 + 11) % file.config.vocab_size).collect();
    for kv in KvType::ALL {
        let load = LoadOptions { kv, ..exact() };
        let mut first = session(&processor(), &file, &load);
        block_on(first.prefill(&ids)).unwrap();
        let mut second = session(&a_gpu(), &file, &load);
        moved(&mut first, &mut second);
        assert_same(&states(&second), &states(&first), kv.name());
        for id in [3, 5] {
            block_on(first.prefill(&[id])).unwrap();
            block_on(second.prefill(&[id])).unwrap();
            // Where a value lies between two that can be kept, it may be kept as either.
            let tolerance = if kv == KvType::F32 { LOGITS } else { 5e-2 };
            assert_close(kv.name(), second.logits(), first.logits(), tolerance);
        }
    }
}

#[test]
fn the_likeliest_tokens_are_the_gpus() {
    let file = checkpoint(&golden_path("norm1.gguf"));
    let mut sessions = [processor(), a_gpu()].map(|gpu| session(&gpu, &file, &exact()));
    let answers = sessions.each_mut().map(|session| {
        block_on(session.prefill(&[1, 2, 3])).unwrap();
        let first = argmax(session.logits());
        let options = peregrine::session::GenerateOptions {
            max_tokens: 24,
            sampling: peregrine::sampling::SamplingOptions::greedy(),
            ignore_end: true,
            ..Default::default()
        };
        let answer = block_on(session.generate(&options, &mut |_| true)).unwrap();
        assert_eq!(answer.ids[0] as usize, first);
        answer.ids
    });
    assert_eq!(answers[0], answers[1]);
}

/// Every plan for one token and for many, of models of all layouts: its kernels are there, and
/// without any constant that they cannot do without they are not made.
#[test]
fn every_kernel_of_a_plan_has_its_program_and_its_constants() {
    let gpu = processor();
    let signatures = all_signatures();
    let (mut seen, mut left_out) = (BTreeSet::new(), 0);
    for case in ["norm1.gguf", "norm2.gguf", "gate2.gguf", "tied.gguf", "odd.gguf", "quant.gguf"] {
        let file = checkpoint(&golden_path(case));
        for kv in KvType::ALL {
            let options = LoadOptions { kv, ..LoadOptions::default() };
            let plans = Model::outline(&gpu, &file, &options, Target::of(&gpu, kv), &[]).unwrap();
            for call in plans.into_iter().flatten() {
                let made = |constants: &[(&'static str, f64)]| {
                    let pipelines = Pipelines::new(&gpu, kv);
                    pipelines.get(call.kernel, call.reduction, constants);
                    block_on(pipelines.finish())
                };
                made(&call.constants).unwrap();
                if !seen.insert((call.kernel.name, kv.name())) {
                    continue;
                }
                let signature = signatures.iter().find(|s| s.kernel.name == call.kernel.name).unwrap();
                let needed = |name: &str| signature.constants.iter().any(|c| c.name == name && !c.optional);
                for (name, _) in call.constants.iter().filter(|(name, _)| needed(name)) {
                    let rest: Vec<_> = call.constants.iter().copied().filter(|(other, _)| other != name).collect();
                    let error = made(&rest).unwrap_err().to_string();
                    assert!(
                        error.contains(call.kernel.name) && error.contains(&format!("constant {name} ")),
                        "{error}"
                    );
                    left_out += 1;
                }
            }
        }
    }
    let kernels: BTreeSet<&str> = seen.iter().map(|(kernel, _)| *kernel).collect();
    let expected = [
        "attention",
        "candidates",
        "embed",
        "gated_norm",
        "matmul",
        "matvec",
        "prepare",
        "rmsnorm",
        "sample",
        "selective_scan",
    ];
    assert_eq!(kernels.into_iter().collect::<Vec<_>>(), expected);
    assert!(left_out > 3 * expected.len(), "{left_out}");
}

#[test]
fn it_says_what_it_is() {
    let gpu = processor();
    assert!(gpu.is_processor() && gpu.is_software() && gpu.name().starts_with("CPU ("), "{}", gpu.name());
    assert!(!a_gpu().is_processor());
    assert!(gpu.max_binding() >= (1 << 31) - 4);
}

/// A software adapter, which tests run on, is never preferred to the processor; whoever names an
/// adapter, or how to drive it, gets that.
#[test]
fn by_itself_the_processor_is_taken_where_there_is_no_gpu() {
    let (auto, found) = (GpuOptions::default(), a_gpu());
    assert_eq!((auto.device, found.kind(), found.why()), (DeviceKind::Auto, DeviceKind::Gpu, None));
    let chosen = device(&auto);
    assert_eq!(chosen.is_processor(), found.is_software());
    assert_eq!(chosen.why().is_some_and(|why| why.contains(found.name())), chosen.is_processor(), "{:?}", chosen.why());
    assert_eq!(processor().why(), None, "whoever asks for it knows why");
    let name = Some(found.name().to_string());
    for named in [
        GpuOptions { adapter: name, ..auto.clone() },
        GpuOptions { baseline: true, ..auto.clone() },
        GpuOptions { shapes: Some(peregrine::gpu::ShapeClass::Software), ..auto.clone() },
    ] {
        assert!(!device(&named).is_processor(), "{named:?}");
    }
    let both = GpuOptions { device: DeviceKind::Cpu, cooperative: true, ..GpuOptions::default() };
    assert!(matches!(block_on(Gpu::new(&both)), Err(Error::Argument { field, .. }) if field == "device"));
    let missing = GpuOptions { adapter: Some("no such adapter".into()), ..auto };
    assert!(matches!(block_on(Gpu::new(&missing)), Err(Error::NoGpu { .. })));
}

#[test]
fn the_processor_asks_no_driver_for_anything() {
    let access = Access::new();
    let on_cpu = GpuOptions { device: DeviceKind::Cpu, ..GpuOptions::default() };
    assert!(block_on(Gpu::open(&access, &on_cpu)).unwrap().is_processor() && !access.is_used());
    assert!(block_on(Gpu::open(&access, &GpuOptions::default())).is_ok() && access.is_used());
}

#[test]
fn the_self_check_has_nothing_to_say_of_the_processor() {
    let file = checkpoint(&golden_path("norm1.gguf"));
    let load = |device: DeviceKind| {
        let options = GpuOptions { device, ..GpuOptions::default() };
        let (mut outcomes, mut ways) = (Outcomes::new(), Vec::new());
        let engine = block_on(selfcheck::load(
            &Access::new(),
            &options,
            &file,
            &LoadOptions::default(),
            &mut outcomes,
            &mut |_| {},
            &mut |verdict| ways.push(verdict.variant.clone()),
        ))
        .unwrap()
        .engine;
        (engine.model().gpu().is_processor(), ways, outcomes.len())
    };
    assert_eq!(load(DeviceKind::Cpu), (true, vec!["the processor".into()], 0), "nothing is to be checked there");
    assert!(!load(DeviceKind::Gpu).0);
}

#[test]
fn threads_and_more_tokens_than_one_step_change_nothing() {
    let file = checkpoint(&golden_path("norm2.gguf"));
    let ids: Vec<u32> = (0..70).map(|i| (i * 37 + 11) % file.config.vocab_size).collect();
    let read = |chunk: u32| {
        let mut session = session(&processor(), &file, &LoadOptions { chunk: Some(chunk), ..exact() });
        block_on(session.prefill(&ids)).unwrap();
        (session.logits().to_vec(), floats(&session))
    };
    let (logits, all) = read(64);
    assert_eq!(read(64), (logits.clone(), all.clone()), "twice the same is the same, bit by bit");
    for chunk in [2, 3, 17] {
        let (found, states) = read(chunk);
        assert_close(&format!("logits in chunks of {chunk}"), &found, &logits, LOGITS);
        assert_close(&format!("states in chunks of {chunk}"), &states, &all, LOGITS);
    }
}
