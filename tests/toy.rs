//! The GPU's part of CONTRIBUTING.md's list for a block format, its first three places, carried out
//! for a toy: two files and one line are put into a copy of the two crates, and its weights are
//! repacked and read by the kernels on this machine's adapter. The fourth place, the processor's,
//! is not: it is in the runtime, which does not compile without it. Beside the list's places
//! nothing knows the formats one by one. With the toy goes one of a kernel, for which the crate of
//! the shaders needs one file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytemuck::{bytes_of, cast_slice, pod_collect_to_vec};
use peregrine::plan::Step;
use peregrine::weights::{GpuMatrix, GpuPart};
use pollster::block_on;
use wgpu::util::{BufferInitDescriptor, DeviceExt};

use crate::shaders::validate;

const ROWS: usize = 6;
const COLUMNS: usize = 128;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder that is the same in every run, written only where its content differs: cargo then builds
/// again only what has changed.
struct Kept {
    root: PathBuf,
    written: BTreeSet<PathBuf>,
}

impl Kept {
    fn write(&mut self, name: impl AsRef<Path>, content: &[u8]) {
        let path = self.root.join(name);
        if fs::read(&path).ok().as_deref() != Some(content) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        }
        self.written.insert(path);
    }

    /// A file or folder of the repository, but for `without`.
    fn copy(&mut self, name: &Path, without: &[&str]) {
        let from = root().join(name);
        if from.is_dir() {
            for entry in fs::read_dir(&from).unwrap() {
                self.copy(&name.join(entry.unwrap().file_name()), without);
            }
        } else if !without.iter().any(|other| name == Path::new(other)) {
            self.write(name, &fs::read(from).unwrap());
        }
    }

    /// Nothing is left of an earlier run that this one has not written.
    fn tidy(&self) {
        let mut all = Vec::new();
        files(&self.root, &mut all);
        all.iter().filter(|path| !self.written.contains(*path)).for_each(|path| fs::remove_file(path).unwrap());
    }
}

/// A section of CONTRIBUTING.md.
fn list(title: &str) -> String {
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, section) = text.split_once(&format!("\n## {title}\n")).expect(title);
    section.split("\n## ").next().unwrap().to_string()
}

/// A copy of the crates with the toy in it, and a program that uses them.
fn with_toy(folder: &Path) {
    let mut kept = Kept { root: folder.into(), written: BTreeSet::new() };
    let toy = |name: &str| fs::read(root().join("tests/toy").join(name)).unwrap();
    // The line.
    let table = "crates/formats/src/lib.rs";
    assert!(list("A block format").contains(&format!("A line of `formats!` in `{table}`")));
    let before = fs::read_to_string(root().join(table)).unwrap();
    let line = "    TOY = toy: \"32 values: a half scale and a sign for each.\";\n}\n";
    let (first, rest) = before.split_once("\nformats! {\n").unwrap();
    let added = format!("{first}\nformats! {{\n{}", rest.replacen("}\n", line, 1));
    assert_eq!(added.lines().count(), before.lines().count() + 1);
    for entry in ["shaders", "crates/formats", "Cargo.lock"] {
        kept.copy(Path::new(entry), &[table]);
    }
    kept.write(table, added.as_bytes());
    // The two files, where the list says.
    for (file, place) in [("toy.rs", "crates/formats/src/blocks/NAME.rs"), ("toy.wgsl", "shaders/formats/NAME.wgsl")] {
        assert!(list("A block format").contains(&format!("`{place}`")), "CONTRIBUTING.md does not name {place}");
        kept.write(place.replace("NAME", "toy"), &toy(file));
    }
    // The kernel's, for an operation that there is.
    assert!(list("A kernel").contains("`shaders/OPERATION/NAME.wgsl`"));
    kept.write("shaders/norm/toy_sum.wgsl", &toy("kernel.wgsl"));
    // What uses it.
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, shared) = workspace.split_once("\n[workspace.package]\n").unwrap();
    let members =
        "[workspace]\nresolver = \"3\"\nmembers = [\"shaders\", \"crates/formats\", \"toy\"]\n\n[workspace.package]\n";
    kept.write("Cargo.toml", [members, shared].concat().as_bytes());
    kept.write("toy/src/main.rs", &toy("main.rs"));
    let package = "[package]\nname = \"toy\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
        peregrine-formats.workspace = true\nperegrine-shaders.workspace = true\n";
    kept.write("toy/Cargo.toml", package.as_bytes());
    kept.tidy();
}

/// Runs a kernel with these bindings; what its last one holds afterwards.
fn run(source: &str, constants: &[(&str, f64)], inputs: [&[u8]; 4], groups: [u32; 2], floats: usize) -> Vec<f32> {
    let instance = wgpu::Instance::default();
    let adapter = block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).unwrap();
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions { constants, zero_initialize_workgroup_memory: false },
        cache: None,
    });
    let usage = [wgpu::BufferUsages::UNIFORM, wgpu::BufferUsages::UNIFORM, wgpu::BufferUsages::STORAGE];
    let usage = |at: usize| *usage.get(at).unwrap_or(&wgpu::BufferUsages::STORAGE);
    let output = vec![f32::NAN; floats];
    let contents = inputs.into_iter().chain([cast_slice(&output)]).enumerate();
    let buffers: Vec<wgpu::Buffer> = contents
        .map(|(at, contents)| {
            let usage = usage(at) | wgpu::BufferUsages::COPY_SRC;
            device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
        })
        .collect();
    let entries: Vec<_> = (0..)
        .zip(&buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
        .collect();
    let layout = pipeline.get_bind_group_layout(0);
    let group =
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    let read = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * floats as u64,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(groups[0], groups[1], 1);
    drop(pass);
    encoder.copy_buffer_to_buffer(&buffers[4], 0, &read, 0, 4 * floats as u64);
    queue.submit([encoder.finish()]);
    read.map_async(wgpu::MapMode::Read, .., |mapped| mapped.unwrap());
    device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
    pod_collect_to_vec(&read.get_mapped_range(..).unwrap())
}

#[test]
fn a_format_on_the_gpu_is_two_files_and_a_line() {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let copied = kept.join("toy-crates");
    with_toy(&copied);
    // What the program writes is of this run.
    let folder = tempfile::tempdir().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&copied).args(["run", "--quiet", "--offline", "--package", "toy", "--"]);
    let command = command.arg(folder.path()).args([ROWS, COLUMNS].map(|number| number.to_string()));
    // Kept, so that dependencies are built once.
    let command = command.env("CARGO_TARGET_DIR", kept.join("toy"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();

    // Every kernel has it, alone and beside others.
    let kernels = peregrine::kernels::KERNELS.iter().filter(|kernel| kernel.has_matrix());
    for (kernel, set) in kernels.flat_map(|kernel| ["alone", "mixed"].map(|set| (kernel.name, set))) {
        let source = String::from_utf8(read(&format!("{kernel} {set}.wgsl"))).unwrap();
        assert!(source.contains("_toy(") && source.contains("_q6_k(") == (set == "mixed"), "{kernel} {set}");
        validate(&source).unwrap_or_else(|error| panic!("{kernel} {set}: {error}"));
    }

    // The kernel is one of them, whole.
    for reduction in ["Workgroup", "Subgroup"] {
        let source = String::from_utf8(read(&format!("toy_sum {reduction}.wgsl"))).unwrap();
        assert!(source.contains("x_0 + x_1 + x_2 + x_3") && source.contains("struct Step"), "{source}");
        validate(&source).unwrap_or_else(|error| panic!("toy_sum, {reduction}: {error}"));
    }

    // On the GPU: its values exactly, and their products with a vector.
    let mut weights = read("quants");
    weights.resize(weights.len().next_multiple_of(16), 0);
    let scales = weights.len() as u32 / 2;
    weights.extend(read("scales"));
    weights.resize(weights.len().next_multiple_of(16), 0);
    let values: Vec<f32> = pod_collect_to_vec(&read("values"));
    let step = Step { tokens: ROWS as u32, position: 0, first: 0, splits: 1 };
    let mut matrix = GpuMatrix { rows: ROWS as u32, parts: 1, x_stride: COLUMNS as u32 / 4, ..GpuMatrix::default() };
    matrix.part[0] =
        GpuPart { rows: ROWS as u32, strips: COLUMNS as u32 / 32, scales, scale: 1.0, ..GpuPart::default() };
    let formats = [("FORMATS", 1.0), ("FORMAT_0", 199.0), ("THREADS", 32.0)];
    let alone = |kernel: &str| String::from_utf8(read(&format!("{kernel} alone.wgsl"))).unwrap();

    matrix.y_stride = COLUMNS as u32;
    let ids: Vec<u32> = (0..ROWS as u32).collect();
    let inputs = [bytes_of(&step), bytes_of(&matrix), &weights, cast_slice(&ids)];
    let found = run(&alone("embed"), &formats, inputs, [1, ROWS as u32], ROWS * COLUMNS);
    assert_eq!(found, values);

    matrix.y_stride = ROWS as u32;
    let x: Vec<f32> = (0..COLUMNS).map(|i| (i as f32 * 0.11).cos()).collect();
    let constants = [&formats[..], &[("EPILOGUE", 0.0), ("FINAL", 0.0)]].concat();
    let step = Step { tokens: 1, ..step };
    let inputs = [bytes_of(&step), bytes_of(&matrix), &weights, cast_slice(&x)];
    let found = run(&alone("matvec"), &constants, inputs, [1, 1], ROWS);
    let expected = values.chunks_exact(COLUMNS).map(|row| row.iter().zip(&x).map(|(w, x)| w * x).sum());
    peregrine_tests::assert_close("W x", &found, &expected.collect::<Vec<f32>>(), 1e-5);
}

/// Files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// A format like any other: comments and GGUF's own names apart, it stands in the four places of the
/// list and in no others. What may be written is another list: the types of files.
#[test]
fn nothing_else_knows_a_format() {
    let mut all = Vec::new();
    for folder in ["crates", "shaders"] {
        files(&root().join(folder), &mut all);
    }
    let mut found = Vec::new();
    for path in all.iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs" || ending == "wgsl")) {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(path).unwrap();
        let mut code = text.lines().map(|line| line.split("//").next().unwrap().to_lowercase());
        let other = name.contains("/tests/") || text.contains("QuantType");
        if !other && code.any(|line| line.replace("\"iq4_xs\"", "").contains("iq4_xs")) {
            found.push(name);
        }
    }
    found.sort();
    let list = list("A block format");
    let places = [
        ("crates/formats/src/blocks/iq4_xs.rs", "`crates/formats/src/blocks/NAME.rs`"),
        ("crates/formats/src/lib.rs", "`crates/formats/src/lib.rs`"),
        ("crates/peregrine/src/cpu/kernels/formats.rs", "`crates/peregrine/src/cpu/kernels/formats`"),
        ("shaders/formats/iq4_xs.wgsl", "`shaders/formats/NAME.wgsl`"),
    ];
    assert_eq!(found, places.map(|(file, _)| file));
    for (_, place) in places {
        assert!(list.contains(place), "CONTRIBUTING.md does not name {place}");
    }
    assert_eq!(list.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count(), places.len());
}
