//! GGUF files built byte by byte, independent of the library's writer, so that every field can lie.

use std::rc::Rc;

use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::{Error, Result};

use super::toy::{Noise, VOCAB};

/// A tensor of the table.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub dims: Vec<u64>,
    pub ty: u32,
    pub offset: u64,
}

/// A file before it is bytes. Fields are (key, type id, bytes of the value).
#[derive(Clone)]
pub struct File {
    pub magic: [u8; 4],
    pub version: u32,
    pub tensor_count: Option<u64>,
    pub field_count: Option<u64>,
    pub fields: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<Entry>,
    pub data: Vec<u8>,
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

pub fn array(ty: u32, count: u64, items: &[u8]) -> Vec<u8> {
    [&ty.to_le_bytes()[..], &count.to_le_bytes(), items].concat()
}

impl File {
    /// A legal model: one layer, two groups, an SSM norm, everything in F32.
    pub fn new() -> Self {
        let mut file = Self {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            field_count: None,
            fields: Vec::new(),
            tensors: Vec::new(),
            data: Vec::new(),
        };
        file.set("general.architecture", 8, text("falcon-h1"));
        file.set("general.name", 8, text("Toy"));
        for (key, value) in [
            ("context_length", 512u32),
            ("embedding_length", 32),
            ("feed_forward_length", 48),
            ("block_count", 1),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("attention.key_length", 8),
            ("attention.value_length", 8),
            ("ssm.conv_kernel", 4),
            ("ssm.inner_size", 32),
            ("ssm.state_size", 8),
            ("ssm.time_step_rank", 4),
            ("ssm.group_count", 2),
        ] {
            file.set_u32(&format!("falcon-h1.{key}"), value);
        }
        for (key, value) in [("attention.layer_norm_rms_epsilon", 1e-5f32), ("rope.freq_base", 1e11)] {
            file.set(&format!("falcon-h1.{key}"), 6, value.to_le_bytes().to_vec());
        }
        let tokens: Vec<u8> = (0..VOCAB).flat_map(|id| text(&format!("t{id}"))).collect();
        let types: Vec<u8> = (0..VOCAB).flat_map(|_| 1i32.to_le_bytes()).collect();
        file.set("tokenizer.ggml.model", 8, text("gpt2"));
        file.set("tokenizer.ggml.pre", 8, text("falcon-h1"));
        file.set("tokenizer.ggml.tokens", 9, array(8, VOCAB as u64, &tokens));
        file.set("tokenizer.ggml.token_type", 9, array(5, VOCAB as u64, &types));
        file.set("tokenizer.ggml.merges", 9, array(8, 1, &text("t 1")));
        file.set_u32("tokenizer.ggml.bos_token_id", 1);
        file.set_u32("tokenizer.ggml.eos_token_id", 2);
        file.set_u32("tokenizer.ggml.eot_token_id", 3);
        let conv = 32 + 2 * 16;
        for (name, dims) in [
            ("token_embd.weight", &[32, VOCAB as u64][..]),
            ("output.weight", &[32, VOCAB as u64]),
            ("output_norm.weight", &[32]),
            ("blk.0.attn_norm.weight", &[32]),
            ("blk.0.ffn_norm", &[32]),
            ("blk.0.attn_q.weight", &[32, 32]),
            ("blk.0.attn_k.weight", &[32, 16]),
            ("blk.0.attn_v.weight", &[32, 16]),
            ("blk.0.attn_output.weight", &[32, 32]),
            ("blk.0.ffn_gate.weight", &[32, 48]),
            ("blk.0.ffn_up.weight", &[32, 48]),
            ("blk.0.ffn_down.weight", &[48, 32]),
            ("blk.0.ssm_in.weight", &[32, 32 + conv + 4]),
            ("blk.0.ssm_conv1d.weight", &[4, conv]),
            ("blk.0.ssm_conv1d.bias", &[conv]),
            ("blk.0.ssm_dt.bias", &[4]),
            ("blk.0.ssm_a", &[1, 4]),
            ("blk.0.ssm_d", &[1, 4]),
            ("blk.0.ssm_norm.weight", &[16, 2]),
            ("blk.0.ssm_out.weight", &[32, 32]),
        ] {
            file.add(name, dims);
        }
        file
    }

    /// Appends an F32 tensor of noise.
    pub fn add(&mut self, name: &str, dims: &[u64]) {
        let offset = self.data.len() as u64;
        let mut noise = Noise(offset);
        let values = (0..dims.iter().product()).flat_map(|_| noise.value().to_le_bytes());
        self.data.extend(values);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.tensors.push(Entry { name: name.into(), dims: dims.to_vec(), ty: 0, offset });
    }

    /// Replaces a field, or appends it.
    pub fn set(&mut self, key: &str, ty: u32, value: Vec<u8>) {
        match self.fields.iter_mut().find(|(known, ..)| known == key) {
            Some(field) => *field = (key.into(), ty, value),
            None => self.fields.push((key.into(), ty, value)),
        }
    }

    pub fn set_u32(&mut self, key: &str, value: u32) {
        self.set(key, 4, value.to_le_bytes().to_vec());
    }

    pub fn remove(&mut self, key: &str) {
        self.fields.retain(|(known, ..)| known != key);
    }

    pub fn tensor(&mut self, name: &str) -> &mut Entry {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    /// The header, padded to 32 bytes.
    pub fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.field_count.unwrap_or(self.fields.len() as u64).to_le_bytes());
        for (key, ty, value) in &self.fields {
            out.extend(text(key));
            out.extend(ty.to_le_bytes());
            out.extend(value);
        }
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.ty.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.header(), self.data.clone()].concat()
    }
}

/// Opens bytes as a GGUF file.
pub fn open(bytes: Vec<u8>) -> Result<Checkpoint> {
    pollster::block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("toy.gguf", bytes))))
}

/// The error of opening bytes that must not open.
pub fn refusal(bytes: Vec<u8>, what: &str) -> Error {
    match open(bytes) {
        Ok(_) => panic!("{what}: it opened"),
        Err(error) => error,
    }
}
