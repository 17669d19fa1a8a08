//! The GGUF reader on legal files.

use std::cell::RefCell;
use std::rc::Rc;

use peregrine::Result;
use peregrine::checkpoint::LocalFuture;
use peregrine::checkpoint::gguf::read_header;
use peregrine::checkpoint::gguf_value::Value;
use peregrine::checkpoint::{Checkpoint, Container, MemorySource, Source, TokenizerData};
use peregrine::format::Format;
use peregrine_workbench::gguf::{Field, GgufHeader};
use pollster::block_on;

use super::file::{File, array, open, text};

/// The values that [`File::add`] gave a tensor.
fn stored(file: &File, name: &str) -> Vec<f32> {
    let entry = file.tensors.iter().find(|t| t.name == name).unwrap();
    let count = entry.dims.iter().product::<u64>() as usize;
    let bytes = &file.data[entry.offset as usize..][..4 * count];
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn a_legal_file_opens() {
    let file = File::new();
    let checkpoint = open(file.bytes()).unwrap();
    let config = &checkpoint.config;
    assert_eq!((config.vocab_size, config.hidden_size, config.mamba_d_head), (40, 32, 8));
    assert_eq!((config.conv_dim(), config.in_proj_rows()), (64, 100));
    assert_eq!((config.q_dim(), config.kv_dim()), (32, 16));
    assert!(config.mamba_rms_norm && !config.tie_word_embeddings);
    assert_eq!(config.rope_theta, f64::from(1e11f32));
    assert_eq!((config.key_multiplier, config.ssm_multipliers), (1.0, [1.0; 5]));
    assert_eq!((checkpoint.name.as_str(), checkpoint.container), ("Toy", Container::Gguf));
    assert_eq!(checkpoint.tensors().count(), file.tensors.len());
    let shown = |key: &str| checkpoint.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    assert_eq!(shown("tokenizer.ggml.tokens"), Some("40 strings"));
    let TokenizerData::Gguf { pre, tokens, eos, bos, add_bos, pad, .. } = &checkpoint.tokenizer else {
        panic!("not a GGUF tokenizer");
    };
    assert_eq!((pre.as_str(), tokens[39].as_str(), *bos, *pad), ("falcon-h1", "t39", Some(1), None));
    assert_eq!((eos.as_slice(), *add_bos), (&[2, 3][..], true));
}

#[test]
fn tensors_have_hf_names_and_shapes() {
    let file = File::new();
    let checkpoint = open(file.bytes()).unwrap();
    for (hf, stored_name, shape) in [
        ("model.embed_tokens.weight", "token_embd.weight", &[40, 32][..]),
        ("model.layers.0.mamba.conv1d.weight", "blk.0.ssm_conv1d.weight", &[64, 4]),
        ("model.layers.0.mamba.norm.weight", "blk.0.ssm_norm.weight", &[32]),
        ("model.layers.0.mamba.D", "blk.0.ssm_d", &[4]),
        ("model.layers.0.pre_ff_layernorm.weight", "blk.0.ffn_norm", &[32]),
        ("model.layers.0.feed_forward.down_proj.weight", "blk.0.ffn_down.weight", &[32, 48]),
    ] {
        let info = checkpoint.tensor(hf).unwrap();
        assert_eq!((info.stored_name.as_str(), info.shape.as_slice()), (stored_name, shape));
        let values = block_on(checkpoint.read_f32(hf, shape)).unwrap();
        assert_eq!(values, stored(&file, stored_name), "{hf}");
    }
    // A is stored, A_log is not.
    assert!(checkpoint.get("model.layers.0.mamba.A_log").is_none());
    assert_eq!(block_on(checkpoint.mamba_a(0)).unwrap(), stored(&file, "blk.0.ssm_a"));
    // The convolution's shape of Hugging Face is accepted too.
    block_on(checkpoint.read_f32("model.layers.0.mamba.conv1d.weight", &[64, 1, 4])).unwrap();
}

#[test]
fn rows_are_read_and_bounded() {
    let file = File::new();
    let checkpoint = open(file.bytes()).unwrap();
    let info = checkpoint.tensor("model.layers.0.self_attn.k_proj.weight").unwrap();
    let rows = block_on(checkpoint.read_rows_f32(info, 3, 2)).unwrap();
    assert_eq!(rows, stored(&file, "blk.0.attn_k.weight")[96..160]);
    let past = block_on(checkpoint.read_rows_f32(info, 15, 2)).unwrap_err();
    assert_eq!(past.code(), "truncated");
    let past = block_on(checkpoint.read(info, info.bytes - 1, &mut [0; 2])).unwrap_err();
    assert_eq!(past.code(), "truncated");
    let overflow = block_on(checkpoint.read_rows_f32(info, u64::MAX, 2)).unwrap_err();
    assert_eq!(overflow.code(), "truncated");
    let shape = block_on(checkpoint.read_f32(&info.name, &[32, 16])).unwrap_err();
    assert_eq!(shape.code(), "tensor-shape");
    assert!(shape.to_string().contains("blk.0.attn_k.weight"), "{shape}");
    let missing = block_on(checkpoint.read_f32("model.layers.1.mamba.D", &[4])).unwrap_err();
    assert_eq!(missing.code(), "missing-tensor");
}

#[test]
fn optional_things_may_be_missing_or_there() {
    let mut file = File::new();
    file.version = 2;
    file.remove("general.name");
    file.remove("tokenizer.ggml.token_type");
    file.tensors.retain(|t| t.name != "output.weight" && t.name != "blk.0.ssm_norm.weight");
    file.add("rope_freqs.weight", &[4]);
    file.set_u32("falcon-h1.vocab_size", 41);
    file.set("falcon-h1.rope.scaling.type", 8, text("none"));
    file.set("some.other.field", 9, array(12, 2, &[0; 16]));
    let checkpoint = open(file.bytes()).unwrap();
    assert!(checkpoint.config.tie_word_embeddings && !checkpoint.config.mamba_rms_norm);
    assert_eq!((checkpoint.name.as_str(), checkpoint.config.vocab_size), ("toy.gguf", 40));
    assert!(checkpoint.get("lm_head.weight").is_none());
}

#[test]
fn tensors_may_lie_in_any_order_and_alignment() {
    let mut file = File::new();
    file.set_u32("general.alignment", 64);
    // Swap two tensors of the same size, and move everything to multiples of 64.
    for tensor in &mut file.tensors {
        tensor.offset *= 2;
    }
    let (q, out) = (file.tensor("blk.0.attn_q.weight").offset, file.tensor("blk.0.ssm_out.weight").offset);
    file.tensor("blk.0.attn_q.weight").offset = out;
    file.tensor("blk.0.ssm_out.weight").offset = q;
    file.data = vec![0; 2 * file.data.len()];
    let header = file.header();
    let start = header.len().next_multiple_of(64);
    let mut bytes = header;
    bytes.resize(start, 0);
    bytes.extend(&file.data);
    let checkpoint = open(bytes).unwrap();
    let info = checkpoint.tensor("model.layers.0.self_attn.q_proj.weight").unwrap();
    assert_eq!(info.offset, start as u64 + out);
}

#[test]
fn the_writer_writes_what_the_reader_reads() {
    let tokens = ["a".to_string(), "é".into(), String::new()];
    let mut header = GgufHeader::default();
    header.field("u", Field::U32(u32::MAX));
    header.field("f", Field::F32(0.25));
    header.field("b", Field::Bool(true));
    header.field("s", Field::Str("text"));
    header.field("strings", Field::Strs(&tokens));
    header.field("ints", Field::I32s(&[-1, 7]));
    assert_eq!(header.tensor("first", &[32, 3], Format::Q4_0), Some(54));
    assert_eq!(header.tensor("second", &[5], Format::F32), Some(20));
    assert_eq!(header.tensor("broken", &[33], Format::Q4_0), None);
    assert_eq!(header.offsets(), [0, 64]);
    let mut bytes = header.bytes();
    let data = bytes.len() as u64;
    bytes.resize(bytes.len() + 96, 0);
    let read = block_on(read_header(&MemorySource::new("written", bytes))).unwrap();
    let values: Vec<_> = read.metadata.iter().map(|(key, value)| (key, value.clone())).collect();
    let expected = [
        ("u", Value::Int(u32::MAX.into())),
        ("f", Value::Float(0.25)),
        ("b", Value::Bool(true)),
        ("s", Value::String("text".into())),
        ("strings", Value::Strings(tokens.to_vec())),
        ("ints", Value::Ints(vec![-1, 7])),
    ];
    assert_eq!(values, expected);
    let places: Vec<_> = read.tensors.iter().map(|t| (t.name.as_str(), t.offset - data, t.bytes)).collect();
    assert_eq!(places, [("first", 0, 54), ("second", 64, 20)]);
}

/// Remembers what is read.
struct Watched(MemorySource, RefCell<Vec<(u64, u64)>>);

impl Source for Watched {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> LocalFuture<'a, Result<()>> {
        self.1.borrow_mut().push((offset, buf.len() as u64));
        self.0.read(offset, buf)
    }
}

#[test]
fn the_header_is_read_in_growing_pieces_and_the_data_is_not() {
    let mut file = File::new();
    let long = "x".repeat(3_000_000);
    file.set("tokenizer.chat_template", 8, text(&long));
    let header = file.header().len() as u64;
    let mut bytes = file.bytes();
    bytes.resize(bytes.len() + 20_000_000, 0);
    let source = Rc::new(Watched(MemorySource::new("long", bytes), RefCell::default()));
    let checkpoint = block_on(Checkpoint::open_gguf(source.clone())).unwrap();
    assert_eq!(checkpoint.chat_template.map(|t| t.len()), Some(3_000_000));
    let reads = source.1.borrow();
    let mut end = 0;
    for &(offset, length) in reads.iter() {
        assert_eq!(offset, end, "a piece is read twice or left out: {reads:?}");
        end = offset + length;
    }
    assert!(end >= header && end < 2 * header + (1 << 20), "{reads:?}");
    assert!((2..=4).contains(&reads.len()), "{reads:?}");
}
