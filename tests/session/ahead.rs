//! Several steps of an answer queued on tokens that the host does not know yet: the same tokens,
//! states and logits, bit by bit, as with one step at a time, however the answer ends.

use peregrine::checkpoint::MemorySource;
use peregrine::state::KvType;
use peregrine_tests::gpu;

use super::*;

const PROMPT: [u32; 7] = [1, 9, 34, 12, 50, 7, 41];

/// A small model, on kernels for GPUs or on those for software adapters.
fn small(shapes: ShapeClass, load: &LoadOptions) -> Session {
    let options = GpuOptions { shapes: Some(shapes), ..hardware() };
    session(&gpu(&options), &checkpoint(&golden_path("norm1.gguf")), load)
}

/// Another session over the same model, with so many steps in flight.
fn ahead(session: &Session, steps: u32) -> Session {
    let mut other = beside(session);
    other.set_steps_ahead(Some(steps));
    other
}

/// Everything that a session goes on from, as bits.
fn bits(session: &Session) -> Vec<u32> {
    [states(session), session.logits().iter().map(|logit| logit.to_bits()).collect()].concat()
}

/// An answer that end tokens do not end.
fn endless(how: GenerateOptions) -> GenerateOptions {
    GenerateOptions { ignore_end: true, ..how }
}

fn assert_alike(found: (&Session, &Generated), expected: (&Session, &Generated), what: &str) {
    assert_eq!(found.1.ids, expected.1.ids, "{what}");
    assert_eq!((found.1.finish, &found.1.text), (expected.1.finish, &expected.1.text), "{what}");
    assert_same(&bits(found.0), &bits(expected.0), what);
}

fn complete(session: &mut Session, how: &GenerateOptions) -> Generated {
    block_on(session.complete(&PROMPT, how, &mut |_| true)).unwrap()
}

#[test]
fn an_answer_of_any_length_is_the_same() {
    for shapes in [ShapeClass::Hardware, ShapeClass::Software] {
        let model = small(shapes, &LoadOptions::default());
        for how in [greedy, |tokens| sampled(5, tokens)] {
            // Every remainder of a queue, and several anchors.
            let (mut one, mut several) = (ahead(&model, 1), ahead(&model, 4));
            for tokens in (1..=6).chain([70]) {
                [&mut one, &mut several].into_iter().for_each(Session::reset);
                let expected = complete(&mut one, &endless(how(tokens)));
                let found = complete(&mut several, &endless(how(tokens)));
                assert_eq!(found.ids.len(), tokens as usize);
                assert_alike((&several, &found), (&one, &expected), &format!("{shapes:?}, {tokens} tokens"));
            }
        }
    }
}

#[test]
fn an_end_token_ends_it_wherever_it_is_in_the_queue() {
    for shapes in [ShapeClass::Hardware, ShapeClass::Software] {
        let model = small(shapes, &LoadOptions::default());
        let mut ended = 0;
        for seed in 0..6 {
            let mut one = ahead(&model, 1);
            let expected = complete(&mut one, &sampled(seed, 40));
            if expected.finish != Finish::Stop || expected.ids.len() < 3 {
                continue;
            }
            // So many steps have been queued behind the end.
            let mut several = ahead(&model, 4);
            for behind in 0..=4 {
                several.reset();
                let found = complete(&mut several, &sampled(seed, expected.ids.len() as u32 + 1 + behind));
                let what = format!("{shapes:?}, seed {seed}, {behind} behind");
                assert_alike((&several, &found), (&one, &expected), &what);
            }
            ended += 1;
        }
        assert!(ended > 0, "none of the answers ends by itself");
    }
}

#[test]
fn an_answer_that_is_stopped_has_read_no_more_than_its_tokens() {
    let model = small(ShapeClass::Hardware, &LoadOptions::default());
    let (mut one, mut several) = (ahead(&model, 1), ahead(&model, 4));
    // At every place of the queue, around a new anchor, and where little is left to queue.
    for (how, places) in
        [(greedy(12), &[1, 2, 3, 4, 5, 9, 10, 11][..]), (sampled(5, 80), &[31, 32, 33, 34, 35, 36, 70])]
    {
        for (tokens, by_flag) in places.iter().zip([false, true].into_iter().cycle()) {
            [&mut one, &mut several].into_iter().for_each(Session::reset);
            let expected = stopped_after(&mut one, &endless(how.clone()), *tokens, by_flag);
            let found = stopped_after(&mut several, &endless(how.clone()), *tokens, by_flag);
            assert_eq!((found.finish, found.ids.len()), (Finish::Cancelled, *tokens));
            assert_alike((&several, &found), (&one, &expected), &format!("{tokens} tokens, by flag: {by_flag}"));
        }
    }
    // What is asked next costs no more than if nothing had been queued.
    several.reset();
    let found = stopped_after(&mut several, &endless(greedy(80)), 10, true);
    let whole = [&PROMPT[..], &found.ids, &[3, 8]].concat();
    let next = block_on(several.complete(&whole, &greedy(4), &mut |_| true)).unwrap();
    assert_eq!(next.cached_tokens as usize, PROMPT.len() + found.ids.len());
}

fn stopped_after(session: &mut Session, how: &GenerateOptions, tokens: usize, by_flag: bool) -> Generated {
    let flag = Rc::new(Cell::new(false));
    let asked = flag.clone();
    let how = GenerateOptions { cancel: Some(Rc::new(move || asked.get())), ..how.clone() };
    let mut seen = 0;
    let mut on_piece = |_| {
        seen += 1;
        flag.set(by_flag && seen == tokens);
        by_flag || seen < tokens
    };
    block_on(session.complete(&PROMPT, &how, &mut on_piece)).unwrap()
}

#[test]
fn a_stop_text_ends_it_as_with_one_step_ahead() {
    let software = GpuOptions { shapes: Some(ShapeClass::Software), ..hardware() };
    let model = open_two_layers(&software, &LoadOptions::default());
    let all = ask(&mut ahead(&model, 1), &user(FIRST), &endless(greedy(24)));
    let letters: Vec<char> = all.text.chars().collect();
    for at in [1, letters.len() / 2] {
        let stop: String = letters[at..at + 4].iter().collect();
        let how = GenerateOptions { stop: vec![stop.clone()], ..endless(greedy(24)) };
        let (mut one, mut several) = (ahead(&model, 1), ahead(&model, 4));
        let expected = ask(&mut one, &user(FIRST), &how);
        let found = ask(&mut several, &user(FIRST), &how);
        assert!(found.finish == Finish::Stop && found.stop_text, "{stop:?}");
        assert_alike((&several, &found), (&one, &expected), &format!("stop text {stop:?}"));
    }
}

#[test]
fn a_context_that_fills_inside_the_queue_ends_it() {
    for room in 1..=6 {
        let load = LoadOptions { context_length: Some(PROMPT.len() as u32 + room), ..LoadOptions::default() };
        let model = small(ShapeClass::Hardware, &load);
        let (mut one, mut several) = (ahead(&model, 1), ahead(&model, 4));
        let expected = complete(&mut one, &endless(greedy(50)));
        let found = complete(&mut several, &endless(greedy(50)));
        assert_eq!((found.finish, found.ids.len() as u32), (Finish::Context, room + 1));
        assert_alike((&several, &found), (&one, &expected), &format!("room for {room}"));
    }
}

/// A conversation that is shortened in the middle of an answer goes on from another place, which no
/// earlier anchor is of use to.
#[test]
fn an_answer_that_sheds_turns_can_be_stopped_after_it() {
    const CONTEXT: u32 = 120;
    let software = GpuOptions { shapes: Some(ShapeClass::Software), ..hardware() };
    let model = open_two_layers(&software, &LoadOptions { context_length: Some(CONTEXT), ..LoadOptions::default() });
    let said = Message::new("assistant", "Two, and never three. ".repeat(5));
    let messages = [user("What is one plus one?"), vec![said], user(FIRST)].concat();
    let stopped = |session: &mut Session, after: u32| {
        let how = GenerateOptions { overflow: Overflow::DropOldest, ..endless(greedy(200)) };
        let mut seen = 0;
        let mut on_piece = |_| {
            seen += 1;
            seen < after
        };
        block_on(session.chat(&messages, &how, &mut on_piece)).unwrap()
    };
    let rendered = model.engine().chat_template().unwrap().render(&messages, true).unwrap();
    let prompt = model.engine().tokenizer().encode(&rendered, false).unwrap().len() as u32;
    // The token that has no room any more, and two.
    let after = CONTEXT - prompt + 3;
    let (mut one, mut several) = (ahead(&model, 1), ahead(&model, 4));
    let (expected, found) = (stopped(&mut one, after), stopped(&mut several, after));
    assert_eq!((expected.dropped_messages, expected.ids.len() as u32), (2, after));
    assert_eq!(found.dropped_messages, 2);
    assert_alike((&several, &found), (&one, &expected), &format!("{after} tokens after {prompt}"));
}

/// Whoever stops waiting for an answer leaves steps on tokens that nobody has seen.
#[test]
fn an_answer_can_be_abandoned_at_every_place_of_the_queue() {
    let model = small(ShapeClass::Hardware, &LoadOptions::default());
    let how = endless(greedy(12));
    let expected = complete(&mut ahead(&model, 1), &how);
    for steps in 1..=4 {
        for tokens in [1, 2, 6] {
            let (mut session, holder) = (ahead(&model, steps), beside(&model));
            let (mut seen, mut held) = (0, None);
            {
                let mut on_piece = |_| {
                    seen += 1;
                    if seen == tokens {
                        // No step may begin any more: the answer waits.
                        held = Some(block_on(holder.hold_turn()));
                    }
                    true
                };
                let mut answer = std::pin::pin!(session.complete(&PROMPT, &how, &mut on_piece));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let waits = answer.as_mut().poll(&mut context).is_pending();
                assert!(waits, "{steps} steps ahead, {tokens} tokens: the answer has not waited for its turn");
            }
            assert_eq!(seen, tokens, "{steps} steps ahead");
            // The prompt, all tokens but the last that are known, and those that are not.
            assert_eq!(session.position(), PROMPT.len() as u32 + tokens - 1 + steps, "{steps} steps are queued");
            drop(held);
            session.set_note(Some("said".into()));
            let mut file = Vec::new();
            block_on(session.save(&mut |bytes| {
                file.extend_from_slice(bytes);
                Ok(())
            }))
            .unwrap();
            let mut restored = beside(&session);
            block_on(restored.restore(&MemorySource::new("a state", file))).unwrap();
            assert_eq!(restored.note(), Some("said"), "{steps} steps ahead, {tokens} tokens");
            let again = complete(&mut session, &how);
            assert_eq!(again.ids, expected.ids, "{steps} steps ahead, {tokens} tokens");
        }
    }
}

/// The step at one position gives no number. Prompts of other lengths put it at every place of the
/// queue; nothing that was queued behind it is told.
#[test]
fn a_step_that_gives_no_number_ends_it_wherever_it_is_in_the_queue() {
    const AT: usize = 50;
    let alter: Alter = |name, source| match name {
        "mixer_step" => {
            let changed =
                source.replace("let decay = exp(", "let decay = exp(select(0.0, 1e9, now.position == 50u) + ");
            assert_ne!(changed, source);
            changed
        }
        _ => source,
    };
    let options = GpuOptions { alter: Some(alter), ..hardware() };
    let model = session(&gpu(&options), &checkpoint(&golden_path("norm1.gguf")), &LoadOptions::default());
    for how in [endless(greedy(12)), endless(sampled(5, 12))] {
        for before in 0..=6 {
            let mut session = ahead(&model, 4);
            let prompt: Vec<u32> = (1..=AT as u32 - before).collect();
            block_on(session.prefill(&prompt)).unwrap();
            let mut pieces = 0;
            let error = block_on(session.generate(&how, &mut |_| {
                pieces += 1;
                true
            }));
            let error = error.map(|answer| answer.ids).unwrap_err();
            assert!(matches!(error, Error::NotFinite { .. }), "{before} before: {error}");
            assert_eq!(pieces, before + 1, "the step that is wrong reads the last of them");
            assert_eq!(session.position(), 0, "nothing of it is kept");
        }
    }
}

/// Without room for a copy of the states beside a snapshot there is one step ahead, and an answer
/// ends the same.
#[test]
fn without_room_for_a_copy_one_step_is_ahead() {
    let model = small(ShapeClass::Hardware, &LoadOptions::default());
    let (mut one, mut several) = (ahead(&model, 1), ahead(&model, 4));
    let how = endless(greedy(80));
    let expected = stopped_after(&mut one, &how, 7, false);
    for budget in [0, several.state().recurrent_bytes(), 1 << 28, 0] {
        several.set_snapshot_budget(budget);
        let found = stopped_after(&mut several, &how, 7, false);
        assert_alike((&several, &found), (&one, &expected), &format!("{budget} bytes"));
        several.reset();
    }
}

/// Between answers the copy makes room for snapshots.
#[test]
fn a_copy_that_no_answer_needs_makes_room() {
    let model = small(ShapeClass::Hardware, &LoadOptions::default());
    let mut session = ahead(&model, 4);
    let page =
        KvType::default().page_bytes(model.engine().config()) * u64::from(model.engine().config().num_hidden_layers);
    let copy = session.state().recurrent_bytes();
    session.set_snapshot_budget(2 * copy + 2 * page);
    let ask = |session: &mut Session, first: u32| {
        let prompt = [&[first], &PROMPT[..]].concat();
        block_on(session.complete(&prompt, &endless(greedy(8)), &mut |_| true)).unwrap();
    };
    ask(&mut session, 2);
    ask(&mut session, 3);
    assert_eq!((session.snapshots().0, session.snapshots_on_host().0), (1, 0), "beside the copy there is room for one");
    // An answer that needs no copy.
    session.set_steps_ahead(Some(1));
    ask(&mut session, 4);
    assert_eq!((session.snapshots().0, session.snapshots_on_host().0), (2, 0), "both are on the GPU");
    session.set_steps_ahead(Some(4));
    ask(&mut session, 5);
    assert!(session.snapshots().1 <= copy + 2 * page, "the copy has taken its room again");
}

/// A chunk is queued while the one before it is computed: whoever stops waiting leaves both to be
/// done, and neither is read again.
#[test]
fn a_prompt_can_be_abandoned_between_its_chunks() {
    let ids: Vec<u32> = (0..70).map(|i| 1 + 7 * i % 60).collect();
    let model = small(ShapeClass::Hardware, &LoadOptions { chunk: Some(8), ..LoadOptions::default() });
    let mut whole = beside(&model);
    let expected = block_on(whole.complete(&ids, &endless(greedy(4)), &mut |_| true)).unwrap();
    for chunks in [1, 2, 3, 8] {
        let (mut session, holder) = (beside(&model), beside(&model));
        let (asked, held) = (Cell::new(0), Rc::new(Cell::new(None)));
        let holds = held.clone();
        let cancel = move || {
            asked.set(asked.get() + 1);
            if asked.get() == chunks + 1 {
                holds.set(Some(block_on(holder.hold_turn())));
            }
            false
        };
        let how = GenerateOptions { cancel: Some(Rc::new(cancel)), ..endless(greedy(4)) };
        {
            let mut on_piece = |_| true;
            let mut answer = std::pin::pin!(session.complete(&ids, &how, &mut on_piece));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(answer.as_mut().poll(&mut context).is_pending(), "{chunks} chunks");
        }
        drop(held.take());
        assert_eq!(session.position(), 8 * chunks);
        let found = block_on(session.complete(&ids, &endless(greedy(4)), &mut |_| true)).unwrap();
        assert_eq!((found.cached_tokens, &found.ids), (8 * chunks, &expected.ids), "{chunks} chunks");
        assert_same(&bits(&session), &bits(&whole), &format!("{chunks} chunks"));
    }
}

#[test]
fn an_answer_that_ends_at_once_leaves_the_pages_of_others_alone() {
    for shapes in [ShapeClass::Hardware, ShapeClass::Software] {
        let model = small(shapes, &LoadOptions::default());
        let [mut one, mut expected] = [ahead(&model, 1), ahead(&model, 1)];
        [&mut one, &mut expected].into_iter().for_each(|session| block_on(session.prefill(&PROMPT)).unwrap());
        // Both have rows of one page, and the fork writes beyond them.
        let mut two = one.fork().unwrap();
        let generate =
            |session: &mut Session, how: &GenerateOptions| block_on(session.generate(how, &mut |_| true)).unwrap();
        let found = generate(&mut two, &endless(greedy(3)));
        assert_eq!(found.ids, generate(&mut expected, &endless(greedy(3))).ids);
        // The logits are here, and the first token is an end token.
        let end = one.engine().tokenizer().end_tokens()[0];
        let sampling = SamplingOptions { logit_bias: vec![(end, 1e4)], ..SamplingOptions::greedy() };
        let ended = generate(&mut one, &GenerateOptions { sampling, ..greedy(5) });
        assert_eq!((ended.finish, ended.ids.len()), (Finish::Stop, 0));
        block_on(one.prefill(&[3, 3, 3])).unwrap();
        [&mut two, &mut expected].into_iter().for_each(|session| block_on(session.prefill(&[8])).unwrap());
        assert_same(&bits(&two), &bits(&expected), &format!("{shapes:?}"));
    }
}
