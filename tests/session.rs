//! Conversations with the embedded model: the right tokens, each read once, whatever interrupts
//! them.

mod ahead;
mod overflow;
mod places;
mod stopping;

use std::cell::Cell;
use std::rc::Rc;

use peregrine::Error;
use peregrine::chat::Message;
use peregrine::gpu::{Alter, DeviceKind, GpuOptions, Reduction, ShapeClass};
use peregrine::model::LoadOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{Finish, GenerateOptions, Generated, Overflow, Session};
use peregrine_tests::{
    argmax, assert_close, assert_same, checkpoint, device, golden_path, session, states, tiny_model, two_layers,
};
use pollster::block_on;
use serde_json::Value;

const FIRST: &str = "Tell me a short story about a cat.";
const SECOND: &str = "What is its name?";

fn open(options: &GpuOptions, load: &LoadOptions) -> Session {
    session(&device(options), &checkpoint(&tiny_model()), load)
}

/// For what depends on steps and samples, and not on what is said.
fn open_two_layers(options: &GpuOptions, load: &LoadOptions) -> Session {
    session(&device(options), &two_layers(), load)
}

fn fresh() -> Session {
    open(&GpuOptions::default(), &LoadOptions::default())
}

/// Kernels for GPUs, which sample at temperatures, too.
fn hardware() -> GpuOptions {
    GpuOptions { device: DeviceKind::Gpu, shapes: Some(ShapeClass::Hardware), ..GpuOptions::default() }
}

/// Another session over the same model.
fn beside(session: &Session) -> Session {
    Session::new(session.engine()).unwrap()
}

fn user(text: &str) -> Vec<Message> {
    vec![Message::new("user", text)]
}

fn greedy(max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, sampling: SamplingOptions::greedy(), ..GenerateOptions::default() }
}

/// Greedy all the same, but sampled on the host: the penalty is too small to change a choice.
fn greedy_on_the_host(max_tokens: u32) -> GenerateOptions {
    let sampling = SamplingOptions { repetition_penalty: 1.0 + f32::EPSILON, ..SamplingOptions::greedy() };
    GenerateOptions { sampling, ..greedy(max_tokens) }
}

fn sampled(seed: u64, max_tokens: u32) -> GenerateOptions {
    let sampling = SamplingOptions { temperature: 1.0, top_p: 0.95, seed, ..SamplingOptions::default() };
    GenerateOptions { max_tokens, sampling, ..GenerateOptions::default() }
}

fn ask(session: &mut Session, messages: &[Message], options: &GenerateOptions) -> Generated {
    block_on(session.chat(messages, options, &mut |_| true)).unwrap()
}

/// The conversation so far, the answer, and the next question.
fn then(mut messages: Vec<Message>, answer: &Generated, question: &str) -> Vec<Message> {
    messages.push(Message::new("assistant", &answer.text));
    messages.push(Message::new("user", question));
    messages
}

fn golden() -> Vec<Value> {
    let text = std::fs::read_to_string(golden_path("greedy.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["conversations"].as_array().unwrap().clone()
}

fn messages_of(conversation: &Value) -> Vec<Message> {
    let text = |m: &Value, key: &str| m[key].as_str().unwrap().to_string();
    let all = conversation["messages"].as_array().unwrap();
    all.iter().map(|m| Message::new(text(m, "role"), text(m, "content"))).collect()
}

/// The golden answers, without the end token.
fn assert_golden(options: &GpuOptions, how: fn(u32) -> GenerateOptions, conversations: &[Value]) {
    let mut session = open(options, &LoadOptions::default());
    assert!(!conversations.is_empty());
    for conversation in conversations {
        let name = conversation["name"].as_str().unwrap();
        let mut expected: Vec<u32> =
            conversation["answer_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let ends = session.engine().tokenizer().is_end(*expected.last().unwrap());
        if ends {
            expected.pop();
        }
        // Where the golden answer was cut, one token less than its length is asked for after the
        // last.
        let most = expected.len() as u32 + u32::from(ends);
        session.reset();
        let answer = ask(&mut session, &messages_of(conversation), &how(most));
        assert_eq!(answer.ids, expected, "{name}");
        assert_eq!(answer.finish, if ends { Finish::Stop } else { Finish::Length }, "{name}");
        assert_eq!(answer.text, conversation["answer"].as_str().unwrap(), "{name}");
        // What was not part of the answer has left no trace in the states.
        let read = answer.prompt_tokens + expected.len() as u32;
        assert!(session.position() <= read, "{name}: {} tokens read of {read}", session.position());
    }
}

#[test]
fn ten_conversations_are_transformers_token_for_token() {
    let all = golden();
    assert_eq!(all.len(), 10);
    for device in [DeviceKind::Cpu, DeviceKind::Gpu] {
        assert_golden(&GpuOptions { device, ..GpuOptions::default() }, greedy, &all);
    }
}

#[test]
fn fused_kernels_and_the_hosts_sampler_give_the_same_tokens() {
    let all = golden();
    assert_golden(&hardware(), greedy, &all[..2]);
    assert_golden(&GpuOptions::default(), greedy_on_the_host, &all[..2]);
}

#[test]
fn the_gpu_samples_the_hosts_answers() {
    for reduction in [Reduction::Workgroup, Reduction::Subgroup] {
        let options = GpuOptions { reduction: Some(reduction), ..hardware() };
        let mut session = open_two_layers(&options, &LoadOptions::default());
        assert!(session.engine().model().samples_at_temperatures());
        let mut beside = beside(&session);
        let mut texts = Vec::new();
        for seed in 0..3 {
            let sampling = |temperature, top_k, min_p| {
                let top_p = if seed == 0 { 1.0 } else { 0.9 };
                SamplingOptions { temperature, top_k, top_p, min_p, seed, ..SamplingOptions::default() }
            };
            let how = GenerateOptions {
                sampling: [sampling(1.0, 0, 0.0), sampling(1.3, 40, 0.0), sampling(0.8, 0, 0.02)][seed as usize]
                    .clone(),
                ..sampled(seed, 6)
            };
            // Log-probabilities are the host's, so it samples; they change nothing else.
            let on_the_host = GenerateOptions { logprobs: Some(0), ..how.clone() };
            let messages = user(FIRST);
            let found = ask(&mut session, &messages, &how);
            let expected = ask(&mut beside, &messages, &on_the_host);
            assert_eq!(found.ids, expected.ids, "{reduction:?}, seed {seed}");
            assert_eq!((&found.text, found.finish), (&expected.text, expected.finish));
            assert_eq!(session.logits(), beside.logits(), "{reduction:?}, seed {seed}");
            texts.push(found.text.clone());
            // And the next turn, which begins with logits that are on the host, whatever the seed.
            if seed == 1 {
                let messages = then(messages, &found, SECOND);
                let (found, expected) = (ask(&mut session, &messages, &how), ask(&mut beside, &messages, &on_the_host));
                assert_eq!(found.ids, expected.ids, "{reduction:?}, seed {seed}, second turn");
            }
            session.reset();
            beside.reset();
        }
        assert_ne!(texts[0], texts[1], "the samples say nothing");
    }
}

#[test]
fn a_stop_text_ends_a_sampled_answer_as_on_the_host() {
    let mut session = open_two_layers(&hardware(), &LoadOptions::default());
    let all = ask(&mut session, &user(FIRST), &sampled(3, 40));
    let stop: String = all.text.chars().skip(all.text.chars().count() / 2).take(4).collect();
    let how = GenerateOptions { stop: vec![stop.clone()], ..sampled(3, 40) };
    let (mut ahead, mut plain) = (beside(&session), beside(&session));
    let found = ask(&mut ahead, &user(FIRST), &how);
    let expected = ask(&mut plain, &user(FIRST), &GenerateOptions { logprobs: Some(0), ..how });
    assert_eq!(found.finish, Finish::Stop);
    assert_eq!((&found.ids, &found.text), (&expected.ids, &expected.text));
    assert!(found.ids.len() < all.ids.len() && !found.text.contains(&stop));
    // The host has not run the last token yet.
    for session in [&mut ahead, &mut plain] {
        block_on(session.prefill(&[])).unwrap();
    }
    assert_same(&states(&ahead), &states(&plain), "after a stop text");
}

#[test]
fn an_end_token_leaves_the_states_as_if_nothing_had_followed() {
    let often_ends = SamplingOptions { temperature: 0.9, top_p: 0.9, seed: 4, ..SamplingOptions::default() };
    let sampled = GenerateOptions { max_tokens: 200, sampling: often_ends, ..GenerateOptions::default() };
    let software = GpuOptions { shapes: Some(ShapeClass::Software), ..hardware() };
    let processor = GpuOptions { device: DeviceKind::Cpu, ..GpuOptions::default() };
    for (name, options, how) in [
        ("software shapes", software, greedy(60)),
        ("GPU shapes", hardware(), greedy(60)),
        ("GPU shapes, sampled", hardware(), sampled),
        ("processor", processor, greedy(60)),
    ] {
        let mut ahead = open(&options, &LoadOptions::default());
        let answer = ask(&mut ahead, &user("Hello!"), &how);
        assert_eq!(answer.finish, Finish::Stop);
        // The same answer again, with the tokens known: nothing is sampled, and nothing is run
        // ahead.
        let mut plain = beside(&ahead);
        let prompt = block_on(plain.chat(&user("Hello!"), &greedy(0), &mut |_| true)).unwrap();
        assert!(prompt.ids.is_empty());
        block_on(plain.prefill(&[])).unwrap();
        for id in &answer.ids {
            block_on(plain.prefill(&[*id])).unwrap();
        }
        assert_same(&states(&ahead), &states(&plain), name);
        assert_eq!(ahead.logits(), plain.logits(), "{name}");
        if how.sampling.is_greedy() {
            assert!(ahead.engine().tokenizer().is_end(argmax(ahead.logits()) as u32));
        }
        // What the host gives next is read, though the GPU had stopped.
        for session in [&mut ahead, &mut plain] {
            block_on(session.prefill(&[634])).unwrap();
        }
        assert_same(&states(&ahead), &states(&plain), &format!("{name}, one more"));
    }
}

#[test]
fn the_next_question_costs_only_its_own_tokens() {
    let mut session = fresh();
    let first = ask(&mut session, &user(FIRST), &greedy(24));
    assert_eq!((first.cached_tokens, first.ids.len()), (0, 24));
    let read = session.position();
    let conversation = then(user(FIRST), &first, SECOND);
    let second = ask(&mut session, &conversation, &greedy(8));
    assert_eq!(second.cached_tokens, read, "all that had been read counts as read");
    let whole = beside(&session)
        .engine()
        .tokenizer()
        .encode(&session.engine().chat_template().unwrap().render(&conversation, true).unwrap(), false);
    assert_eq!(second.prompt_tokens as usize, whole.unwrap().len(), "nothing is read twice or left out");
    // Read at once by another session, the conversation goes on with the same words.
    let again = ask(&mut beside(&session), &conversation, &greedy(8));
    assert_eq!((again.cached_tokens, &again.ids), (0, &second.ids));
}

#[test]
fn an_edited_history_is_read_again() {
    let mut session = fresh();
    let first = ask(&mut session, &user(FIRST), &greedy(12));
    let edited = then(user("Tell me a short story about a dog."), &first, SECOND);
    let answer = ask(&mut session, &edited, &greedy(12));
    assert_eq!(answer.cached_tokens, 0);
    let expected = ask(&mut beside(&session), &edited, &greedy(12));
    assert_eq!(answer.ids, expected.ids);
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let mut session = fresh();
    let mut answer = |seed| {
        session.reset();
        ask(&mut session, &user(FIRST), &sampled(seed, 16)).ids
    };
    let first = answer(1);
    assert_eq!(first, answer(1));
    assert!((2..6).any(|seed| answer(seed) != first), "five seeds, one text");
}

#[test]
fn a_warmed_session_is_a_fresh_one() {
    let mut warmed = open_two_layers(&hardware(), &LoadOptions::default());
    let mut fresh = beside(&warmed);
    block_on(warmed.warm_up()).unwrap();
    assert_eq!((warmed.position(), warmed.snapshots().0, warmed.logits().len()), (0, 0, 0));
    assert_same(&states(&warmed), &states(&fresh), "warmed");
    for how in [greedy(6), sampled(3, 6)] {
        let (found, expected) = (ask(&mut warmed, &user("Hello!"), &how), ask(&mut fresh, &user("Hello!"), &how));
        assert_eq!((found.ids, found.cached_tokens), (expected.ids, expected.cached_tokens));
        assert_same(&states(&warmed), &states(&fresh), "after an answer");
    }
    // What has been read is not lost.
    let before = states(&warmed);
    block_on(warmed.warm_up()).unwrap();
    assert_same(&states(&warmed), &before, "warmed once more");
}

#[test]
fn sessions_side_by_side_do_not_disturb_each_other() {
    let mut one = fresh();
    let mut two = beside(&one);
    let alone: Vec<Generated> =
        [FIRST, "Hello!"].iter().map(|q| ask(&mut beside(&one), &user(q), &greedy(10))).collect();
    // Token by token in turns.
    let (mut first, mut second) = (Vec::new(), Vec::new());
    first.extend(ask(&mut one, &user(FIRST), &greedy(1)).ids);
    second.extend(ask(&mut two, &user("Hello!"), &greedy(1)).ids);
    for _ in 1..10 {
        first.extend(block_on(one.generate(&greedy(1), &mut |_| true)).unwrap().ids);
        second.extend(block_on(two.generate(&greedy(1), &mut |_| true)).unwrap().ids);
    }
    assert_eq!(first, alone[0].ids);
    assert_eq!(second, alone[1].ids);
}

#[test]
fn a_growing_cache_changes_nothing() {
    // 250 tokens, then one by one over the border at 256; against all of them at once.
    let ids: Vec<u32> = (0..262).map(|i| 300 + 37 * i % 5000).collect();
    let mut grows = fresh();
    block_on(grows.prefill(&ids[..250])).unwrap();
    assert_eq!((grows.state().capacity(), grows.engine().model().kv().pages()), (256, (2, 2)));
    for id in &ids[250..] {
        block_on(grows.prefill(&[*id])).unwrap();
    }
    assert_eq!((grows.state().capacity(), grows.engine().model().kv().pages()), (384, (4, 3)));
    let mut at_once = beside(&grows);
    block_on(at_once.prefill(&ids)).unwrap();
    assert_close("logits", grows.logits(), at_once.logits(), 2e-4);
}

#[test]
fn every_end_token_ends() {
    let session = fresh();
    let tokenizer = session.engine().tokenizer();
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(golden_path("greedy.json")).unwrap()).unwrap();
    let stops: Vec<u32> = golden["stop"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    assert_eq!(stops.len(), 2);
    for id in &stops {
        assert!(tokenizer.is_end(*id) && tokenizer.end_tokens().contains(id), "{id}");
    }
    assert!((0..tokenizer.vocab_size()).filter(|id| tokenizer.is_end(*id)).eq(tokenizer.end_tokens().iter().copied()));
}

#[test]
fn ignoring_the_end_goes_on() {
    let mut session = fresh();
    let options = GenerateOptions { ignore_end: true, ..greedy(20) };
    let on = ask(&mut session, &user("Hello!"), &options);
    assert_eq!((on.finish, on.ids.len()), (Finish::Length, 20));
    assert!(on.ids.iter().any(|id| session.engine().tokenizer().is_end(*id)));
}

#[test]
fn a_penalty_changes_the_words() {
    let mut session = fresh();
    let plain = ask(&mut session, &user(FIRST), &greedy(24));
    session.reset();
    let sampling = SamplingOptions { repetition_penalty: 3.0, ..SamplingOptions::greedy() };
    let options = GenerateOptions { sampling, ..greedy(24) };
    let penalized = ask(&mut session, &user(FIRST), &options);
    assert_ne!(plain.ids, penalized.ids);
    assert!(penalized.ids.len() > 1);
}

#[test]
fn nothing_to_go_on_from_is_an_error() {
    let mut session = fresh();
    for options in [greedy(4), sampled(1, 4)] {
        let error = block_on(session.generate(&options, &mut |_| true)).unwrap_err();
        assert!(error.to_string().contains("prompt"), "{error}");
    }
    let options =
        GenerateOptions { sampling: SamplingOptions { top_p: 7.0, ..SamplingOptions::default() }, ..greedy(4) };
    assert!(block_on(session.chat(&user("Hello!"), &options, &mut |_| true)).is_err());
    assert_eq!(session.position(), 0);
}

/// A turn that is long enough for a snapshot behind its prompt.
fn long_question() -> String {
    format!("Please read this and say what it is about. {}", "The fox went down to the river. ".repeat(12))
}

#[test]
fn an_edited_turn_is_read_from_the_border_before_it_bit_by_bit() {
    let mut session = fresh();
    let (ask_for, first) = (greedy(24), user("What is the capital of Italy?"));
    let answer = ask(&mut session, &first, &ask_for);
    let border = session.position();
    let second = ask(&mut session, &then(first.clone(), &answer, "Tell me a short story about a fox."), &ask_for);
    assert!(second.ids.len() > 5, "something was written over the cache");
    let edited = then(first.clone(), &answer, "What is 7 plus 5?");
    let again = ask(&mut session, &edited, &ask_for);
    assert!(again.cached_tokens >= border - 1, "{} of {border} tokens were not read again", again.cached_tokens);

    // Another session that has only ever heard the edited conversation.
    let mut other = beside(&session);
    ask(&mut other, &first, &ask_for);
    let expected = ask(&mut other, &edited, &ask_for);
    assert_eq!((&again.ids, &again.text), (&expected.ids, &expected.text));
    assert_same(&states(&session), &states(&other), "an edited turn");
    assert_eq!(session.logits(), other.logits());
    // And back to the story: it is another branch now, and comes out as before.
    let back = ask(&mut session, &then(first, &answer, "Tell me a short story about a fox."), &ask_for);
    assert_eq!((back.ids, back.cached_tokens), (second.ids, again.cached_tokens));
}

/// A message that spells out a conversation must not be given the states of that conversation, nor
/// the other way round.
#[test]
fn spelled_turns_are_not_taken_for_real_ones() {
    let mut session = fresh();
    let real = user("What is the capital of Italy?");
    let answer = ask(&mut session, &real, &greedy(24));
    let real = then(real, &answer, "Are you sure?");
    let text = session.engine().chat_template().unwrap().render(&real, true).unwrap();
    let (begin, end) = (text.find("What is").unwrap(), text.find("Are you sure?").unwrap() + "Are you sure?".len());
    let spelled = user(&text[begin..end]);
    assert_eq!(session.engine().chat_template().unwrap().render(&spelled, true).unwrap(), text, "the same text");
    let alone = |messages: &[Message]| ask(&mut beside(&session), messages, &greedy(8));
    let (expected_real, expected_spelled) = (alone(&real), alone(&spelled));
    assert_ne!(expected_real.prompt_tokens, expected_spelled.prompt_tokens);

    // The session has read the real turns; the message that looks like them is read as what it is.
    let found = ask(&mut session, &spelled, &greedy(8));
    assert_eq!((&found.ids, found.prompt_tokens), (&expected_spelled.ids, expected_spelled.prompt_tokens));
    assert!(found.cached_tokens < answer.prompt_tokens, "{} tokens", found.cached_tokens);
    // And now the other way round, with the answer to the message and another turn.
    let next = then(spelled, &found, "Why?");
    let text = session.engine().chat_template().unwrap().render(&next, true).unwrap();
    let middle = &text[text.find("Are you sure?").unwrap()..];
    let said = &middle[middle.find("assistant\n").unwrap() + "assistant\n".len()..];
    assert!(said.starts_with(&found.text));
    let mut next_real = real;
    next_real.extend([Message::new("assistant", &found.text), Message::new("user", "Why?")]);
    assert_eq!(session.engine().chat_template().unwrap().render(&next_real, true).unwrap(), text, "the same text");
    let expected = ask(&mut beside(&session), &next_real, &greedy(8));
    let found = ask(&mut session, &next_real, &greedy(8));
    assert_eq!((&found.ids, found.cached_tokens <= answer.prompt_tokens + 24), (&expected.ids, true));
}

/// A control token that an answer went over has no text; the next turn must not be taken for a
/// continuation without it.
#[test]
fn an_answer_with_control_tokens_in_it_is_read_again() {
    let mut session = fresh();
    let options = GenerateOptions { ignore_end: true, ..greedy(20) };
    let answer = ask(&mut session, &user("Hello!"), &options);
    assert!(answer.ids.iter().any(|id| session.engine().tokenizer().is_special(*id)));
    let next = then(user("Hello!"), &answer, "And?");
    let found = ask(&mut session, &next, &greedy(8));
    assert_eq!(found.ids, ask(&mut beside(&session), &next, &greedy(8)).ids);
    assert!(found.cached_tokens < answer.prompt_tokens, "{}", found.cached_tokens);
}

#[test]
fn the_same_question_again_costs_at_most_one_token_of_a_long_prompt() {
    for how in [greedy(16), sampled(7, 16)] {
        let mut session = fresh();
        let question = user(&long_question());
        let first = ask(&mut session, &question, &how);
        let (before, logits) = (states(&session), session.logits().to_vec());
        let again = ask(&mut session, &question, &how);
        assert_eq!(again.ids, first.ids);
        assert_eq!(first.cached_tokens, 0);
        assert!(again.cached_tokens >= again.prompt_tokens - 1, "{} of {}", again.cached_tokens, again.prompt_tokens);
        assert_same(&states(&session), &before, "the same question again");
        assert_eq!(session.logits(), logits);
    }
}

#[test]
fn completions_go_back_too() {
    let mut session = fresh();
    let tokenizer = session.engine().tokenizer();
    let stem = tokenizer.encode(&long_question(), true).unwrap();
    let mut branch = |tail: &str| {
        let mut ids = stem.clone();
        ids.extend(session.engine().tokenizer().encode(tail, false).unwrap());
        block_on(session.complete(&ids, &greedy(8), &mut |_| true)).unwrap()
    };
    let bare = branch("");
    let one = branch(" It ran.");
    assert_eq!(bare.cached_tokens, 0);
    assert!(one.cached_tokens >= stem.len() as u32 - 1, "{} of {}", one.cached_tokens, stem.len());
    assert_eq!(branch("").ids, bare.ids);
    assert_eq!(branch(" It ran.").ids, one.ids);
}

#[test]
fn a_fork_goes_its_own_way_and_disturbs_nobody() {
    // Enough tokens for the cache to have grown, too.
    let load = LoadOptions { context_length: Some(1024), ..LoadOptions::default() };
    let mut session = open(&GpuOptions::default(), &load);
    let question = user(&format!("{} {}", long_question(), "And it slept. ".repeat(50)));
    let answer = ask(&mut session, &question, &greedy(8));
    assert!(session.position() > 256, "{}", session.position());
    let mut fork = session.fork().unwrap();
    assert_same(&states(&fork), &states(&session), "a fork");
    let (cat, dog) = (then(question.clone(), &answer, "Why?"), then(question, &answer, "Who are you?"));
    let of_fork = ask(&mut fork, &dog, &greedy(12));
    let of_first = ask(&mut session, &cat, &greedy(12));
    assert!(of_fork.cached_tokens > 250 && of_first.cached_tokens > 250);
    assert_ne!(of_fork.ids, of_first.ids);
    // What another session says that has read all of it itself.
    for (messages, found) in [(cat, of_first), (dog, of_fork)] {
        assert_eq!(ask(&mut beside(&session), &messages, &greedy(12)).ids, found.ids);
    }
}
