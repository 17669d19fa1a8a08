//! Damaged weights: a scale or a weight that is no number is named when it is read, on every way
//! into the program.

use std::rc::Rc;

use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::error::{Error, Result};
use peregrine::format::Format;
use peregrine::gpu::GpuOptions;
use peregrine::model::{LoadOptions, Model};
use peregrine::reference;
use peregrine_tests::{checkpoint, device, golden_path};
use peregrine_workbench::quantize::{QuantType, QuantizeOptions, quantize};
use pollster::block_on;

/// quant.gguf, with two bytes of one tensor's block changed.
fn damaged(tensor: &str, row: u64, at: usize, half: [u8; 2]) -> Checkpoint {
    let path = golden_path("quant.gguf");
    let mut bytes = std::fs::read(&path).unwrap();
    let info = checkpoint(&path).tensor(tensor).unwrap().clone();
    let place = (info.offset + row * info.row_bytes()) as usize + at;
    bytes[place..place + 2].copy_from_slice(&half);
    block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("damaged.gguf", bytes)))).unwrap()
}

fn assert_named<T>(result: Result<T>, words: &[&str]) {
    let error = result.err().expect("NaN passed");
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    let message = error.to_string();
    assert!(message.starts_with("damaged.gguf: tensor "), "{message}");
    words.iter().for_each(|word| assert!(message.contains(word), "{word}: {message}"));
}

const NAN: [u8; 2] = [1, 0x7e];
const INFINITY: [u8; 2] = [0, 0xfc];

#[test]
fn a_scale_that_is_no_number_is_named() {
    let gpu = device(&GpuOptions::default());
    let golden = checkpoint(&golden_path("quant.gguf"));
    let mut seen = Vec::new();
    for tensor in golden.tensors().filter(|t| t.rows() > 10) {
        let spec = tensor.format.spec();
        if seen.contains(&tensor.format) {
            continue;
        }
        seen.push(tensor.format);
        // The last half of a block of row 7; of a float the most significant bytes.
        let at = if tensor.format == Format::F32 { 2 } else { spec.halves.last().copied().unwrap_or(0) };
        for bits in [NAN, INFINITY] {
            let bits = if spec.halves.is_empty() { [0x80, 0x7f] } else { bits };
            let file = damaged(&tensor.name, 7, at, bits);
            let words = [tensor.stored_name.as_str(), "row 7", "NaN"];
            assert_named(block_on(file.read_rows_f32(file.tensor(&tensor.name).unwrap(), 3, 6)), &words);
            assert_named(block_on(Model::load(&gpu, &file, &LoadOptions::default(), &mut |_| {})), &words);
            assert_named(block_on(reference::model::Model::<f32>::load(&file)), &words);
            let options = QuantizeOptions::new(QuantType::Q8_0);
            assert_named(block_on(quantize(&file, &mut Vec::new(), &options, &mut |_, _| {})), &words);
        }
    }
    assert!(seen.len() >= 5, "{seen:?}");
}

#[test]
fn a_norm_that_is_no_number_is_named() {
    let file = damaged("model.layers.0.input_layernorm.weight", 0, 42, [0x80, 0x7f]);
    let gpu = device(&GpuOptions::default());
    assert_named(block_on(Model::load(&gpu, &file, &LoadOptions::default(), &mut |_| {})), &["attn_norm", "row 0"]);
}
