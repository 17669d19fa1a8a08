use std::cell::RefCell;

use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::{DeviceKind, Gpu, GpuOptions};
use peregrine::model::LoadOptions;

use super::*;

/// The embedded model on the processor, a device as any other.
fn engine() -> Rc<Engine> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    let checkpoint = block_on(Checkpoint::open(path)).unwrap();
    let gpu = block_on(Gpu::new(&GpuOptions { device: DeviceKind::Cpu, ..GpuOptions::default() })).unwrap();
    let options = LoadOptions { context_length: Some(256), ..LoadOptions::default() };
    block_on(Engine::load(&gpu, &checkpoint, &options, &mut |_| {})).unwrap()
}

fn conversation(reload: &dyn Fn(u32) -> Outcome<Rc<Engine>>) -> Conversation<'_> {
    let options = GenerateOptions { max_tokens: 8, sampling: SamplingOptions::greedy(), ..GenerateOptions::default() };
    let session = Session::new(&reload(0).unwrap()).unwrap();
    let interrupt = Arc::default();
    Conversation { session, system: None, messages: Vec::new(), options, interrupt, reload, losses: 0 }
}

fn lose(conversation: &Conversation<'_>) {
    conversation.session.engine().model().gpu().lose();
}

#[test]
fn a_lost_device_ends_no_conversation() {
    let asked = RefCell::new(Vec::new());
    let reload = |losses| {
        asked.borrow_mut().push(losses);
        Ok(engine())
    };
    let [mut whole, mut broken] = [(); 2].map(|()| conversation(&reload));
    for question in ["What is the capital of France?", "And of Italy?", "And of Spain?"] {
        whole.answer(question).unwrap();
        broken.answer(question).unwrap();
        lose(&broken);
    }
    assert_eq!(broken.messages, whole.messages);
    assert_eq!(broken.messages.len(), 6);
    assert_eq!(*asked.borrow(), [0, 0, 1, 1], "each answer is a new beginning");
}

#[test]
fn devices_that_are_lost_again_and_again_end_it_with_the_words() {
    let asked = RefCell::new(Vec::new());
    let reload = |losses| {
        asked.borrow_mut().push(losses);
        let engine = engine();
        if losses > 0 {
            engine.model().gpu().lose();
        }
        Ok(engine)
    };
    let mut talk = conversation(&reload);
    talk.answer("What is the capital of France?").unwrap();
    let before = talk.messages.clone();
    lose(&talk);
    let failure = talk.answer("And of Italy?").unwrap_err();
    assert!(failure.message().contains("lost"), "{failure:?}");
    assert_eq!(talk.messages, before, "as if it had not been asked");
    assert_eq!(asked.borrow().last(), Some(&MOST_LOSSES));
}

#[test]
fn a_model_that_cannot_be_loaded_again_is_said() {
    let reload = |losses| match losses {
        0 => Ok(engine()),
        _ => Err(Failure::run("there is no GPU")),
    };
    let mut talk = conversation(&reload);
    lose(&talk);
    let failure = talk.answer("What is the capital of France?").unwrap_err();
    assert_eq!(failure.message(), "the GPU was lost, and the model cannot be loaded again: there is no GPU");
    assert!(talk.messages.is_empty());
}
