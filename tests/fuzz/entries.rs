//! What the fuzzer calls, and the smoke test over its seeds: each entry takes bytes from outside as
//! far as they lead, without a GPU, and says whether they were accepted. None may panic.

#![allow(dead_code)] // each target uses one of them

use std::rc::Rc;

use peregrine::chat::{ChatTemplate, Message};
use peregrine::checkpoint::{Checkpoint, MemorySource, TokenizerData, safetensors as folder};
use peregrine::model::LoadOptions;
use peregrine::model::footprint::{Device, Footprint};
use peregrine::tokenizer::Tokenizer;
use pollster::block_on;

const TEXT: &str = "Hello, how are you? 12345 <|im_end|>\n\té 日本語 🙂 abc";

/// A GGUF file: header, tokenizer, template, footprint, every row of every tensor.
pub fn gguf(bytes: &[u8]) -> bool {
    let source = Rc::new(MemorySource::new("fuzz.gguf", bytes.to_vec()));
    let Ok(checkpoint) = block_on(Checkpoint::open_gguf(source)) else {
        return false;
    };
    let vocab_size = checkpoint.config.vocab_size;
    if let Ok(tokenizer) = Tokenizer::new(&checkpoint.tokenizer, vocab_size) {
        try_tokenizer(&tokenizer);
        if let Some(source) = &checkpoint.chat_template {
            try_template(source);
        }
    }
    let footprint = Footprint::of(&checkpoint, &LoadOptions::default(), Device::default());
    let mut whole = footprint.is_ok();
    for tensor in checkpoint.tensors() {
        whole &= block_on(checkpoint.read_rows_f32(tensor, 0, tensor.rows())).is_ok();
    }
    whole
}

/// A safetensors file: its header.
pub fn safetensors(bytes: &[u8]) -> bool {
    block_on(folder::list(&MemorySource::new("fuzz.safetensors", bytes.to_vec()))).is_ok()
}

/// tokenizer.json.
pub fn tokenizer(bytes: &[u8]) -> bool {
    let data = TokenizerData::Json { bytes: bytes.to_vec(), bos: Some(1), eos: vec![2], pad: None, add_bos: true };
    let tokenizer = Tokenizer::new(&data, 2000);
    tokenizer.as_ref().is_ok_and(try_tokenizer)
}

fn try_tokenizer(tokenizer: &Tokenizer) -> bool {
    let ids = tokenizer.encode(TEXT, true);
    let plain = tokenizer.encode_plain(TEXT);
    ids.is_ok_and(|ids| tokenizer.decode(&ids, true).is_ok()) && plain.is_ok()
}

/// A chat template.
pub fn template(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(try_template)
}

fn try_template(source: &str) -> bool {
    let messages = [("system", "Be brief."), ("user", TEXT), ("assistant", ""), ("user", "{{ 1 }}")];
    let messages: Vec<Message> = messages.into_iter().map(|(role, content)| Message::new(role, content)).collect();
    ChatTemplate::new(source, "<s>", "</s>").is_ok_and(|template| template.render(&messages, true).is_ok())
}
