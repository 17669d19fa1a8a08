//! LoRA adapters: PEFT's numbers, choices of sessions, and what is wrong with an adapter.

mod budget;
mod checked;
mod damaged;
mod fused;
mod sessions;
mod sums;

use std::collections::BTreeMap;
use std::rc::Rc;

use peregrine::adapter::{Adapter, AdapterId, Base};
use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::format::Format;
use peregrine::gpu::{Gpu, GpuOptions, Reduction, ShapeClass};
use peregrine::inspect::Comparison;
use peregrine::model::LoadOptions;
use peregrine::reference::model::Model;
use peregrine::session::{Engine, Session};
use peregrine::state::KvType;
use peregrine_tests::{Golden, assert_close, checkpoint, device, exact, golden_path, gpu, processor, session};
use peregrine_workbench::check::check;
use peregrine_workbench::gguf::{Field, GgufHeader};
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, merge};
use pollster::block_on;

/// As in `model.rs`: logits have a standard deviation of 2 to 3.
const LOGITS: f32 = 2e-4;

/// A name in the golden file, its base, and the adapters beside it with their scales.
type Case = (&'static str, &'static str, &'static [(&'static str, f32)]);

const CASES: &[Case] = &[
    ("plain", "hf-folder", &[("plain", 1.0)]),
    ("plain", "hf-folder", &[("plain.gguf", 1.0)]),
    ("patterns", "hf-folder", &[("patterns", 1.0)]),
    ("layers", "hf-folder", &[("layers", 1.0)]),
    ("two", "hf-folder", &[("plain", 1.0), ("patterns", 0.5)]),
    ("two", "hf-folder", &[("patterns", 0.5), ("plain.gguf", 1.0)]),
    ("baked", "norm2.gguf", &[("baked", 1.0)]),
    ("baked-gguf", "norm2.gguf", &[("baked.gguf", 1.0)]),
    ("tied", "tied.gguf", &[("tied", 1.0)]),
];

fn adapter(name: &str, base: &Base<'_>) -> Adapter {
    block_on(Adapter::open(&golden_path(&format!("adapters/{name}")), base)).unwrap()
}

/// Golden adapters in an engine.
fn add(engine: &Rc<Engine>, adapters: &[(&str, f32)]) -> Vec<(AdapterId, f32)> {
    let add = |(name, scale): &(&str, f32)| {
        let id = engine.adapter(name);
        (id.unwrap_or_else(|| engine.add_adapter(name, adapter(name, &engine.base())).unwrap()), *scale)
    };
    adapters.iter().map(add).collect()
}

fn choose(session: &mut Session, adapters: &[(&str, f32)]) {
    let chosen = add(session.engine(), adapters);
    block_on(session.set_adapters(&chosen)).unwrap();
}

fn open(base: &str) -> (Checkpoint, Vec<u32>) {
    (checkpoint(&golden_path(base)), Golden::open(base.trim_end_matches(".gguf")).ids("ids"))
}

fn logits(session: &mut Session, ids: &[u32], chunk: u32) -> Vec<f32> {
    let mut logits = Vec::new();
    let all = ids.len() as u32;
    block_on(session.forward(ids, chunk, all, &mut |row| logits.extend_from_slice(row))).unwrap();
    logits
}

/// The last rows, as many as `expected` has.
fn tail<'a>(found: &'a [f32], expected: &[f32]) -> &'a [f32] {
    &found[found.len() - expected.len()..]
}

#[test]
fn the_cpu_twin_is_peft() {
    let golden = Golden::open("adapters");
    for (case, base, adapters) in CASES {
        let (file, ids) = open(base);
        let session = session(&device(&GpuOptions::default()), &file, &exact());
        let mut session = session;
        choose(&mut session, adapters);
        let mut model = block_on(Model::<f32>::load(&file)).unwrap().adapted(session.adapters());
        let found: Vec<f32> = ids.iter().flat_map(|id| model.forward(*id).logits).collect();
        let expected = golden.f32(case);
        assert_close(&format!("{case}, {adapters:?}"), tail(&found, &expected), &expected, LOGITS);
    }
}

/// Bases that are open, by name.
type Opened = BTreeMap<&'static str, (Checkpoint, Vec<u32>, Session)>;

/// One session of each base: beside it are the adapters of all cases so far, of which each case
/// chooses its own.
fn session_of<'a>(opened: &'a mut Opened, gpu: &Gpu, base: &'static str) -> &'a mut (Checkpoint, Vec<u32>, Session) {
    opened.entry(base).or_insert_with(|| {
        let (file, ids) = open(base);
        let session = session(gpu, &file, &exact());
        (file, ids, session)
    })
}

fn compare_gpu(gpu: &Gpu) {
    let golden = Golden::open("adapters");
    let mut opened = Opened::new();
    for (case, base, adapters) in CASES {
        let (_, ids, session) = session_of(&mut opened, gpu, base);
        choose(session, adapters);
        for chunk in [1, 32, 7, 2] {
            session.reset();
            let found = logits(session, ids, chunk);
            let expected = golden.f32(case);
            let what = format!("{case}, {adapters:?} in chunks of {chunk}");
            assert_close(&what, tail(&found, &expected), &expected, LOGITS);
        }
    }
}

#[test]
fn the_processor_is_peft_in_any_chunking() {
    compare_gpu(&processor());
}

#[test]
fn the_gpu_is_peft_in_any_chunking() {
    compare_gpu(&gpu(&GpuOptions::default()));
}

/// The kernels of GPUs, with the norms inside of what reads them.
#[test]
fn the_kernels_for_gpus_are_peft_too() {
    for reduction in [Reduction::Workgroup, Reduction::Subgroup] {
        let options =
            GpuOptions { shapes: Some(ShapeClass::Hardware), reduction: Some(reduction), ..GpuOptions::default() };
        compare_gpu(&gpu(&options));
    }
}

/// Put into the weights, of whichever base, they are the same model.
#[test]
fn what_is_merged_is_peft() {
    let golden = Golden::open("adapters");
    let gpu = device(&GpuOptions::default());
    for (case, base, adapters) in CASES {
        let (file, ids) = open(base);
        let opened: Vec<(Adapter, f32)> =
            adapters.iter().map(|(name, scale)| (adapter(name, &Base::of(&file)), *scale)).collect();
        let mut bytes = Vec::new();
        let options = QuantizeOptions::new(QuantType::F32);
        block_on(merge(&file, &opened, &mut bytes, &options, &mut |_, _| {})).unwrap();
        let merged = block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("merged", bytes)))).unwrap();
        let found = logits(&mut session(&gpu, &merged, &exact()), &ids, 32);
        let expected = golden.f32(case);
        assert_close(&format!("{case}, {adapters:?}, merged"), tail(&found, &expected), &expected, LOGITS);
    }
}

/// `check` compares stage by stage, and so tells where a difference comes from.
#[test]
fn every_stage_is_the_twins() {
    for shapes in [ShapeClass::Software, ShapeClass::Hardware] {
        let gpu = gpu(&GpuOptions { shapes: Some(shapes), ..GpuOptions::default() });
        let mut opened = Opened::new();
        for (case, base, adapters) in CASES {
            let (file, ids, session) = session_of(&mut opened, &gpu, base);
            choose(session, adapters);
            session.reset();
            let mut results = 0;
            let mut judge = |c: &Comparison| {
                assert!(c.is_close(), "{case}, {adapters:?}: {}", c.describe());
                results += 1;
            };
            block_on(check(session, file, &ids[..13], &[10, 1, 1, 1], &mut judge)).unwrap();
            assert!(results > 50);
        }
    }
}

/// Compares every stage with the twin, past positions 128 and 256: attention is cut into splits,
/// which the kernels that read them put together.
fn check_long(session: &mut Session, file: &Checkpoint, ids: &[u32]) {
    let ids: Vec<u32> = ids.iter().copied().cycle().take(262).collect();
    let mut judge = |c: &Comparison| assert!(c.is_close(), "{}", c.describe());
    block_on(check(session, file, &ids, &[120, 1, 1, 17, 1, 1, 114, 1, 1, 1, 1, 1, 1, 1], &mut judge)).unwrap();
}

/// Where the norm of the SSM heads is a dispatch of its own `lora_down` reads the splits, and where
/// it is not the heads leave A o of one or two, and `merge_lora` of more.
#[test]
fn a_long_context_is_the_twins() {
    for (base, adapters) in
        [("norm2.gguf", &[("baked.gguf", 1.0)][..]), ("hf-folder", &[("plain", 1.0), ("patterns", 0.5)])]
    {
        for reduction in [Reduction::Workgroup, Reduction::Subgroup] {
            let options =
                GpuOptions { shapes: Some(ShapeClass::Hardware), reduction: Some(reduction), ..GpuOptions::default() };
            let (file, ids) = open(base);
            let mut session = session(&gpu(&options), &file, &exact());
            choose(&mut session, adapters);
            check_long(&mut session, &file, &ids);
        }
    }
}

/// A GGUF adapter of rank 5 with these weights \[out, in\].
pub(crate) fn made(weights: &[(&str, u64, u64)], base: &Base<'_>) -> Adapter {
    made_of(5, weights, base)
}

/// The same of another rank.
fn made_of(rank: u64, weights: &[(&str, u64, u64)], base: &Base<'_>) -> Adapter {
    let mut header = GgufHeader::default();
    header.field("general.type", Field::Str("adapter"));
    header.field("adapter.type", Field::Str("lora"));
    header.field("general.architecture", Field::Str("falcon-h1"));
    header.field("adapter.lora.alpha", Field::F32(1.0));
    let mut data: Vec<u8> = Vec::new();
    for (name, rows, cols) in weights {
        for (half, dims) in [("a", [*cols, rank]), ("b", [rank, *rows])] {
            header.tensor(&format!("{name}.lora_{half}"), &dims, Format::F32).unwrap();
            let value = |i: u64| (i * 2_654_435_761 % 1009) as f32 / 1009.0 - 0.5;
            data.extend((0..dims[0] * dims[1]).flat_map(|i| value(i + rows).to_le_bytes()));
            data.resize(data.len().next_multiple_of(32), 0);
        }
    }
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    std::fs::write(file.path(), [header.bytes(), data].concat()).unwrap();
    block_on(Adapter::open(file.path(), base)).unwrap()
}

/// One of this rank for all nine projections of every layer.
fn made_of_all(rank: u64, base: &Base<'_>) -> Adapter {
    let c = base.config;
    let [d, f, q, kv, ssm] = [c.hidden_size, c.intermediate_size, c.q_dim(), c.kv_dim(), c.mamba_d_ssm].map(u64::from);
    let projections = [
        ("attn_q", q, d),
        ("attn_k", kv, d),
        ("attn_v", kv, d),
        ("ssm_in", c.in_proj_rows().into(), d),
        ("attn_output", d, q),
        ("ssm_out", d, ssm),
        ("ffn_gate", f, d),
        ("ffn_up", f, d),
        ("ffn_down", d, f),
    ];
    let of_layer = |layer| projections.map(|(name, rows, cols)| (format!("blk.{layer}.{name}.weight"), rows, cols));
    let weights: Vec<_> = (0..c.num_hidden_layers).flat_map(of_layer).collect();
    let weights: Vec<_> = weights.iter().map(|(name, rows, cols)| (name.as_str(), *rows, *cols)).collect();
    made_of(rank, &weights, base)
}

/// A matrix that is cut into slabs: gate and up are then two dispatches for each.
#[test]
fn slabs_are_the_twins() {
    for shapes in [ShapeClass::Software, ShapeClass::Hardware] {
        let options = GpuOptions { shapes: Some(shapes), max_binding: Some(66_000), ..GpuOptions::default() };
        let (file, ids) = open("quant.gguf");
        let load = LoadOptions { chunk: Some(8), ..exact() };
        let mut session = session(&gpu(&options), &file, &load);
        // Of each layer w_in, w_out, mlp_in, mlp_out.
        assert!(session.engine().model().slab_counts()[2..].chunks(4).all(|layer| layer[2] > 1));
        let weights = ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight", "blk.1.ffn_up.weight", "blk.1.ffn_down.weight"];
        let engine = session.engine().clone();
        let id = engine.add_adapter("made", made(&weights.map(|name| (name, 256, 256)), &engine.base())).unwrap();
        block_on(session.set_adapters(&[(id, 0.5)])).unwrap();
        let mut judge = |c: &Comparison| assert!(c.is_close(), "{}", c.describe());
        block_on(check(&mut session, &file, &ids[..9], &[7, 1, 1], &mut judge)).unwrap();
    }
}
