//! Answers and prompts that are stopped or abandoned: nothing is read twice that need not be, and
//! what follows is as if nothing had been.

use super::*;

/// Stops after `tokens` tokens of the answer, by the callback or by the flag, and then goes on.
fn interrupted(session: &mut Session, options: &GenerateOptions, tokens: usize, by_flag: bool) -> Vec<u32> {
    let flag = Rc::new(Cell::new(false));
    let asked = flag.clone();
    let options = GenerateOptions { cancel: Some(Rc::new(move || asked.get())), ..options.clone() };
    let mut seen = 0;
    let answer = block_on(session.chat(&user(FIRST), &options, &mut |_| {
        seen += 1;
        if by_flag && seen == tokens {
            flag.set(true);
        }
        by_flag || seen < tokens
    }))
    .unwrap();
    assert_eq!((answer.finish, answer.ids.len()), (Finish::Cancelled, tokens));
    let rest = GenerateOptions { max_tokens: options.max_tokens - tokens as u32, cancel: None, ..options };
    let rest = block_on(session.generate(&rest, &mut |_| true)).unwrap();
    [answer.ids, rest.ids].concat()
}

#[test]
fn a_stopped_answer_goes_on_as_if_it_had_not_been() {
    let mut session = fresh();
    for options in [greedy(16), greedy_on_the_host(16)] {
        session.reset();
        let whole = ask(&mut session, &user(FIRST), &options);
        assert_eq!(whole.ids.len(), 16);
        let expected = states(&session);
        for by_flag in [false, true] {
            session.reset();
            assert_eq!(interrupted(&mut session, &options, 5, by_flag), whole.ids, "by flag: {by_flag}");
            assert_same(&states(&session), &expected, &format!("by flag: {by_flag}"));
        }
    }
}

/// A GPU runs on the token that it has sampled while its text is told; the processor first tells
/// it.
#[test]
fn on_the_processor_a_token_is_reported_before_the_next_step() {
    let told = |options: &GpuOptions, how: GenerateOptions| {
        let mut session = open_two_layers(options, &LoadOptions::default());
        let mut heard = 0;
        let mut stop = |_| {
            heard += 1;
            heard < 3
        };
        let answer = block_on(session.chat(&user(FIRST), &how, &mut stop)).unwrap();
        assert_eq!((answer.ids.len(), answer.finish), (3, Finish::Cancelled));
        session.position() - answer.prompt_tokens
    };
    let processor = GpuOptions { device: DeviceKind::Cpu, ..GpuOptions::default() };
    for how in [greedy(8), sampled(3, 8)] {
        assert_eq!(told(&processor, how.clone()), 2, "the third is not read");
        assert_eq!(told(&hardware(), how), 3);
    }
}

#[test]
fn prefill_can_be_stopped_between_chunks() {
    let mut session = open_two_layers(&hardware(), &LoadOptions { chunk: Some(4), ..LoadOptions::default() });
    // A GPU gets the first chunk as a whole, whatever it turns out to be.
    let stopped = ask(&mut session, &user(FIRST), &stopped_at(3, greedy(8)));
    assert_eq!((stopped.finish, stopped.ids.len(), session.position()), (Finish::Cancelled, 0, 4));
    let rest = block_on(session.generate(&greedy(8), &mut |_| true)).unwrap();
    assert_eq!(rest.ids, ask(&mut beside(&session), &user(FIRST), &greedy(8)).ids);
}

/// Is cancelled when it asks for the `nth` time.
fn stopped_at(nth: u32, options: GenerateOptions) -> GenerateOptions {
    let calls = Cell::new(0);
    let cancel = move || {
        calls.set(calls.get() + 1);
        calls.get() >= nth
    };
    GenerateOptions { cancel: Some(Rc::new(cancel)), ..options }
}

#[test]
fn prefill_can_be_stopped_inside_a_chunk_where_it_takes_long() {
    let software = GpuOptions { shapes: Some(ShapeClass::Software), ..hardware() };
    for options in [greedy(8), greedy_on_the_host(8)] {
        // A model that has not shown yet how fast it is: after a few dispatches it asks again.
        let mut session = open_two_layers(&software, &LoadOptions::default());
        let stopped = ask(&mut session, &user(FIRST), &stopped_at(2, options.clone()));
        assert_eq!((stopped.finish, stopped.ids.len(), session.position()), (Finish::Cancelled, 0, 0));
        let whole = ask(&mut beside(&session), &user(FIRST), &options);
        assert_eq!(block_on(session.generate(&options, &mut |_| true)).unwrap().ids, whole.ids);
    }
    // In the second turn, however far it had come: back to the border between the turns, and on
    // from there.
    // With words that are the same tokens when they are read again: all layers.
    let (mut session, options) = (open(&software, &LoadOptions::default()), greedy(8));
    let whole = ask(&mut session, &user(FIRST), &options);
    let messages = then(user(FIRST), &whole, SECOND);
    let expected = ask(&mut session, &messages, &options);
    for nth in 2..6 {
        let mut other = open(&software, &LoadOptions::default());
        ask(&mut other, &user(FIRST), &options);
        let stopped = ask(&mut other, &messages, &stopped_at(nth, options.clone()));
        assert_eq!((stopped.finish, stopped.ids.len()), (Finish::Cancelled, 0), "stopped at {nth}");
        let answer = ask(&mut other, &messages, &options);
        assert_eq!(answer.ids, expected.ids, "stopped at {nth}");
        assert!(answer.cached_tokens > 10, "stopped at {nth}: {} tokens were kept", answer.cached_tokens);
    }
}

#[test]
fn an_abandoned_answer_is_read_again() {
    let mut session = fresh();
    let expected = ask(&mut session, &user(FIRST), &greedy(8));
    session.reset();
    {
        // Polled once and dropped: with a step on its way wherever the device needs time.
        let mut on_piece = |_| true;
        let options = greedy(8);
        let messages = user(FIRST);
        let mut answer = std::pin::pin!(session.chat(&messages, &options, &mut on_piece));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = answer.as_mut().poll(&mut context);
    }
    let again = ask(&mut session, &user(FIRST), &greedy(8));
    assert_eq!(again.ids, expected.ids);
}
