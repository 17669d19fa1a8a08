//! The self-check: what is right passes in every variant, every planted fault is found, and what it
//! is found in is not used.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use peregrine::Error;
use peregrine::checkpoint::Checkpoint;
use peregrine::checkpoint::LocalFuture;
use peregrine::checkpoint::source::{MemorySource, Source};
use peregrine::gpu::{Access, Alter, DeviceKind, GpuOptions, Reduction, ShapeClass};
use peregrine::model::LoadOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::selfcheck::{Checked, Outcomes, Verdict, load as load_checked, self_check};
use peregrine::session::{GenerateOptions, Session};
use peregrine::state::KvType;
use peregrine_tests::{checkpoint, golden_path, gpu, tiny_model, two_layers};
use pollster::block_on;

fn shaped(shapes: ShapeClass, reduction: Reduction) -> GpuOptions {
    GpuOptions { shapes: Some(shapes), reduction: Some(reduction), ..GpuOptions::default() }
}

/// What the self-check says of a model on a device.
fn outcome(options: &GpuOptions, model: &std::path::Path, kv: KvType) -> Option<String> {
    let checkpoint = checkpoint(model);
    let load = LoadOptions { kv, ..LoadOptions::default() };
    let engine = block_on(peregrine::session::Engine::load(&gpu(options), &checkpoint, &load, &mut |_| {})).unwrap();
    block_on(self_check(&engine, &checkpoint)).unwrap()
}

#[test]
fn what_is_right_passes_in_every_variant() {
    let (hardware, software) = (ShapeClass::Hardware, ShapeClass::Software);
    let (subgroup, workgroup) = (Reduction::Subgroup, Reduction::Workgroup);
    let variants = [shaped(software, workgroup), shaped(hardware, workgroup), shaped(hardware, subgroup)];
    let baseline = GpuOptions { baseline: true, ..shaped(hardware, workgroup) };
    for case in ["norm1", "norm2", "gate2", "odd", "quant", "row80", "tied", "wide"] {
        let model = golden_path(&format!("{case}.gguf"));
        // `model::every_variant_is_transformers` has others within these limits.
        let within = ["norm1", "odd"].contains(&case).then_some(&baseline);
        for (i, options) in variants.iter().chain(within).enumerate() {
            // Each kind of keys and values with each case, somewhere.
            let kv = KvType::ALL[(i + case.len()) % 3];
            assert_eq!(outcome(options, &model, kv), None, "{case}, {options:?}, {kv:?}");
        }
    }
    for options in &variants {
        assert_eq!(outcome(options, &tiny_model(), KvType::F16), None, "{options:?}");
    }
    assert_eq!(outcome(&variants[1], &golden_path("hf-folder"), KvType::F32), None);
}

/// A kernel's source with `$from` made `$to`, everywhere in it.
macro_rules! fault {
    ($kernel:literal, $from:literal, $to:literal) => {{
        let alter: peregrine::gpu::Alter = |name, source| {
            if name != $kernel {
                return source;
            }
            let changed = source.replace($from, $to);
            assert_ne!(changed, source, "{name} has no {:?}", $from);
            changed
        };
        ($kernel, alter)
    }};
}
pub(crate) use fault;

#[test]
fn faults_in_kernels_of_gpus_are_found() {
    let faults = [
        // As browsers' compilers had it once: rows in front of a border take weights of the part
        // behind.
        fault!("matmul_tile", "let scale = select(0.0, part.scale, covered);", "let scale = part.scale;"),
        // Logits of several tokens: the last one's are not written.
        fault!(
            "matmul_tile",
            "return now.tokens - FINAL * now.first;",
            "return now.tokens - FINAL * (now.first + 1u);"
        ),
        fault!("matmul_tile", "if (token < tokens) {", "if (token < tokens && j != 1u) {"),
        fault!("embed", "h[y + 7u] = w.h;", ""),
        fault!("rmsnorm", "+ EPS", "+ 0.03"),
        fault!("matvec_team", "total.z *= scale;", "total.z *= 1.01 * scale;"),
        fault!("matvec_team", "+ NORM_EPS", "+ 1000.0 * NORM_EPS"),
        fault!("prepare", "exp(delta *", "exp(1.001 * delta *"),
        fault!("attention_tile", "let fade = exp(", "let fade = exp(0.5 + "),
        fault!("ssd_states", "exp(end - a_4)", "exp(0.99 * (end - a_4))"),
        fault!("ssd_pass", "state = decay * state + added;", "state = state + added;"),
        fault!("ssd_output", "+ skip * x", "+ 1.01 * skip * x"),
        fault!("mixer_step", "let decay = exp(", "let decay = exp(-0.001 + "),
        fault!(
            "mixer_step",
            "exp(scores[min(i, BLOCK - 1u)] - maximum)",
            "exp(0.01 * f32(i) + scores[min(i, BLOCK - 1u)] - maximum)"
        ),
        fault!("attention_long", "+= w_0.x * v_0;", "+= 0.5 * w_0.x * v_0;"),
        fault!("merge", "= sum / total;", "= 1.001 * sum / total;"),
        fault!("candidates", "best[index] = better(best[index], best[index + reach]);", "best[index] = best[index];"),
        fault!("sample", "store_token(best[0].token,", "store_token(best[0].token + 1u,"),
        fault!("histogram", "let bin = bin_of(away);", "let bin = bin_of(away / 2u);"),
        fault!("threshold", "certain += tally(w);", "certain += 2u * tally(w);"),
        fault!("multinomial", "store_token(token, false);", "store_token(token ^ 1u, false);"),
    ];
    for (kernel, alter) in faults {
        for case in ["norm1", "odd"] {
            let options = GpuOptions { alter: Some(alter), ..shaped(ShapeClass::Hardware, Reduction::Workgroup) };
            let found = outcome(&options, &golden_path(&format!("{case}.gguf")), KvType::F32);
            assert!(found.is_some(), "{kernel}, {case}");
            println!("{kernel}, {case}: {}", found.unwrap());
        }
    }
}

/// Of a model whose rows are long enough for several workgroups to share a tile's columns.
#[test]
fn faults_in_shared_tiles_are_found() {
    let faults = [
        fault!("matmul_tile", "var s = split; s < strips;", "var s = 0u; s < strips;"),
        fault!("matmul_tile", "split_sums[at] = sum[j];", "split_sums[at] = select(0.99, 1.0, split == 0u) * sum[j];"),
        fault!("matmul_tile", "split_sums[at + matrix.rows] = second[j];", "split_sums[at + matrix.rows] = sum[j];"),
        // Not as many as the other kernel thinks.
        fault!("matmul_tile", "1u, MOST_SPLITS)", "1u, max(MOST_SPLITS / 2u, 1u))"),
        fault!("matmul_sum", "1u, MOST_SPLITS)", "1u, max(MOST_SPLITS / 2u, 1u))"),
        fault!("matmul_sum", "sum += split_sums[at];", "sum = split_sums[at];"),
        fault!("matmul_sum", "second += split_sums[at + ROWS];", "second = split_sums[at + ROWS];"),
        fault!("matmul_sum", "let at = (k * tokens + token) * width + row;", "let at = k * tokens * width + row;"),
    ];
    for (kernel, alter) in faults {
        let options = GpuOptions { alter: Some(alter), ..shaped(ShapeClass::Hardware, Reduction::Workgroup) };
        assert!(outcome(&options, &golden_path("quant.gguf"), KvType::F32).is_some(), "{kernel}");
    }
}

#[test]
fn faults_in_the_gated_norm_are_found() {
    let (_, alter) = fault!("gated_norm", "+ EPS", "+ 0.03");
    for shapes in [ShapeClass::Hardware, ShapeClass::Software] {
        let options = GpuOptions { alter: Some(alter), ..shaped(shapes, Reduction::Workgroup) };
        for case in ["norm1", "norm2"] {
            let found = outcome(&options, &golden_path(&format!("{case}.gguf")), KvType::F32);
            assert!(found.as_ref().is_some_and(|what| what.contains("gated_norm")), "{shapes:?}, {case}: {found:?}");
        }
    }
}

#[test]
fn faults_in_kernels_of_software_adapters_are_found() {
    let faults = [
        fault!("matmul", "finish_token(first, t + 7u, sum_6.zw,", "finish_token(first, t + 7u, sum_6.xy,"),
        fault!("matmul", "finish_token(first, t + 5u, sum_4.zw,", "finish_token(first, t + 5u, sum_4.xy,"),
        fault!("matvec", "finish_two(first, t, sum, second)", "finish_two(first, t, sum.yx, second)"),
        fault!("attention", "let fade = exp(", "let fade = exp(0.5 + "),
        fault!("selective_scan", "= y * z", "= 1.01 * y * z"),
    ];
    for (kernel, alter) in faults {
        let options = GpuOptions { alter: Some(alter), ..shaped(ShapeClass::Software, Reduction::Workgroup) };
        let found = outcome(&options, &golden_path("norm1.gguf"), KvType::F16);
        assert!(found.is_some(), "{kernel}");
    }
}

/// Loads a model; what was tried, and the logits after a few tokens.
fn tried(options: &GpuOptions, outcomes: &mut Outcomes) -> Result<(Vec<Verdict>, Vec<f32>), Error> {
    let (checked, logits) = tried_on(options, outcomes)?;
    Ok((checked.verdicts, logits))
}

/// The same, and what it runs on.
fn tried_on(options: &GpuOptions, outcomes: &mut Outcomes) -> Result<(Checked, Vec<f32>), Error> {
    let checkpoint = checkpoint(&golden_path("norm1.gguf"));
    let heard = RefCell::new(Vec::new());
    let checked = block_on(load_checked(
        &Access::new(),
        options,
        &checkpoint,
        &LoadOptions { kv: KvType::F32, ..LoadOptions::default() },
        outcomes,
        &mut |_| {},
        &mut |verdict| heard.borrow_mut().push(verdict.clone()),
    ))?;
    assert_eq!(heard.into_inner(), checked.verdicts);
    let mut session = Session::new(&checked.engine)?;
    block_on(session.prefill(&[5, 9, 2, 7, 11, 3, 1, 8]))?;
    let logits = session.logits().to_vec();
    Ok((checked, logits))
}

#[test]
fn a_gpu_that_is_wrong_in_every_way_ends_on_the_processor() {
    let (_, alter) = fault!("embed", "part.scale)", "1.5 * part.scale)");
    let auto = GpuOptions { software: Some(false), alter: Some(alter), ..GpuOptions::default() };
    let (Checked { engine, verdicts }, logits) = tried_on(&auto, &mut Outcomes::new()).unwrap();
    let why = engine.model().gpu().why().unwrap();
    assert!(why.starts_with("the GPU computes wrong results: embed: "), "{why}");
    let (last, wrong) = verdicts.split_last().unwrap();
    assert!(wrong.len() > 1 && wrong.iter().all(|verdict| verdict.is_wrong), "{verdicts:?}");
    assert_eq!((last.variant.as_str(), &last.failed, last.seconds), ("the processor", &None, None));
    let (_, right) =
        tried(&GpuOptions { device: DeviceKind::Gpu, ..GpuOptions::default() }, &mut Outcomes::new()).unwrap();
    peregrine_tests::assert_close("logits", &logits, &right, 2e-4);

    // Whoever asks for a GPU hears that it is wrong.
    let refused = tried(&GpuOptions { device: DeviceKind::Gpu, ..auto }, &mut Outcomes::new());
    assert!(matches!(refused, Err(Error::SelfCheck { .. })));
}

#[test]
fn what_fails_is_not_used_and_that_is_remembered() {
    let hardware = shaped(ShapeClass::Hardware, Reduction::Subgroup);
    let mut outcomes = Outcomes::new();
    let (verdicts, right) = tried(&hardware, &mut outcomes).unwrap();
    assert_eq!((verdicts.len(), verdicts[0].failed.clone()), (1, None), "{verdicts:?}");
    assert!(verdicts[0].seconds.is_some());
    let (again, _) = tried(&hardware, &mut outcomes).unwrap();
    assert_eq!((again[0].seconds, again[0].failed.clone()), (None, None), "known");

    // A fault in subgroup sums: sums through workgroup memory are used instead.
    let subgroup: Alter = |name, source| match name {
        "matvec_team" => source.replace("subgroupShuffleXor(", "subgroupShuffleXor(0.5 * "),
        _ => source,
    };
    let mut outcomes = Outcomes::new();
    let (verdicts, logits) = tried(&GpuOptions { alter: Some(subgroup), ..hardware.clone() }, &mut outcomes).unwrap();
    let words: Vec<&str> = verdicts.iter().map(|v| v.variant.as_str()).collect();
    assert_eq!(words, ["GPU shapes, subgroup sums", "GPU shapes, workgroup sums"], "{verdicts:?}");
    assert!(verdicts[0].failed.as_ref().unwrap().starts_with("layer 0, "), "{verdicts:?}");
    peregrine_tests::assert_close("logits", &logits, &right, 1e-3);
    // The next time nobody looks again.
    let (verdicts, _) = tried(&GpuOptions { alter: Some(subgroup), ..hardware.clone() }, &mut outcomes).unwrap();
    assert!(verdicts.len() == 2 && verdicts.iter().all(|v| v.seconds.is_none()), "{verdicts:?}");

    // In a kernel of GPUs whatever the sums: the shapes of software adapters are left.
    let (_, tile) = fault!("attention_tile", "let fade = exp(", "let fade = exp(0.5 + ");
    let (verdicts, logits) =
        tried(&GpuOptions { alter: Some(tile), ..hardware.clone() }, &mut Outcomes::new()).unwrap();
    assert_eq!(verdicts.last().unwrap().variant, "software shapes, workgroup sums", "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|v| v.failed.is_some()).count(), 3, "{verdicts:?}");
    peregrine_tests::assert_close("logits", &logits, &right, 1e-3);

    // A kernel that the driver refuses is as good as wrong.
    let refused: Alter = |name, source| match name {
        "attention_tile" => source.replace("let fade = exp(", "let fade = expp("),
        _ => source,
    };
    let (verdicts, _) = tried(&GpuOptions { alter: Some(refused), ..hardware.clone() }, &mut Outcomes::new()).unwrap();
    assert_eq!(verdicts.last().unwrap().variant, "software shapes, workgroup sums", "{verdicts:?}");

    // In what all share: nothing passes, and no text is made.
    let (_, embed) = fault!("embed", "h[y + 7u] = w.h;", "");
    let mut outcomes = Outcomes::new();
    let error = tried(&GpuOptions { alter: Some(embed), ..hardware.clone() }, &mut outcomes).unwrap_err();
    assert_eq!(error.code(), "self-check");
    let message = error.to_string();
    assert!(message.contains("GPU shapes, subgroup sums: embed: the device computes"), "{message}");
    assert!(message.contains("software shapes"), "{message}");

    // The next time it is looked at again: what a driver did wrong a better one may do right, and a
    // key need not tell them apart.
    assert!(outcomes.len() > 2 && outcomes.values().all(Option::is_some), "{outcomes:?}");
    for outcome in outcomes.values_mut() {
        *outcome = Some("some other time".into());
    }
    let again = tried(&GpuOptions { alter: Some(embed), ..hardware.clone() }, &mut outcomes).unwrap_err();
    assert_eq!(again.to_string(), message);
    let mut known = Outcomes::new();
    tried(&hardware, &mut known).unwrap();
    for outcome in known.values_mut() {
        *outcome = Some("some other time".into());
    }
    // Another way is there and right: what failed stays as it was.
    let (verdicts, _) = tried(&hardware, &mut known).unwrap();
    assert_eq!(verdicts[0].failed.as_deref(), Some("some other time"));
    assert!(verdicts[0].is_wrong && verdicts[0].seconds.is_none() && verdicts.len() == 2, "{verdicts:?}");
}

/// What takes too much memory is told as that, whatever was known of other ways.
#[test]
fn a_model_that_does_not_fit_is_no_wrong_result() {
    let hardware = shaped(ShapeClass::Hardware, Reduction::Subgroup);
    let mut outcomes = Outcomes::new();
    tried(&hardware, &mut outcomes).unwrap();
    for outcome in outcomes.values_mut() {
        *outcome = Some("some other time".into());
    }
    let checkpoint = checkpoint(&golden_path("norm1.gguf"));
    let load = LoadOptions { kv: KvType::F32, memory_budget: Some(1000), ..LoadOptions::default() };
    let access = Access::new();
    let loaded =
        block_on(load_checked(&access, &hardware, &checkpoint, &load, &mut outcomes, &mut |_| {}, &mut |_| {}));
    assert!(matches!(loaded.map(|_| ()), Err(Error::DoesNotFit { .. })));
}

#[test]
fn logits_that_are_no_numbers_end_in_an_error_that_says_where() {
    // Inside of the layers, as a prompt.
    let mlp: Alter = |name, source| match name {
        "attention_tile" | "mixer_step" => source.replace("let fade = exp(", "let fade = exp(1e9 + "),
        _ => source,
    };
    let options = GpuOptions { alter: Some(mlp), ..shaped(ShapeClass::Hardware, Reduction::Workgroup) };
    let checkpoint = checkpoint(&golden_path("norm1.gguf"));
    let engine =
        block_on(peregrine::session::Engine::load(&gpu(&options), &checkpoint, &LoadOptions::default(), &mut |_| {}))
            .unwrap();
    let mut session = Session::new(&engine).unwrap();
    let error = block_on(session.prefill(&(1..200).map(|i| i % 60).collect::<Vec<_>>())).unwrap_err();
    let Error::NotFinite { stage, .. } = &error else { panic!("{error}") };
    assert!(stage.starts_with("layer 1, project_in"), "{error}");
    assert_eq!(error.code(), "not-finite");
    assert_eq!(session.position(), 0, "nothing of it is kept");
    assert!(session.logits().is_empty());
}

/// In the middle of an answer, where the GPU samples and nobody reads the logits of each token.
#[test]
fn a_step_of_an_answer_that_is_no_number_ends_it() {
    let (_, step) = fault!("mixer_step", "let decay = exp(", "let decay = exp(1e9 + ");
    let options = GpuOptions { alter: Some(step), ..shaped(ShapeClass::Hardware, Reduction::Workgroup) };
    let checkpoint = two_layers();
    let load = LoadOptions::default();
    let engine = block_on(peregrine::session::Engine::load(&gpu(&options), &checkpoint, &load, &mut |_| {})).unwrap();
    let mut session = Session::new(&engine).unwrap();
    block_on(session.prefill(&(1..80).collect::<Vec<_>>())).unwrap();
    for temperature in [0.0, 0.8] {
        let sampling = SamplingOptions { temperature, ..SamplingOptions::default() };
        let options = GenerateOptions { max_tokens: 8, ignore_end: true, sampling, ..GenerateOptions::default() };
        let mut pieces = 0;
        let error = block_on(session.generate(&options, &mut |_| {
            pieces += 1;
            true
        }));
        let error = error.map(|answer| answer.text).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        assert!(pieces <= 1, "what was sampled from numbers, and nothing after it: {pieces}");
        assert_eq!(session.position(), 0, "nothing of it is kept");
        block_on(session.prefill(&(1..80).collect::<Vec<_>>())).unwrap();
    }
}

/// The layers are right, and the head's products are too large for a number.
#[test]
fn a_head_that_overflows_is_named() {
    let (from, to) = (golden_path("hf-folder"), tempfile::TempDir::new().unwrap());
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    let config = to.path().join("config.json");
    let mut fields: serde_json::Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    fields["lm_head_multiplier"] = serde_json::json!(3e38);
    std::fs::write(config, fields.to_string()).unwrap();
    let checkpoint = checkpoint(to.path());
    let options = shaped(ShapeClass::Hardware, Reduction::Workgroup);
    let load = LoadOptions::default();
    let engine = block_on(peregrine::session::Engine::load(&gpu(&options), &checkpoint, &load, &mut |_| {})).unwrap();
    let mut session = Session::new(&engine).unwrap();
    let error = block_on(session.prefill(&[5, 9, 2])).unwrap_err();
    let Error::NotFinite { stage, .. } = &error else { panic!("{error}") };
    assert!(stage.contains("lm_head"), "{error}");
    assert!(session.logits().is_empty());
}

/// Bytes in memory, counted when they are read.
struct Counted {
    inner: MemorySource,
    bytes: Cell<u64>,
}

impl Source for Counted {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, peregrine::Result<()>> {
        self.bytes.set(self.bytes.get() + buf.len() as u64);
        self.inner.read(offset, buf)
    }
}

/// Over a network each piece costs a request, and from a browser's store a part of the file.
#[test]
fn the_self_check_reads_nothing_that_loading_has_not_read() {
    let mut outcomes = Outcomes::new();
    let mut read = Vec::new();
    for case in ["norm1", "tied", "norm1", "tied"] {
        let bytes = std::fs::read(golden_path(&format!("{case}.gguf"))).unwrap();
        let source = Rc::new(Counted { inner: MemorySource::new(case, bytes), bytes: Cell::new(0) });
        let checkpoint = block_on(Checkpoint::open_gguf_parts(vec![source.clone()])).unwrap();
        let opened = source.bytes.get();
        let (access, options) = (Access::new(), shaped(ShapeClass::Hardware, Reduction::Workgroup));
        let load = LoadOptions::default();
        let checked =
            block_on(load_checked(&access, &options, &checkpoint, &load, &mut outcomes, &mut |_| {}, &mut |_| {}));
        let verdict = &checked.unwrap().verdicts[0];
        read.push((verdict.seconds.is_some(), source.bytes.get() - opened));
    }
    let [(true, first), (true, second), (false, known), (false, other)] = read[..] else { panic!("{read:?}") };
    assert_eq!((first, second), (known, other));
}
