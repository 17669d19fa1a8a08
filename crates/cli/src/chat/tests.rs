use std::cell::RefCell;
use std::rc::Weak;

use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::{DeviceKind, Gpu, GpuOptions};
use peregrine::model::LoadOptions;

use super::*;
use crate::common::MOST_LOSSES;

/// The embedded model on the processor, a device as any other.
pub(crate) fn engine() -> Rc<Engine> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    let checkpoint = block_on(Checkpoint::open(path)).unwrap();
    let gpu = block_on(Gpu::new(&GpuOptions { device: DeviceKind::Cpu, ..GpuOptions::default() })).unwrap();
    let options = LoadOptions { context_length: Some(256), ..LoadOptions::default() };
    block_on(Engine::load(&gpu, &checkpoint, &options, &mut |_| {})).unwrap()
}

fn conversation(reload: &dyn Fn(u32) -> Outcome<Rc<Engine>>) -> Conversation<'_> {
    let options = GenerateOptions { max_tokens: 8, sampling: SamplingOptions::greedy(), ..GenerateOptions::default() };
    let session = Session::new(&reload(0).unwrap()).unwrap();
    let (unread, interrupt) = (session.unread(), Arc::default());
    let session = Some(session);
    Conversation { session, unread, system: None, messages: Vec::new(), options, interrupt, reload, losses: 0 }
}

fn lose(conversation: &Conversation<'_>) {
    conversation.session.as_ref().unwrap().engine().model().gpu().lose();
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
fn the_lost_model_has_gone_before_it_is_loaded_again() {
    let last = RefCell::new(Weak::<Engine>::new());
    let reload = |_| {
        assert!(last.borrow().upgrade().is_none(), "two models at once");
        let engine = engine();
        *last.borrow_mut() = Rc::downgrade(&engine);
        Ok(engine)
    };
    let mut talk = conversation(&reload);
    talk.answer("What is the capital of France?").unwrap();
    lose(&talk);
    talk.answer("And of Italy?").unwrap();
    assert_eq!(talk.messages.len(), 4);
}

#[test]
fn words_are_kept_where_the_model_cannot_be_loaded_again() {
    let reload = |losses| match losses {
        0 => Ok(engine()),
        _ => Err(Failure::run("there is no GPU")),
    };
    let mut talk = conversation(&reload);
    talk.answer("What is the capital of France?").unwrap();
    lose(&talk);
    talk.answer("And of Italy?").unwrap_err();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.state");
    talk.save(&path).unwrap();
    let mut again = conversation(&reload);
    again.restore(&path).unwrap();
    assert_eq!(again.messages, talk.messages);
    assert_eq!(again.messages.len(), 2);
    again.answer("And of Italy?").unwrap();
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
