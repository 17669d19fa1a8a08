//! Hashes of every composed WGSL source, and of every dispatch that is recorded for the golden
//! models, with adapters and without: kernel, override constants, bindings, workgroups. Code that
//! is moved changes none of them; what changes them on purpose writes the file anew: `make hashes`.
//! With `HASHES=FOLDER` what is hashed is written there as text, to be compared with diff.

use std::fmt::Write;

use peregrine::adapter::{Adapter, Chosen};
use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::{Gpu, GpuOptions, Reduction, ShapeClass};
use peregrine::kernels::Bound;
use peregrine::model::{LoadOptions, Model};
use peregrine::ops::target::Target;
use peregrine::plan::{Call, Step};
use peregrine::state::KvType;
use peregrine_tests::{checkpoint, golden_path, gpu, processor, session, tiny_model, variants};
use pollster::block_on;
use sha2::{Digest, Sha256};

const FILE: &str = "unchanged.txt";
const CASES: &[&str] = &["norm1.gguf", "norm2.gguf", "gate2.gguf", "tied.gguf", "wide.gguf", "odd.gguf", "row80.gguf"];

fn hash(text: &str) -> String {
    Sha256::digest(text)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line for each text, which is written down where `HASHES` says.
fn line(lines: &mut String, name: &str, text: &str) {
    writeln!(lines, "{} {name}", hash(text)).unwrap();
    if let Ok(folder) = std::env::var("HASHES") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(format!("{folder}/{}", name.replace([' ', '/'], "_")), text).unwrap();
    }
}

fn sources(lines: &mut String) {
    for variant in variants() {
        for (web, word) in [(false, ""), (true, " web")] {
            line(lines, &(variant.name() + word), &variant.source(web));
        }
    }
}

/// Devices as plans see them: software, GPUs with and without subgroups, cooperative matrices. None
/// of them need be there.
fn targets() -> impl Iterator<Item = (&'static str, Target)> {
    use Reduction::{Subgroup, Workgroup};
    use ShapeClass::{Hardware, Software};
    [
        ("software", Target::new(Software, Workgroup, false, KvType::F16, 32, 256)),
        ("software, q8", Target::new(Software, Workgroup, false, KvType::Q8, 32, 256)),
        ("workgroup sums", Target::new(Hardware, Workgroup, false, KvType::F16, 32, 256)),
        ("subgroup sums", Target::new(Hardware, Subgroup, false, KvType::F32, 32, 384)),
        ("small subgroups, q8", Target::new(Hardware, Subgroup, false, KvType::Q8, 8, 256)),
        ("cooperative", Target::new(Hardware, Subgroup, true, KvType::F16, 32, 384)),
    ]
    .into_iter()
}

/// Everything about a plan but its pipelines. Buffers are numbered as they come.
fn describe(calls: &[Call]) -> String {
    let steps = [(1, 0, 1), (1, 300, 2), (1, 700, 3), (2, 5, 1), (70, 64, 1), (256, 0, 1)];
    let mut text = String::new();
    let mut known = Vec::new();
    for call in calls {
        let mut constants = call.constants.clone();
        constants.sort_by_key(|(name, _)| *name);
        let constants: Vec<String> = constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut number = |buffer| {
            known.iter().position(|b| *b == buffer).unwrap_or_else(|| {
                known.push(buffer);
                known.len() - 1
            })
        };
        let mut bound = |bound: &Bound| {
            let part = bound.range.map(|(first, bytes)| format!("[{first}+{bytes}]")).unwrap_or_default();
            format!("{}{part}", number(bound.buffer.clone()))
        };
        let buffers = call.buffers.iter().map(&mut bound).collect::<Vec<_>>().join(", ");
        let grids =
            steps.map(|(tokens, position, splits)| (call.grid)(&Step { tokens, position, first: tokens - 1, splits }));
        let reduction = if call.kernel.reduces { format!("{:?}", call.reduction) } else { String::new() };
        writeln!(
            text,
            "{}: {} {reduction} [{}] [{buffers}] {:?} kv {:?} weights {} grids {grids:?}",
            call.stage,
            call.kernel.name,
            constants.join(" "),
            call.needed,
            call.kv,
            call.weight_bytes
        )
        .unwrap();
    }
    text
}

fn plans(lines: &mut String, gpu: &Gpu) {
    let cases = CASES.iter().map(|case| (*case, golden_path(case))).chain([("tiny", tiny_model())]);
    for (case, path) in cases {
        let checkpoint = checkpoint(&path);
        for (device, target) in targets() {
            for (tokens, calls) in ["one", "many"].into_iter().zip(outline(gpu, &checkpoint, target, &[])) {
                line(lines, &format!("{case}, {device}, {tokens}"), &describe(&calls));
            }
        }
    }
}

fn outline(gpu: &Gpu, checkpoint: &Checkpoint, target: Target, adapters: &[Chosen]) -> [Vec<Call>; 2] {
    let options = LoadOptions { kv: target.kv, ..LoadOptions::default() };
    Model::outline(gpu, checkpoint, &options, target, adapters).unwrap()
}

/// Models and adapters beside them: with a norm of the SSM heads that is part of what follows, and
/// with one in groups; of all layers, and of some.
const ADAPTED: &[(&str, &[&str])] =
    &[("hf-folder", &["plain"]), ("hf-folder", &["patterns", "layers"]), ("norm2.gguf", &["baked"])];

fn plans_with_adapters(lines: &mut String, gpu: &Gpu) {
    for (case, names) in ADAPTED {
        let checkpoint = checkpoint(&golden_path(case));
        let mut session = session(&processor(), &checkpoint, &LoadOptions::default());
        let engine = session.engine().clone();
        let open = |name: &&str| {
            let path = golden_path(&format!("adapters/{name}"));
            let adapter = block_on(Adapter::open(&path, &engine.base())).unwrap();
            (engine.add_adapter(name, adapter).unwrap(), 1.0)
        };
        block_on(session.set_adapters(&names.iter().map(open).collect::<Vec<_>>())).unwrap();
        for (device, target) in targets() {
            let plans = outline(gpu, &checkpoint, target, session.adapters());
            for (tokens, calls) in ["one", "many"].into_iter().zip(plans) {
                line(lines, &format!("{case} with {}, {device}, {tokens}", names.join(" and ")), &describe(&calls));
            }
        }
    }
}

/// Where they are kept.
pub fn path() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE)
}

/// Those of the sources and plans that there are.
pub fn found() -> String {
    let mut lines = String::new();
    sources(&mut lines);
    // A binding limit that cuts the larger matrices.
    let options = GpuOptions { max_binding: Some(1 << 20), ..GpuOptions::default() };
    let gpu = gpu(&options);
    plans(&mut lines, &gpu);
    plans_with_adapters(&mut lines, &gpu);
    lines
}

#[test]
fn sources_and_plans_are_as_they_were() {
    let (found, before) = (found(), std::fs::read_to_string(path()).unwrap());
    let differ: Vec<&str> = found.lines().filter(|line| !before.lines().any(|known| known == *line)).collect();
    assert!(differ.is_empty(), "changed or new; `make hashes` if that is wanted:\n{}", differ.join("\n"));
    assert_eq!(found.lines().count(), before.lines().count(), "some are gone; `make hashes` if that is wanted");
}
