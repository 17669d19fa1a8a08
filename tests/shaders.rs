//! The WGSL sources without a GPU: every kernel in every variant is valid, keeps the baseline's
//! limits, and agrees with Rust about what lies where. And with one: a program that is wrong is
//! reported, and not a silent zero.

#[path = "../shaders/expand.rs"]
#[allow(dead_code, reason = "what only a build needs of it")]
pub(crate) mod expand;

use std::collections::HashSet;
use std::mem::{offset_of, size_of};

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, TypeInner};
use peregrine::Error;
use peregrine::format::FORMATS;
use peregrine::gpu::{COOPERATIVE_WORKGROUP_BYTES, GpuOptions, Reduction};
use peregrine::kernels::{Formats, KERNELS, Kernel, Pipelines};
use peregrine::ops::attention::{AttentionCooperative, AttentionTile};
use peregrine::ops::sample::Ends;
use peregrine::plan::Step;
use peregrine::sampling::SamplingParams;
use peregrine::state::KvType;
use peregrine::weights::{GpuMatrix, GpuPart};
use peregrine_tests::{MIXES, gpu, variants};
use pollster::block_on;

fn named(name: &str) -> Option<&'static Kernel> {
    KERNELS.iter().copied().find(|kernel| kernel.name == name)
}

/// The kernels that need more than the baseline: [`GpuOptions::cooperative`] asks for it.
pub(crate) const COOPERATIVE: [&str; 4] =
    ["matmul_cooperative", "attention_cooperative", "ssd_states_cooperative", "ssd_output_cooperative"];

pub(crate) fn validate(source: &str) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    // unpack2x16float is plain WGSL; naga counts it as a capability all the same.
    let capabilities = Capabilities::SUBGROUP
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32
        | Capabilities::SHADER_FLOAT16
        | Capabilities::COOPERATIVE_MATRIX;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.subgroup_operations(naga::valid::SubgroupOperationSet::all());
    validator.subgroup_stages(naga::valid::ShaderStages::COMPUTE);
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(source))?;
    Ok((module, info))
}

pub(crate) fn all() -> impl Iterator<Item = (&'static Kernel, Reduction, Module)> {
    sources().map(|(kernel, reduction, source)| {
        let (module, _) = validate(&source).unwrap_or_else(|e| panic!("{}, {reduction:?}: {e}", kernel.name));
        (kernel, reduction, module)
    })
}

/// Every source that there is: see [`variants`].
pub(crate) fn sources() -> impl Iterator<Item = (&'static Kernel, Reduction, String)> {
    variants().into_iter().map(|variant| (variant.kernel, variant.reduction, variant.source(false)))
}

/// One of a kernel's sources.
fn source(name: &str) -> String {
    variants().iter().find(|variant| variant.kernel.name == name).unwrap().source(false)
}

#[test]
fn every_kernel_is_valid_in_every_variant() {
    // 28 kernels without weights; of the 8 with them, two of which sum, each format, each mix, and
    // all formats.
    assert_eq!(all().count(), 51 + 10 * (FORMATS.len() + MIXES.len() + 1));
    let names: HashSet<&str> = KERNELS.iter().map(|k| k.name).collect();
    assert_eq!(names.len(), KERNELS.len(), "a name twice");
    let sources: HashSet<String> = sources().map(|(_, _, source)| source).collect();
    assert_eq!(sources.len(), variants().len(), "two sources are the same");
}

/// What a pipeline does not meet costs its compilation nothing.
#[test]
fn only_the_formats_of_a_matrix_stand_in_its_source() {
    for variant in variants().iter().filter(|variant| variant.kernel.has_matrix()) {
        let source = variant.source(false);
        let here: Vec<&str> = variant.formats.names().collect();
        for spec in FORMATS {
            let name = spec.name.to_lowercase();
            for function in ["load", "strip", "dot"].map(|what| format!("fn {what}_{name}(")) {
                assert_eq!(source.contains(&function), here.contains(&name.as_str()), "{}: {function}", variant.name());
            }
        }
        // Nothing is asked where there is one, and each but the last is asked for in each of three
        // functions.
        assert_eq!(source.matches("if (format == ").count(), 3 * (here.len() - 1), "{}", variant.name());
    }
}

#[test]
fn a_broken_source_is_seen() {
    let source = source("rmsnorm");
    assert!(validate(&source).is_ok());
    let broken = source.replacen("let scale = 1.0", "let scale = group", 1);
    assert_ne!(broken, source);
    assert!(validate(&broken).is_err());
    // Not only what the parser sees.
    let mistyped = source.replacen("let total = reduce", "if (index == 0u) { return 1.0; } let total = reduce", 1);
    assert!(validate(&mistyped).is_err());
}

#[test]
fn only_browsers_are_told_to_enable_subgroups() {
    for variant in variants() {
        let (kernel, web) = (variant.kernel, variant.source(true));
        if COOPERATIVE.contains(&kernel.name) {
            // Natively only, and its features go by no other name.
            assert!(web.starts_with("enable f16;\nenable wgpu_cooperative_matrix;\n"), "{}", kernel.name);
            continue;
        }
        let enables = kernel.reduces && variant.reduction == Reduction::Subgroup;
        assert_eq!(web.starts_with("enable subgroups;\n"), enables, "{}", kernel.name);
        assert!(!variant.source(false).contains("enable "), "{}", kernel.name);
    }
}

#[test]
fn bindings_keep_the_baselines_limits() {
    for (kernel, reduction, module) in all() {
        let mut storage = 0;
        let mut slots = Vec::new();
        for (_, variable) in module.global_variables.iter() {
            if let Some(binding) = &variable.binding {
                // Group 1 is the cache of keys and values: the arena's.
                assert_eq!(binding.group, u32::from(variable.name.as_deref() == Some("kv")), "{}", kernel.name);
                if binding.group == 0 {
                    slots.push(binding.binding);
                }
                storage += u32::from(matches!(variable.space, AddressSpace::Storage { .. }));
            }
        }
        assert!(storage <= 8, "{}, {reduction:?}: {storage} storage buffers", kernel.name);
        slots.sort_unstable();
        assert_eq!(
            slots,
            (0..slots.len() as u32).collect::<Vec<_>>(),
            "{}: bindings are numbered in order",
            kernel.name
        );
    }
}

/// Local variables that are declared without a value, as "name: type".
fn without_a_value(source: &str) -> Vec<String> {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let statements: Vec<String> =
        code.collect::<Vec<_>>().join(" ").split([';', '{', '}']).map(str::to_string).collect();
    let declared = statements.iter().filter_map(|s| s.trim().strip_prefix("var "));
    declared.filter(|rest| !rest.contains('=')).map(|rest| rest.trim().to_string()).collect()
}

/// In a loop such a variable begins each pass as zero, says WGSL; in the translations of Tint and
/// of some versions of naga it keeps the value of the pass before. `var x = Type();` is the same
/// everywhere.
#[test]
fn every_local_variable_begins_with_a_value() {
    let with = "var<workgroup> a: array<u32, 4>; fn f() { for (var i = 0u; i < 4u; i++) { var x: f32; x = 1.0; } }";
    assert_eq!(without_a_value(with), ["x: f32"], "this test can fail");
    for (kernel, reduction, source) in sources() {
        let found = without_a_value(&source);
        assert!(found.is_empty(), "{}, {reduction:?}: {found:?}", kernel.name);
    }
}

/// Bytes of workgroup memory and invocations of a kernel with these constants, where everything
/// else is as large as it gets.
fn workgroup(module: &Module, info: &ModuleInfo, constants: &[(&str, f64)]) -> (u32, u32) {
    let constants = constants.iter().map(|(name, value)| ((*name).to_string(), *value)).collect();
    let (module, _) = naga::back::pipeline_constants::process_overrides(module, info, None, &constants).unwrap();
    let layouts = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    let bytes = layouts.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx())).sum();
    (bytes, module.entry_points[0].workgroup_size.iter().product())
}

#[test]
fn workgroups_keep_the_baselines_limits() {
    // The largest that the table of shapes gives, with the largest sizes that a model may have.
    let sizes = [
        ("THREADS", 256.0),
        ("LANES", 32.0),
        ("HEAD_DIM", 256.0),
        ("P", 128.0),
        ("N", 512.0),
        ("G", 1.0),
        ("Q_DIM", 2048.0),
        ("KV_DIM", 512.0),
        ("KV_FOURS", 8.0),
        ("Q_PER_KV", 4.0),
        ("HEADS_EACH", 4.0),
        ("D_SSM", 3072.0),
        ("CONV_DIM", 4096.0),
        ("D_CONV", 4.0),
        ("SSM_HEADS", 24.0),
        ("SSM_OFFSET", 2048.0),
        ("SLICES", 64.0),
        ("SPLITS_OFFSET", 64.0),
        ("PROJ_STRIDE", 8192.0),
        ("READY_STRIDE", 8192.0),
        ("MIXED_STRIDE", 8192.0),
        ("WIDTH", 3072.0),
        ("COLUMNS", 4096.0),
        ("HEADS", 8.0),
        ("STRIDE", 8192.0),
        ("OFFSET", 2048.0),
        ("EPS", 1e-5),
    ];
    let (mut largest, mut most_cooperative) = (0, 0);
    for (kernel, reduction, source) in sources() {
        let (module, info) = validate(&source).unwrap();
        let known = |name: &&str| module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name));
        let constants: Vec<(&str, f64)> = sizes.iter().copied().filter(|(name, _)| known(name)).collect();
        let (bytes, invocations) = workgroup(&module, &info, &constants);
        let cooperative = COOPERATIVE.contains(&kernel.name);
        let most = if cooperative { COOPERATIVE_WORKGROUP_BYTES } else { 16384 };
        assert!(bytes <= most, "{}, {reduction:?}: {bytes} bytes of workgroup memory", kernel.name);
        assert!((1..=256).contains(&invocations), "{}: {invocations} invocations", kernel.name);
        largest = largest.max(bytes);
        most_cooperative = most_cooperative.max(if cooperative { bytes } else { 0 });
    }
    assert_eq!(most_cooperative, COOPERATIVE_WORKGROUP_BYTES);
    assert!(largest > 8192, "the sizes of arrays are not counted: {largest}");
}

/// Offsets of a struct's members, and its size.
fn layout(module: &Module, name: &str) -> (Vec<(String, u32)>, u32) {
    let (_, ty) = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)).unwrap();
    let TypeInner::Struct { members, span } = &ty.inner else {
        panic!("{name} is no struct");
    };
    (members.iter().map(|m| (m.name.clone().unwrap(), m.offset)).collect(), *span)
}

macro_rules! assert_layout {
    ($module:expr, $name:literal, $rust:ty, [$($field:ident),*]) => {
        let (members, size) = layout($module, $name);
        let expected = vec![$((stringify!($field).to_string(), offset_of!($rust, $field) as u32)),*];
        let shared: Vec<_> = members.iter().filter(|(name, _)| !name.starts_with("unused")).cloned().collect();
        assert_eq!(shared, expected, $name);
        assert_eq!(size as usize, size_of::<$rust>(), $name);
    };
}

#[test]
fn structs_lie_as_rust_writes_them() {
    let module = |name| validate(&source(name)).unwrap().0;
    let matvec = module("matvec");
    assert_layout!(&matvec, "Step", Step, [tokens, position, first, splits]);
    assert_layout!(&matvec, "Part", GpuPart, [first_row, rows, strips, x, quants, scales, kind, scale]);
    assert_layout!(&matvec, "Matrix", GpuMatrix, [first_row, rows, parts, x_stride, y_stride, part]);
    assert_layout!(&module("sample"), "Ends", Ends, [count, vocab_size, id]);
    assert_layout!(&module("multinomial"), "SamplingParams", SamplingParams, [scale, top_k, top_p, least, random]);
}

#[test]
fn every_format_has_its_file_and_ggufs_number() {
    assert_eq!(Formats::all().names().count(), FORMATS.len());
    for spec in FORMATS {
        let formats = Formats::of([spec.name]).unwrap_or_else(|| panic!("shaders/formats has no {}", spec.name));
        let source = named("matvec").unwrap().source(Reduction::Workgroup, KvType::F16, formats, false);
        let line = format!("const {}: u32 = {}u;", spec.name, spec.gguf_id);
        assert!(source.contains(&line), "{line}");
    }
}

/// Sizes that both sides have as constants.
#[test]
fn constants_are_the_same_on_both_sides() {
    let most_splits = peregrine::state::most_splits(u32::MAX);
    let chunk = peregrine::ops::ssm::CHUNK;
    let constants = [
        ("merge", "MOST_SPLITS", most_splits),
        ("mixer_step", "MOST_SPLITS", peregrine::state::SHORT_SPLITS),
        ("attention_tile", "PAGE", peregrine::state::PAGE),
        ("attention_tile", "QUERIES", AttentionTile::QUERIES),
        ("attention_cooperative", "QUERIES", AttentionCooperative::QUERIES),
        ("ssd_states", "CHUNK", chunk),
        ("ssd_pass", "CHUNK", chunk),
        ("ssd_output", "CHUNK", chunk),
        ("ssd_states_cooperative", "CHUNK", chunk),
        ("ssd_output_cooperative", "CHUNK", chunk),
    ];
    for (kernel, name, value) in constants {
        let source = source(kernel);
        let line = format!("const {name}: u32 = {value}u;");
        assert!(source.contains(&line), "{kernel}: {line}");
    }
}

#[test]
fn every_file_is_part_of_a_kernel() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
    let sources: Vec<String> = sources().map(|(_, _, source)| source).collect();
    let mut files = 0;
    for folder in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "wgsl") {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(&path).unwrap();
                for variant in [None, expand::variant(&name, &text).unwrap()] {
                    let text = expand::expand(&name, &text, variant).unwrap();
                    // As it is where there is one format.
                    let text: String = text.split_inclusive('\n').filter(|line| !line.contains("== EACH")).collect();
                    let text = text.replace("_last(", "_f32(");
                    assert!(sources.iter().any(|s| s.contains(&text)), "{name} is used by no kernel");
                }
                files += 1;
            }
        }
    }
    assert!(files > KERNELS.len(), "{files} files");
}

#[test]
fn a_pipeline_that_fails_is_reported_by_name() {
    let gpu = gpu(&GpuOptions::default());
    let pipelines = Pipelines::new(&gpu, KvType::F16);
    let norm = named("rmsnorm").unwrap();
    let sizes = [("WIDTH", 64.0), ("STRIDE", 64.0), ("EPS", 1e-5)];
    pipelines.get(norm, Reduction::Workgroup, &sizes);
    block_on(pipelines.finish()).unwrap();
    // No device has a million invocations.
    pipelines.get(norm, Reduction::Workgroup, &[&sizes[..], &[("THREADS", 1e6)]].concat());
    let error = block_on(pipelines.finish()).unwrap_err();
    assert!(matches!(&error, Error::Gpu { detail } if detail.contains("kernel rmsnorm")), "{error}");
    // Told once, and what was right before still is.
    block_on(pipelines.finish()).unwrap();
}
