use std::cell::RefCell;

use peregrine::gpu::Gpu;

use super::*;
use crate::chat::tests::engine;
use crate::common::MOST_LOSSES;
use crate::failure::Failure;

/// What is written, and a device that is lost when so many pieces have been.
struct Losing<'a> {
    written: String,
    after: usize,
    device: &'a RefCell<Option<Gpu>>,
}

impl Write for Losing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.written += std::str::from_utf8(bytes).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.after = self.after.wrapping_sub(1);
        if self.after == 0 {
            self.device.take().unwrap().lose();
        }
        Ok(())
    }
}

fn asked(prompt: &str) -> Asked<'static> {
    let ids = engine().tokenizer().encode(prompt, true).unwrap();
    let options = GenerateOptions {
        max_tokens: 12,
        ignore_end: true,
        sampling: SamplingOptions { temperature: 1.0, seed: 7, ..SamplingOptions::default() },
        ..GenerateOptions::default()
    };
    Asked { state: None, ids, options }
}

/// What is written of the answer whose device is lost after so many pieces, and which losses the
/// model was loaded for.
fn written(asked: &Asked<'_>, after: usize) -> (Outcome<Answered>, String, Vec<u32>) {
    let (device, losses) = (RefCell::new(None), RefCell::new(Vec::new()));
    let reload = |lost| {
        losses.borrow_mut().push(lost);
        Ok(engine())
    };
    let first = engine();
    *device.borrow_mut() = Some(first.model().gpu().clone());
    let mut out = Losing { written: String::new(), after, device: &device };
    let answered = asked.answer(first, &reload, &mut Told::new(&mut out));
    (answered, out.written, losses.into_inner())
}

#[test]
fn a_lost_device_ends_no_answer_and_nothing_is_written_twice() {
    let asked = asked("Once upon a time");
    let (whole, expected, losses) = written(&asked, 0);
    let whole = whole.unwrap();
    assert_eq!((whole.answer.ids.len(), &whole.answer.text, losses.len()), (12, &expected, 0));
    for after in [1, 5, 9] {
        let (broken, text, losses) = written(&asked, after);
        assert_eq!(broken.unwrap().answer.ids, whole.answer.ids, "lost after {after} pieces");
        assert_eq!((text, losses), (expected.clone(), vec![1]), "lost after {after} pieces");
    }
}

#[test]
fn an_answer_that_becomes_another_one_has_a_line_of_its_own() {
    let mut out = Vec::new();
    let mut told = Told::new(&mut out);
    for text in ["a", "a c", "a ca", "a", "a c", "a co", "a cow"] {
        assert!(told.tell(text));
    }
    assert_eq!(String::from_utf8(out).unwrap(), "a ca\na cow");
    // It may also be the beginning of what was there.
    let mut out = Vec::new();
    let mut told = Told::new(&mut out);
    assert!(told.tell("a ca"));
    for _ in 0..2 {
        told.finish("a");
    }
    assert_eq!(String::from_utf8(out).unwrap(), "a ca\na");
}

#[test]
fn devices_that_are_lost_again_and_again_end_it() {
    let asked = asked("Once");
    let losses = RefCell::new(Vec::new());
    let lost = |number| {
        losses.borrow_mut().push(number);
        let engine = engine();
        engine.model().gpu().lose();
        Ok(engine)
    };
    let failure = asked.answer(lost(0).unwrap(), &lost, &mut Told::new(&mut Vec::new())).err().unwrap();
    assert!(failure.message().contains("lost"), "{failure:?}");
    assert_eq!(*losses.borrow(), (0..=MOST_LOSSES).collect::<Vec<_>>());
    // Another one while it is loaded again.
    let broken = |_| Err(Failure::run("the GPU is lost"));
    let failure = asked.answer(lost(0).unwrap(), &broken, &mut Told::new(&mut Vec::new())).err().unwrap();
    assert_eq!(failure.message(), "the GPU was lost, and the model cannot be loaded again: the GPU is lost");
}
