//! Places to go back to, and beginnings that are only read.

use peregrine::checkpoint::MemorySource;

use super::*;

#[test]
fn snapshots_stay_within_their_budget_for_a_hundred_turns() {
    let mut session = fresh();
    session.set_snapshot_budget(u64::MAX);
    ask(&mut session, &user(&long_question()), &greedy(1));
    let (count, each) = session.snapshots();
    assert_eq!(count, 1);
    session.set_snapshot_budget(3 * each);
    session.set_snapshot_host_budget(2 * each);
    let mut messages = user("Hello!");
    let mut sizes = Vec::new();
    for turn in 0..100 {
        let answer = ask(&mut session, &messages, &greedy(2));
        sizes.push((session.snapshots().1, session.engine().model().kv().bytes()));
        assert!(session.snapshots_on_host().1 <= 2 * each, "turn {turn}");
        // Some turns are edited, some conversations begin anew, most go on.
        messages = match turn % 7 {
            3 => {
                messages.pop();
                messages.push(Message::new("user", format!("Say {turn}.")));
                messages
            }
            6 => user("Hello again!"),
            _ => then(messages, &answer, "And then?"),
        };
    }
    assert!(sizes.iter().all(|(bytes, _)| *bytes <= 3 * each), "{sizes:?}");
    assert_eq!(sizes[50..].iter().max(), sizes[..50].iter().max(), "nothing grows");
    session.set_snapshot_budget(0);
    assert_eq!(session.snapshots(), (0, 0));
    let answer = ask(&mut session, &user(&long_question()), &greedy(2));
    assert_eq!((answer.cached_tokens, session.snapshots()), (0, (0, 0)));
}

#[test]
fn what_is_only_read_is_gone_on_from() {
    let mut session = fresh();
    let system = Message::new("system", "You are a friend who knows much about foxes and birds.");
    let whole = vec![system.clone(), Message::new("user", FIRST)];
    let expected = ask(&mut beside(&session), &whole, &greedy(8));
    let read = block_on(session.prepare_chat(&[system], None)).unwrap();
    assert_eq!((read.ids.len(), read.cached_tokens, read.finish), (0, 0, Finish::Length));
    assert_eq!((session.position(), read.prompt_tokens > 10), (read.prompt_tokens, true));
    // Through a file, into another session.
    let mut file = Vec::new();
    block_on(session.save(&mut |bytes| {
        file.extend_from_slice(bytes);
        Ok(())
    }))
    .unwrap();
    let mut other = beside(&session);
    block_on(other.restore(&MemorySource::new("the system's", file))).unwrap();
    for session in [&mut session, &mut other] {
        let answer = ask(session, &whole, &greedy(8));
        assert_eq!((answer.ids, answer.cached_tokens), (expected.ids.clone(), read.prompt_tokens));
        // Nothing more is to be read, and a second time neither.
        let again = block_on(session.prepare_chat(&whole[..1], None)).unwrap();
        assert!(again.cached_tokens + 1 >= read.prompt_tokens, "{again:?}");
    }
    // Texts, too; what does not fit and who cancels is heard.
    let ids = session.engine().tokenizer().encode("The fox and the bird were friends", true).unwrap();
    let expected = block_on(beside(&session).complete(&ids, &greedy(4), &mut |_| true)).unwrap();
    block_on(session.prepare(&ids[..5], None)).unwrap();
    let answer = block_on(session.complete(&ids, &greedy(4), &mut |_| true)).unwrap();
    assert_eq!((answer.ids, answer.cached_tokens), (expected.ids, 5));
    let cancelled = block_on(session.prepare(&[9; 40], Some(&|| true))).unwrap();
    assert_eq!(cancelled.finish, Finish::Cancelled);
    let mut small = open(&GpuOptions::default(), &LoadOptions { context_length: Some(40), ..LoadOptions::default() });
    let error = block_on(small.prepare_chat(&user(&"word ".repeat(60)), None)).unwrap_err();
    assert!(matches!(error, Error::ContextFull { context_length: 40, .. }), "{error}");
    assert_eq!(small.position(), 0);
}
