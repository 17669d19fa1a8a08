//! Every composed source in the languages that browsers compile from: SPIR-V, judged by spirv-val,
//! HLSL and MSL. Those with cooperative matrices in SPIR-V alone, unjudged.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use naga::back::pipeline_constants::process_overrides;
use naga::back::{PipelineConstants, hlsl, msl, spv};
use naga::valid::ModuleInfo;
use naga::{Module, ShaderStage};
use peregrine::kernels::Kernel;
use peregrine_tests::variants;

use crate::shaders::{COOPERATIVE, sources, validate};

/// A value for constants that have none of their own: sizes of arrays among them.
const SIZE: f64 = 64.0;

fn stage() -> (ShaderStage, String) {
    (ShaderStage::Compute, "main".into())
}

/// A kernel's source with its constants put in.
fn with_constants(source: &str) -> (Module, ModuleInfo) {
    let (module, info) = validate(source).unwrap();
    let missing = module.overrides.iter().filter(|(_, constant)| constant.init.is_none());
    let constants: PipelineConstants =
        missing.filter_map(|(_, constant)| Some((constant.name.clone()?, SIZE))).collect();
    let (module, info) = process_overrides(&module, &info, Some((ShaderStage::Compute, "main")), &constants).unwrap();
    (module.into_owned(), info.into_owned())
}

/// As wgpu asks for it on Vulkan.
fn spirv(module: &Module, info: &ModuleInfo) -> Result<Vec<u8>, String> {
    let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
    let (shader_stage, entry_point) = stage();
    let pipeline = spv::PipelineOptions { shader_stage, entry_point };
    let words = spv::write_vec(module, info, &options, Some(&pipeline)).map_err(|error| error.to_string())?;
    Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

fn metal(module: &Module, info: &ModuleInfo) -> Result<String, String> {
    let options = msl::Options { lang_version: (2, 4), ..msl::Options::default() };
    let pipeline = msl::PipelineOptions { entry_point: Some(stage()), ..msl::PipelineOptions::default() };
    msl::write_string(module, info, &options, &pipeline).map(|(text, _)| text).map_err(|error| error.to_string())
}

fn direct_x(module: &Module, info: &ModuleInfo) -> Result<String, String> {
    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..hlsl::Options::default() };
    let pipeline = hlsl::PipelineOptions { entry_point: Some(stage()) };
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None);
    written.map(|_| ()).map_err(|error| error.to_string())?;
    Ok(text)
}

/// What spirv-val says against it.
fn judged(spirv: &[u8]) -> Result<(), String> {
    let mut command = Command::new("spirv-val");
    let command = command.args(["--target-env", "vulkan1.1", "-"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("spirv-val: sh web/scripts/system.sh spirv installs it");
    child.stdin.take().unwrap().write_all(spirv).unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()),
    }
}

fn check(kernel: &Kernel, source: &str) -> Result<(), String> {
    let (module, info) = with_constants(source);
    let program = spirv(&module, &info)?;
    // Not every spirv-val knows cooperative matrices yet.
    if !COOPERATIVE.contains(&kernel.name) {
        judged(&program)?;
        let (metal, direct_x) = (metal(&module, &info)?, direct_x(&module, &info)?);
        assert!(metal.contains("kernel void") && direct_x.contains("numthreads"), "{}", kernel.name);
    }
    Ok(())
}

#[test]
fn every_source_goes_through_every_back_end() {
    let all: Vec<_> = sources().collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((kernel, reduction, source)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = check(kernel, source) {
                wrong.lock().unwrap().push(format!("{}, {reduction:?}: {error}", kernel.name));
            }
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        (0..cores).for_each(|_| _ = scope.spawn(work));
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    assert_eq!(all.len(), variants().len());
}

#[test]
fn what_is_no_program_is_seen() {
    let (module, info) = with_constants("@compute @workgroup_size(1) fn main() {}");
    let mut program = spirv(&module, &info).unwrap();
    assert_eq!(judged(&program), Ok(()));
    program.truncate(program.len() - 4);
    assert!(judged(&program).is_err());
}
