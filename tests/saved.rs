//! Sessions as files: they go on bit by bit, and what is damaged or not meant for this model is
//! refused by name.

use std::rc::Rc;

use peregrine::Error;
use peregrine::chat::Message;
use peregrine::checkpoint::{Checkpoint, MemorySource};
use peregrine::model::LoadOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{GenerateOptions, Generated, Session};
use peregrine_tests::{checkpoint, device, golden_path, gpu, processor, session, tiny_model};
use peregrine_workbench::quantize::QuantType;
use peregrine_workbench::synth::{Size, SynthOptions, synth};
use pollster::block_on;
use sha2::{Digest, Sha256};

/// A model of a few thousand weights.
fn random_model() -> std::path::PathBuf {
    golden_path("odd.gguf")
}

fn saved(session: &mut Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    block_on(session.save(&mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    }))
    .unwrap();
    bytes
}

fn restored(session: &mut Session, bytes: &[u8]) -> Result<(), Error> {
    block_on(session.restore(&MemorySource::new("a state", bytes.to_vec())))
}

fn ask(session: &mut Session, messages: &[Message]) -> Generated {
    let sampling = SamplingOptions::greedy();
    let options = GenerateOptions { max_tokens: 12, sampling, ..GenerateOptions::default() };
    block_on(session.chat(messages, &options, &mut |_| true)).unwrap()
}

#[test]
fn a_restored_conversation_goes_on_bit_by_bit() {
    let model = checkpoint(&tiny_model());
    let mut first = session(&device(&Default::default()), &model, &LoadOptions::default());
    let mut messages = vec![Message::new("user", "Tell me a short story about a cat.")];
    let answer = ask(&mut first, &messages);
    let bytes = saved(&mut first);
    messages.extend([Message::new("assistant", &answer.text), Message::new("user", "What is its name?")]);
    let expected = ask(&mut first, &messages);

    // Another device, another model in memory, the same file.
    let mut second = session(&device(&Default::default()), &model, &LoadOptions::default());
    restored(&mut second, &bytes).unwrap();
    assert_eq!(saved(&mut second), bytes, "saved again it is the same file");
    let found = ask(&mut second, &messages);
    assert_eq!((&found.ids, found.cached_tokens), (&expected.ids, expected.cached_tokens));
    assert!(found.cached_tokens > 0);
    assert_eq!(second.logits(), first.logits());
    assert_eq!(saved(&mut second), saved(&mut first));
}

#[test]
fn prompts_of_any_length_come_back() {
    let mut first = session(&device(&Default::default()), &checkpoint(&tiny_model()), &LoadOptions::default());
    let mut second = Session::new(first.engine()).unwrap();
    for length in [0, 1, 31, 64, 300] {
        let ids: Vec<u32> = (0..length).map(|i| (i * 37 + 11) % first.engine().config().vocab_size).collect();
        first.reset();
        block_on(first.prefill(&ids)).unwrap();
        let bytes = saved(&mut first);
        restored(&mut second, &bytes).unwrap();
        assert_eq!(second.position(), length);
        assert_eq!(second.logits(), first.logits());
        let next = [5, 6, 7];
        block_on(first.prefill(&next)).unwrap();
        block_on(second.prefill(&next)).unwrap();
        assert_eq!(second.logits(), first.logits(), "{length} tokens and three more");
    }
}

/// More than the pieces that are under way at a time: the processor has one, a GPU several.
#[test]
fn large_states_are_the_same_file_from_every_device() {
    let sizes = [("mamba_n_heads", 24), ("mamba_d_head", 64), ("mamba_d_state", 256)];
    let sizes = sizes.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    let options = SynthOptions { layers: Some(25), sizes, ..SynthOptions::new(Size::Tiny90M, QuantType::Q4_0, 5) };
    let mut file = Vec::new();
    synth(&mut file, &options, &mut |_, _| {}).unwrap();
    let file = block_on(Checkpoint::open_gguf(Rc::new(MemorySource::new("large states", file)))).unwrap();
    let load = LoadOptions { context_length: Some(256), ..LoadOptions::default() };
    let mut first = session(&processor(), &file, &load);
    block_on(first.prefill(&[5, 6, 7, 8, 9])).unwrap();
    let bytes = saved(&mut first);
    assert!(bytes.len() > 4 * (8 << 20), "{} bytes are no more than four pieces", bytes.len());
    let mut second = session(&gpu(&Default::default()), &file, &load);
    restored(&mut second, &bytes).unwrap();
    assert!(saved(&mut second) == bytes, "the GPU has the same states");
    let mut third = session(&processor(), &file, &load);
    restored(&mut third, &bytes).unwrap();
    block_on(first.prefill(&[3])).unwrap();
    block_on(third.prefill(&[3])).unwrap();
    assert_eq!(third.logits(), first.logits());
}

/// The second version had another checksum, and was the same otherwise.
#[test]
fn files_of_the_second_version_are_read() {
    let mut one = session(&device(&Default::default()), &checkpoint(&random_model()), &LoadOptions::default());
    block_on(one.prefill(&[1, 2, 3, 4, 5])).unwrap();
    let now = saved(&mut one);
    let mut old = now[..now.len() - 16].to_vec();
    old[8] = 2;
    old.extend(Sha256::digest(&old));
    let mut other = Session::new(one.engine()).unwrap();
    restored(&mut other, &old).unwrap();
    assert_eq!(other.logits(), one.logits());
    assert_eq!(saved(&mut other), now, "and written as the third");
    let middle = old.len() / 2;
    old[middle] ^= 1;
    let error = restored(&mut other, &old).unwrap_err();
    assert!(matches!(&error, Error::Malformed { field, .. } if field == "checksum"), "{error}");
    assert!(error.to_string().contains("SHA-256"), "{error}");
}

#[test]
fn what_is_damaged_is_refused_by_name_and_leaves_an_empty_session() {
    let mut one = session(&device(&Default::default()), &checkpoint(&random_model()), &LoadOptions::default());
    block_on(one.prefill(&[1, 2, 3, 4, 5])).unwrap();
    let bytes = saved(&mut one);
    let mut other = Session::new(one.engine()).unwrap();
    restored(&mut other, &bytes).unwrap();
    let header = 16 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    // Every byte of the header, and some of the rest.
    let step = (bytes.len() - header) / 60;
    for at in (0..header).chain((header..bytes.len()).step_by(step)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let error = restored(&mut other, &damaged).expect_err(&format!("byte {at} was changed"));
        assert!(error.to_string().contains("a state"), "{error}");
        assert_eq!(other.position(), 0);
    }
    for len in (0..header + 40).chain([bytes.len() - 17, bytes.len() - 1]) {
        restored(&mut other, &bytes[..len]).expect_err(&format!("cut to {len} bytes"));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(restored(&mut other, &longer), Err(Error::Malformed { field, .. }) if field == "length"));
    let mut magic = bytes.clone();
    magic[0] = b'G';
    assert!(matches!(restored(&mut other, &magic), Err(Error::Malformed { field, .. }) if field == "magic"));
    let mut version = bytes.clone();
    version[8] = 1;
    assert!(matches!(restored(&mut other, &version), Err(Error::Unsupported { field, .. }) if field == "version"));
    let mut value = bytes.clone();
    value[header + 5] ^= 16;
    assert!(matches!(restored(&mut other, &value), Err(Error::Malformed { field, .. }) if field == "checksum"));
    // None of it has harmed the session.
    restored(&mut other, &bytes).unwrap();
    assert_eq!(other.logits(), one.logits());
}

/// States that people have saved name their model by it: how one of its fields is called or printed
/// is no reason to refuse them. Whoever changes this on purpose keeps reading the old one.
#[test]
fn a_model_has_the_name_that_saved_states_have_for_it() {
    let name = |path| {
        session(&processor(), &checkpoint(path), &LoadOptions::default()).engine().model().fingerprint().to_string()
    };
    let found = [&tiny_model(), &random_model(), &golden_path("hf-folder")].map(|path| name(path));
    let expected =
        ["ac420e4f65916de839c7bca9a4b7837c", "28a221191bf072e7f7f32d5318464cea", "0d78513dda0e01bb1c15de164afe07a8"];
    assert_eq!(found, expected);
}

#[test]
fn the_state_of_another_model_is_refused() {
    let mut one = session(&device(&Default::default()), &checkpoint(&tiny_model()), &LoadOptions::default());
    let mut other = session(&device(&Default::default()), &checkpoint(&random_model()), &LoadOptions::default());
    block_on(one.prefill(&[1, 2, 3])).unwrap();
    let error = restored(&mut other, &saved(&mut one)).unwrap_err();
    assert!(matches!(&error, Error::Unsupported { field, .. } if field == "model"), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(one.engine().model().fingerprint()) && text.contains(other.engine().model().fingerprint()),
        "{text}"
    );
}

/// What is kept when the device, and with it all that was read, is lost.
#[test]
fn words_are_kept_without_a_device() {
    let model = checkpoint(&tiny_model());
    let gpu = device(&Default::default());
    let mut first = session(&gpu, &model, &LoadOptions::default());
    let messages = [Message::new("user", "Tell me a short story about a cat.")];
    let expected = ask(&mut first, &messages);
    first.set_note(Some("what was said".into()));
    let mut bytes = Vec::new();
    first
        .save_note(&mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    let mut second = session(&gpu, &model, &LoadOptions::default());
    restored(&mut second, &bytes).unwrap();
    assert_eq!((second.note(), second.position()), (Some("what was said"), 0));
    assert_eq!(saved(&mut second), bytes, "the same as of a session that has read nothing");
    let again = ask(&mut second, &messages);
    assert_eq!((again.ids, again.cached_tokens), (expected.ids, 0));
}
