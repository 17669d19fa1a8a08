//! Conversations that are longer than the context.

use super::*;

#[test]
fn a_full_context_is_said_before_anything_is_read() {
    let mut session = open(&GpuOptions::default(), &LoadOptions { context_length: Some(40), ..LoadOptions::default() });
    let long = "word ".repeat(60);
    let error = block_on(session.chat(&user(&long), &greedy(4), &mut |_| true)).unwrap_err();
    assert!(matches!(error, Error::ContextFull { context_length: 40, needed } if needed > 40), "{error}");
    assert_eq!(session.position(), 0);
    assert!(matches!(block_on(session.prefill(&[3; 41])), Err(Error::ContextFull { needed: 41, .. })));
    // The session is as good as new, and an answer that reaches the end says so.
    for options in [greedy(100), greedy_on_the_host(100)] {
        session.reset();
        let options = GenerateOptions { ignore_end: true, ..options };
        let answer = ask(&mut session, &user("Hello!"), &options);
        assert_eq!(answer.finish, Finish::Context);
        assert_eq!(answer.prompt_tokens + answer.ids.len() as u32, 41, "the last token need not be read");
        assert_eq!(session.position(), 40);
    }
    assert!(matches!(block_on(session.prefill(&[70_000])), Err(Error::TokenOutOfRange { token: 70_000, .. })));
}

#[test]
fn the_oldest_turns_can_go_when_the_context_is_full() {
    let load = LoadOptions { context_length: Some(150), ..LoadOptions::default() };
    let mut session = open(&GpuOptions::default(), &load);
    let how = GenerateOptions { overflow: Overflow::DropOldest, ..greedy(12) };
    let system = Message::new("system", "You are a friend.");
    let mut messages = vec![system.clone()];
    let mut dropped = Vec::new();
    for turn in 0..9 {
        messages.push(Message::new("user", format!("What is {turn} plus {turn}?")));
        let answer = ask(&mut session, &messages, &how);
        assert!(session.position() <= 150);
        // The states are those of the conversation without the turns that went.
        let left = answer.dropped_messages as usize;
        let kept = [&messages[..1], &messages[1 + left..]].concat();
        assert_eq!((&kept[0], kept[1].role.as_str()), (&system, "user"), "{left}");
        let expected = ask(&mut beside(&session), &kept, &greedy(12));
        assert_eq!((answer.ids, answer.prompt_tokens), (expected.ids, expected.prompt_tokens), "turn {turn}");
        dropped.push((left, answer.cached_tokens));
        messages.push(Message::new("assistant", answer.text));
    }
    // Turns go some at a time, and in between nothing is read again.
    let counts: Vec<usize> = dropped.iter().map(|(left, _)| *left).collect();
    assert!(counts.is_sorted() && counts[0] == 0 && counts[8] > 0, "{dropped:?}");
    let goes_on = dropped.windows(2).filter(|pair| pair[1].0 == pair[0].0 && pair[1].0 > 0);
    assert!(goes_on.clone().count() > 0 && goes_on.clone().all(|pair| pair[1].1 > pair[0].1), "{dropped:?}");
    // Unless somebody asks for it, it is an error, and so is a single turn that is too long.
    let error = |session: &mut Session, messages: &[Message], how: &GenerateOptions| {
        block_on(session.chat(messages, how, &mut |_| true)).unwrap_err()
    };
    let found = error(&mut session, &messages, &greedy(12));
    assert!(matches!(found, Error::ContextFull { context_length: 150, .. }), "{found}");
    let found = error(&mut session, &[system, Message::new("user", "word ".repeat(200))], &how);
    assert!(matches!(found, Error::ContextFull { context_length: 150, .. }), "{found}");
}

#[test]
fn an_answer_that_fills_the_context_goes_on_without_the_oldest_turns() {
    let load = LoadOptions { context_length: Some(150), ..LoadOptions::default() };
    let mut session = open(&GpuOptions::default(), &load);
    let mut messages = vec![Message::new("system", "You are a friend.")];
    for turn in 0..2 {
        messages.push(Message::new("user", format!("What is {turn} plus {turn}?")));
        messages.push(Message::new("assistant", format!("It is {}, I think, as far as I can see.", 2 * turn)));
    }
    messages.push(Message::new("user", "Tell me a short story about a fox."));
    let ids = |messages: &[Message]| {
        let engine = session.engine().clone();
        let rendering = engine.chat_template().unwrap().rendering(engine.tokenizer(), messages).unwrap();
        rendering.ids(engine.tokenizer()).unwrap()
    };
    let (all, last) = (ids(&messages), ids(&[&messages[..1], &messages[5..]].concat()));
    let endless = |options: GenerateOptions| GenerateOptions { ignore_end: true, ..options };
    for options in [endless(greedy(76)), endless(greedy_on_the_host(76))] {
        session.reset();
        let how = GenerateOptions { overflow: Overflow::DropOldest, ..options.clone() };
        let answer = ask(&mut session, &messages, &how);
        assert_eq!((answer.finish, answer.ids.len(), answer.dropped_messages), (Finish::Length, 76, 4));
        assert_eq!(answer.prompt_tokens as usize, all.len());
        assert!(all.len() + 76 > 151, "the context was full: {}", all.len());
        assert_eq!(answer.text, session.engine().tokenizer().decode(&answer.ids, true).unwrap());
        // The states are those of the conversation without its oldest turns, and of the whole
        // answer.
        let before = 151 - all.len();
        assert_eq!(session.position() as usize, last.len() + 75);
        let read = [&last[..], &answer.ids[..before]].concat();
        let rest =
            block_on(beside(&session).complete(&read, &endless(greedy(76 - before as u32)), &mut |_| true)).unwrap();
        assert_eq!(rest.ids, answer.ids[before..]);
        // And the conversation goes on with nothing read again.
        let mut next = messages.clone();
        next.extend([Message::new("assistant", answer.text), Message::new("user", "Hi!")]);
        let next = ask(&mut session, &next, &GenerateOptions { max_tokens: 2, ..how });
        assert_eq!(next.dropped_messages, 4);
        assert!(next.cached_tokens as usize >= last.len() + 75, "{}", next.cached_tokens);
        // Without turns to leave out it ends there.
        session.reset();
        let question = &messages[5..];
        let answer = ask(
            &mut session,
            question,
            &GenerateOptions { max_tokens: 500, overflow: Overflow::DropOldest, ..options },
        );
        assert_eq!((answer.finish, answer.dropped_messages), (Finish::Context, 0));
    }
}

#[test]
fn a_context_grows_and_the_conversation_goes_on() {
    let of = |context| LoadOptions { context_length: Some(context), ..LoadOptions::default() };
    let ids: Vec<u32> = (0..700).map(|i| 40 + (i * 7) % 500).collect();
    let (mut session, mut whole) = (open(&GpuOptions::default(), &of(150)), open(&GpuOptions::default(), &of(700)));
    let engine = session.engine().clone();
    block_on(session.prefill(&ids[..150])).unwrap();
    let place = session.snapshot().unwrap();
    let error = block_on(session.prefill(&ids[150..])).unwrap_err();
    assert!(matches!(error, Error::ContextFull { needed: 700, context_length: 150 }), "{error}");

    // It is never made shorter, and nothing is promised that cannot be.
    assert_eq!((engine.grow_context(10).unwrap(), engine.grow_context(151).unwrap()), (150, 151));
    let longest = engine.model().longest_context();
    assert_eq!(longest, engine.config().max_position_embeddings);
    let Error::Argument { field, expected, found } = engine.grow_context(longest + 1).unwrap_err() else { panic!() };
    assert_eq!((field.as_str(), found), ("contextLength", (longest + 1).to_string()));
    assert!(expected.contains(&longest.to_string()), "{expected}");
    assert_eq!(engine.grow_context(700).unwrap(), 700);
    assert_eq!((engine.model().context_length(), engine.model().footprint().context_length), (700, 700));

    // To the bit what a context of that length gives, from a place before it as well.
    block_on(whole.prefill(&ids[..150])).unwrap();
    block_on(whole.prefill(&ids[150..])).unwrap();
    for _ in 0..2 {
        block_on(session.prefill(&ids[150..])).unwrap();
        assert_eq!((session.position(), session.logits()), (700, whole.logits()));
        session.go_to(&place).unwrap();
    }
    block_on(session.prefill(&ids[150..])).unwrap();
    assert!(matches!(block_on(session.prefill(&[5])), Err(Error::ContextFull { context_length: 700, .. })));
    // Conversations that begin now have it, too.
    block_on(Session::new(&engine).unwrap().prefill(&ids)).unwrap();
}
