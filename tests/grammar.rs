//! Answers under a constraint by layers of the embedded model: the same tokens however they are
//! sampled, within what the constraint allows, and nothing else of a session changes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use peregrine::chat::Message;
use peregrine::constraint::{Compiler, Constraint, Grammar, Spec, allow};
use peregrine::gpu::{Alter, GpuOptions, ShapeClass};
use peregrine::model::LoadOptions;
use peregrine::sampling::SamplingOptions;
use peregrine::session::{Finish, GenerateOptions, Generated, Piece, Session};
use peregrine::{Error, Result};
use peregrine_grammar::Grammars;
use peregrine_tests::{assert_same, device, gpu, processor, session, states, two_layers};
use pollster::block_on;
use serde_json::{Value, json};

fn open() -> Session {
    session(&device(&GpuOptions::default()), &two_layers(), &LoadOptions::default())
}

/// Where answers are sampled by shaders.
fn on_a_gpu(shapes: ShapeClass) -> Session {
    let options = GpuOptions { shapes: Some(shapes), ..GpuOptions::default() };
    session(&gpu(&options), &two_layers(), &LoadOptions::default())
}

fn beside(session: &Session) -> Session {
    Session::new(session.engine()).unwrap()
}

fn user(text: &str) -> Vec<Message> {
    vec![Message::new("user", text)]
}

fn compiled(session: &Session, spec: &Spec) -> Rc<dyn Grammar> {
    Grammars::new(session.engine().shared_tokenizer()).compile(spec).unwrap()
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "animal": {"enum": ["cat", "dog", "horse"]},
            "name": {"type": "string", "maxLength": 4},
            "years_of_age": {"type": "integer", "minimum": 0, "maximum": 99},
            "likes": {"type": "array", "items": {"enum": ["milk", "fish"]}, "maxItems": 1},
        },
        "required": ["animal", "name", "years_of_age", "likes"],
        "additionalProperties": false,
    })
}

fn by_schema() -> Spec {
    Spec::JsonSchema { schema: schema(), strict: true }
}

fn greedy(grammar: &Rc<dyn Grammar>) -> GenerateOptions {
    let sampling = SamplingOptions::greedy();
    GenerateOptions { max_tokens: 120, sampling, grammar: Some(grammar.clone()), ..GenerateOptions::default() }
}

fn sampled(grammar: &Rc<dyn Grammar>, seed: u64) -> GenerateOptions {
    let sampling = SamplingOptions { temperature: 1.0, top_p: 0.95, seed, ..SamplingOptions::default() };
    GenerateOptions { sampling, ..greedy(grammar) }
}

/// The same sampled on the host: the penalty is too small to change a choice.
fn on_the_host(options: GenerateOptions) -> GenerateOptions {
    let sampling = SamplingOptions { repetition_penalty: 1.0 + f32::EPSILON, ..options.sampling };
    GenerateOptions { sampling, ..options }
}

fn ask(session: &mut Session, options: &GenerateOptions) -> (Generated, Vec<Piece>) {
    let mut pieces = Vec::new();
    let mut keep = |piece| {
        pieces.push(piece);
        true
    };
    let answer = block_on(session.chat(&user("Tell me about a cat."), options, &mut keep)).unwrap();
    (answer, pieces)
}

fn validates(text: &str) -> bool {
    let document: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    jsonschema::validator_for(&schema()).unwrap().is_valid(&document)
}

#[test]
fn an_answer_by_schema_is_the_same_however_it_is_sampled() {
    let hardware = on_a_gpu(ShapeClass::Hardware);
    let (mut software, mut processor) =
        (on_a_gpu(ShapeClass::Software), session(&processor(), &two_layers(), &LoadOptions::default()));
    let grammar = compiled(&hardware, &by_schema());
    let mut texts = Vec::new();
    for options in [greedy(&grammar), sampled(&grammar, 1), sampled(&grammar, 2)] {
        let (answer, pieces) = ask(&mut beside(&hardware), &options);
        assert_eq!(answer.finish, Finish::Stop, "{}", answer.text);
        assert!(validates(&answer.text), "{}", answer.text);
        assert_eq!(pieces.iter().map(|piece| piece.token).collect::<Vec<_>>(), answer.ids);
        assert_eq!(pieces.iter().map(|piece| piece.text.as_str()).collect::<String>(), answer.text);
        // The host samples the same whatever computes the logits, and the processor is fast.
        let with_logprobs = GenerateOptions { logprobs: Some(2), ..options.clone() };
        for (what, other) in [
            ("on a software adapter", ask(&mut software, &options)),
            ("on the processor", ask(&mut processor, &options)),
            ("with a penalty", ask(&mut processor, &on_the_host(options.clone()))),
            ("with log-probabilities", ask(&mut processor, &with_logprobs)),
        ] {
            assert_eq!(other.0.ids, answer.ids, "{what}: {} and {}", other.0.text, answer.text);
        }
        texts.push(answer.text);
    }
    texts.sort();
    texts.dedup();
    assert!(texts.len() > 1, "seeds: {texts:?}");
}

/// Masks are tried on the device before the first answer that needs them; where they are wrong, the
/// host samples.
#[test]
fn a_kernel_that_masks_wrongly_is_not_used() {
    let mut right = session(&processor(), &two_layers(), &LoadOptions::default());
    let grammar = compiled(&right, &by_schema());
    // One that only samples at a temperature show, and one that only the likeliest token shows.
    let faults: [(Alter, GenerateOptions); 2] = [
        (|name, source| alter(name, source, "select(0xff800000u, bits, allowed)", "bits"), sampled(&grammar, 4)),
        (|name, source| alter(name, source, "} else if (allowed) {", "} else {"), greedy(&grammar)),
    ];
    for (fault, asked) in faults {
        let options = GpuOptions { shapes: Some(ShapeClass::Hardware), alter: Some(fault), ..GpuOptions::default() };
        let mut wrong = session(&gpu(&options), &two_layers(), &LoadOptions::default());
        assert_eq!(ask(&mut wrong, &asked).0.ids, ask(&mut right, &asked).0.ids);
    }
}

fn alter(name: &str, source: String, from: &str, to: &str) -> String {
    if name != "masked_candidates" {
        return source;
    }
    let changed = source.replace(from, to);
    assert_ne!(changed, source);
    changed
}

#[test]
fn penalties_and_filters_work_under_a_mask() {
    let session = open();
    let grammar = compiled(&session, &by_schema());
    let plain = ask(&mut beside(&session), &sampled(&grammar, 5)).0;
    let base = sampled(&grammar, 5);
    let mut different = 0;
    for sampling in [
        SamplingOptions { repetition_penalty: 1.5, ..base.sampling.clone() },
        SamplingOptions { presence_penalty: 2.0, frequency_penalty: 2.0, ..base.sampling.clone() },
        SamplingOptions { logit_bias: (0..200).map(|id| (id, -50.0)).collect(), ..base.sampling.clone() },
        SamplingOptions { top_k: 3, ..base.sampling.clone() },
        SamplingOptions { temperature: 3.0, top_p: 1.0, ..base.sampling.clone() },
    ] {
        let options = GenerateOptions { sampling, ..base.clone() };
        let answer = ask(&mut beside(&session), &options).0;
        assert!(answer.finish == Finish::Stop && validates(&answer.text), "{:?}: {}", options.sampling, answer.text);
        different += u32::from(answer.ids != plain.ids);
    }
    assert!(different > 1, "{different}");
}

#[test]
fn logprobs_are_those_of_the_tokens_that_may_come() {
    let mut session = open();
    let grammar = compiled(&session, &Spec::Choice(["yes", "no", "nobody", "yesterday"].map(String::from).to_vec()));
    let (answer, pieces) = ask(&mut session, &GenerateOptions { logprobs: Some(20), ..greedy(&grammar) });
    assert!(["yes", "no", "nobody", "yesterday"].contains(&answer.text.as_str()), "{}", answer.text);
    for piece in pieces {
        let found = piece.logprobs.unwrap();
        assert!(found.top.len() < 20 && found.top.iter().any(|(token, _)| *token == piece.token));
        let sum: f32 = found.top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "all that may come, renormalized: {sum}");
    }
}

/// A constraint that counts its calls: of the letters of some texts, in order, any number of times.
struct Letters {
    allowed: Vec<u32>,
    forced: Vec<Vec<u32>>,
    calls: Rc<RefCell<Vec<String>>>,
    at: usize,
    least: usize,
    most: usize,
}

#[derive(Clone)]
struct LettersGrammar {
    allowed: Vec<u32>,
    forced: Vec<Vec<u32>>,
    least: usize,
    most: usize,
    calls: Rc<RefCell<Vec<String>>>,
}

impl Grammar for LettersGrammar {
    fn begin(&self) -> Result<Box<dyn Constraint>> {
        let Self { allowed, forced, least, most, calls } = self.clone();
        Ok(Box::new(Letters { allowed, forced, calls, at: 0, least, most }))
    }
}

impl Constraint for Letters {
    fn mask(&mut self, mask: &mut [u32]) -> Result<()> {
        assert!(mask.iter().all(|word| *word == 0));
        self.calls.borrow_mut().push("mask".into());
        self.allowed.iter().for_each(|token| allow(mask, *token, true));
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        self.calls.borrow_mut().push(format!("accept {token}"));
        self.at += 1;
        Ok(())
    }

    fn forced(&mut self) -> Result<Vec<u32>> {
        Ok(self.forced.get(self.at).cloned().unwrap_or_default())
    }

    fn may_end(&mut self) -> bool {
        self.at >= self.least
    }

    fn is_finished(&mut self) -> bool {
        self.at >= self.most
    }
}

/// Letters of `text` after those that are forced, in all `least` to `most` tokens.
fn letters(session: &Session, text: &str, forced: &str, least: usize, most: usize) -> LettersGrammar {
    let encode = |text: &str| session.engine().tokenizer().encode_plain(text).unwrap();
    LettersGrammar { allowed: encode(text), forced: vec![encode(forced)], least, most, calls: Rc::default() }
}

#[test]
fn tokens_that_must_come_are_read_and_told_but_not_sampled() {
    let session = on_a_gpu(ShapeClass::Hardware);
    let text = "the story of a cat and a dog";
    let tokens = session.engine().tokenizer().encode_plain(text).unwrap();
    let grammar = letters(&session, " moon", text, tokens.len() + 1, tokens.len() + 1);
    let calls = grammar.calls.clone();
    let options = greedy(&(Rc::new(grammar) as Rc<dyn Grammar>));
    let mut one = beside(&session);
    let (answer, pieces) = ask(&mut one, &GenerateOptions { logprobs: Some(2), ..options.clone() });
    assert!(answer.ids.starts_with(&tokens) && answer.ids.len() == tokens.len() + 1 && answer.finish == Finish::Stop);
    assert!(answer.text.starts_with(text) && answer.text.len() > text.len(), "{}", answer.text);
    assert_eq!(calls.borrow().iter().filter(|call| *call == "mask").count(), 1, "one token was sampled");
    let certain = pieces[0].logprobs.clone().unwrap();
    assert_eq!((certain.logprob, certain.top), (0.0, vec![(tokens[0], 0.0)]));

    // What was not sampled has been read all the same.
    let prompt = one.position();
    block_on(one.prefill(&[])).unwrap();
    assert_eq!(one.position(), answer.prompt_tokens + answer.ids.len() as u32, "{prompt}");

    // Cut short in the middle of them, by the most tokens and by the caller, and continued.
    for most in [1, 2, tokens.len() as u32 - 1] {
        let (cut, _) = ask(&mut beside(&session), &GenerateOptions { max_tokens: most, ..options.clone() });
        assert_eq!((cut.ids.as_slice(), cut.finish), (&tokens[..most as usize], Finish::Length));
    }
    let mut heard = 0;
    let mut stopped = beside(&session);
    let mut stop = |_| {
        heard += 1;
        heard < 3
    };
    let cut = block_on(stopped.chat(&user("Tell me about a cat."), &options, &mut stop)).unwrap();
    assert_eq!((cut.ids.as_slice(), cut.finish), (&tokens[..3], Finish::Cancelled));
    let stop_text = GenerateOptions { stop: vec!["story of".into()], ..options };
    let (cut, _) = ask(&mut stopped, &stop_text);
    assert_eq!((cut.text.as_str(), cut.finish), ("the ", Finish::Stop));
}

#[test]
fn end_tokens_come_where_the_constraint_lets_them() {
    let session = open();
    let tokenizer = session.engine().tokenizer();
    let ends = tokenizer.end_tokens().to_vec();
    let grammar: Rc<dyn Grammar> = Rc::new(letters(&session, " moon", "", 2, 6));
    // A bias makes the end tokens the likeliest of all: they still do not come before two letters.
    for host in [false, true] {
        let mut options = greedy(&grammar);
        if host {
            options.sampling.logit_bias = ends.iter().map(|end| (*end, 100.0)).collect();
        }
        let (answer, _) = ask(&mut beside(&session), &options);
        assert!(answer.ids.len() >= 2 && answer.finish == Finish::Stop, "{}", answer.text);
        if host {
            assert_eq!(answer.ids.len(), 2);
        }
        let (longest, _) = ask(&mut beside(&session), &GenerateOptions { ignore_end: true, ..options });
        assert_eq!((longest.ids.len(), longest.finish), (6, Finish::Stop), "to where nothing can follow");
    }
}

#[test]
fn a_mask_without_tokens_is_an_error_and_the_session_goes_on() {
    for mut session in [on_a_gpu(ShapeClass::Hardware), on_a_gpu(ShapeClass::Software), open()] {
        let ask = || user("Tell me about a cat.");
        let free =
            GenerateOptions { max_tokens: 10, sampling: SamplingOptions::greedy(), ..GenerateOptions::default() };
        let fresh = block_on(beside(&session).chat(&ask(), &free, &mut |_| true)).unwrap();
        // At once, and behind some tokens of an answer.
        for begins in ["", "A cat has"] {
            let nothing: Rc<dyn Grammar> = Rc::new(letters(&session, "", begins, 20, 20));
            for options in [greedy(&nothing), sampled(&nothing, 1), on_the_host(greedy(&nothing))] {
                let failed = block_on(session.chat(&ask(), &options, &mut |_| true));
                assert!(matches!(failed, Err(Error::Grammar { .. })), "{failed:?}");
                let after = block_on(session.chat(&ask(), &free, &mut |_| true)).unwrap();
                assert_eq!((&after.ids, after.prompt_tokens), (&fresh.ids, fresh.prompt_tokens), "{begins}");
            }
        }
    }
}

/// What the mask did to the logits of the last token is not what the next answer begins with.
#[test]
fn an_answer_leaves_the_models_own_logits() {
    let mut session = on_a_gpu(ShapeClass::Hardware);
    let grammar: Rc<dyn Grammar> = Rc::new(letters(&session, " moon", "", 3, 3));
    let prompt = session.engine().tokenizer().encode("Once upon a time", true).unwrap();
    for options in [greedy(&grammar), sampled(&grammar, 1), on_the_host(greedy(&grammar))] {
        session.reset();
        block_on(session.prefill(&prompt)).unwrap();
        let answer = block_on(session.generate(&options, &mut |_| true)).unwrap();
        assert_eq!(answer.ids.len(), 3);
        block_on(session.prefill(&[])).unwrap();
        let mut fresh = beside(&session);
        block_on(fresh.prefill(&prompt)).unwrap();
        for token in &answer.ids {
            block_on(fresh.prefill(&[*token])).unwrap();
        }
        assert!(session.logits().iter().all(|logit| logit.is_finite()));
        assert_same(&states(&session), &states(&fresh), "states");
        assert_eq!(session.logits(), fresh.logits());
    }
}

#[test]
fn turns_after_an_answer_by_schema_read_only_what_is_new() {
    let mut session = on_a_gpu(ShapeClass::Hardware);
    let grammar = compiled(&session, &by_schema());
    let (answer, _) = ask(&mut session, &greedy(&grammar));
    let mut messages = user("Tell me about a cat.");
    messages.push(Message::new("assistant", answer.text.clone()));
    messages.push(Message::new("user", "And about a dog."));
    let second = block_on(session.chat(&messages, &greedy(&grammar), &mut |_| true)).unwrap();
    assert!(second.cached_tokens as usize > answer.ids.len(), "{} of {}", second.cached_tokens, second.prompt_tokens);
    assert!(validates(&second.text));
    // An answer that its caller no longer waits for is forgotten.
    let dropped = Cell::new(false);
    {
        let options = greedy(&grammar);
        let mut hear = |_| true;
        let mut future = Box::pin(session.chat(&messages, &options, &mut hear));
        let waker = std::task::Waker::noop();
        for _ in 0..3 {
            dropped.set(future.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
            if !dropped.get() {
                break;
            }
        }
    }
    let again = block_on(session.chat(&messages, &greedy(&grammar), &mut |_| true)).unwrap();
    assert_eq!(again.ids, second.ids);
}

#[test]
fn a_small_chunk_and_a_full_context_are_no_obstacle() {
    let load = LoadOptions { chunk: Some(1), context_length: Some(64), ..LoadOptions::default() };
    let mut small = session(&device(&GpuOptions::default()), &two_layers(), &load);
    let text = "the story of a cat and a dog and ".repeat(10);
    let grammar: Rc<dyn Grammar> = Rc::new(letters(&small, " moon", &text, 1000, 1000));
    let (answer, _) = ask(&mut small, &greedy(&grammar));
    assert_eq!(answer.finish, Finish::Context);
    assert_eq!(answer.prompt_tokens as usize + answer.ids.len(), 65, "the last is sampled and not read");
    assert!(text.starts_with(&answer.text));
}
