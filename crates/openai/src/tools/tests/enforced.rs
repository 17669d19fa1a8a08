//! Answers sampled at random from what is allowed: their calls are right, and everything else is
//! free.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use peregrine::chat::CallFormat;
use peregrine::checkpoint::Checkpoint;
use peregrine::constraint::{Compiler, Constraint, Grammar, Spec, allows, mask_words};
use peregrine::tokenizer::Tokenizer;
use peregrine_grammar::Grammars;
use pollster::block_on;
use serde_json::{Value, json};

use super::super::{Enforced, Parser, calls};
use super::{All, parsed};
use crate::request::{ChatRequest, ToolChoice};

pub(super) struct Model {
    tokenizer: Arc<Tokenizer>,
    pub grammars: Grammars,
    vocab_size: u32,
}

pub(super) fn model() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    let checkpoint = block_on(Checkpoint::open(path.to_str().unwrap())).unwrap();
    let vocab_size = checkpoint.config.vocab_size;
    let tokenizer = Arc::new(Tokenizer::new(&checkpoint.tokenizer, vocab_size).unwrap());
    Model { grammars: Grammars::new(tokenizer.clone()), tokenizer, vocab_size }
}

fn request() -> ChatRequest {
    let rain = json!({ "type": "object", "required": ["town"], "$defs": { "unit": { "enum": ["C", "F"] } },
        "properties": { "town": { "enum": ["Oslo", "Rome"] }, "unit": { "$ref": "#/$defs/unit" } } });
    let parameters = json!({ "type": "object", "properties": { "on": { "type": "boolean" } } });
    ChatRequest::parse(&json!({ "messages": [{ "role": "user", "content": "Hi" }], "tools": [
        { "type": "function", "function": { "name": "rain", "parameters": rain } },
        { "type": "function", "function": { "name": "switch", "parameters": parameters } },
        { "type": "function", "function": { "name": "now" } },
    ] }))
    .unwrap()
}

impl Model {
    fn grammar(&self, format: CallFormat, required: bool, once: bool, thinks: bool) -> Rc<dyn Grammar> {
        let mut request = request();
        request.parallel_tool_calls = !once;
        let calls = calls(&request, format, Some(&self.grammars)).unwrap().unwrap().grammar.unwrap();
        let once = once || format == CallFormat::Array;
        Rc::new(Enforced { calls, tokenizer: self.tokenizer.clone(), format: None, required, once, thinks })
    }

    /// The calls, or an answer of this format.
    fn beside(&self, format: &Spec, thinks: bool) -> Enforced {
        let calls = calls(&request(), CallFormat::Object, Some(&self.grammars)).unwrap().unwrap().grammar.unwrap();
        let format = Some(self.grammars.compile(format).unwrap());
        Enforced { calls, tokenizer: self.tokenizer.clone(), format, required: false, once: false, thinks }
    }

    fn text(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, true).unwrap()
    }

    /// Up to so many tokens, sampled by `sample` where there is a choice; whether the answer has
    /// ended.
    fn walk(
        &self,
        constraint: &mut dyn Constraint,
        most: usize,
        sample: &mut dyn FnMut(&[u32]) -> u32,
    ) -> (Vec<u32>, bool) {
        let mut ids = Vec::new();
        while ids.len() < most {
            if constraint.is_finished() {
                return (ids, true);
            }
            let mut next = constraint.forced().unwrap();
            if next.is_empty() {
                let mut mask = vec![0; mask_words(self.vocab_size)];
                constraint.mask(&mut mask).unwrap();
                let end = constraint.may_end();
                let is_text = |id: &u32| allows(&mask, *id) && !self.tokenizer.is_special(*id);
                let mut may: Vec<u32> = (0..self.vocab_size).filter(is_text).collect();
                may.extend(end.then_some(u32::MAX));
                next = vec![sample(&may)];
            }
            for id in next {
                if id == u32::MAX {
                    return (ids, true);
                }
                constraint.accept(id).unwrap();
                ids.push(id);
            }
        }
        (ids, false)
    }
}

/// Numbers that look like chance, and are the same in every run.
fn chance(seed: u64) -> impl FnMut(&[u32]) -> u32 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |may| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        may[(state % may.len() as u64) as usize]
    }
}

fn check(all: &All) -> BTreeSet<String> {
    let request = request();
    for (name, arguments) in &all.calls {
        let tool = request.tools.iter().find(|tool| tool.name == *name).unwrap();
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        let schema = tool.parameters.clone().map_or_else(|| json!({ "maxProperties": 0 }), Value::Object);
        assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&arguments), "{name} {arguments}");
    }
    all.calls.iter().map(|(name, _)| name.clone()).collect()
}

#[test]
fn calls_that_are_enforced_are_right() {
    let model = model();
    let mut names = BTreeSet::new();
    let mut several = 0;
    for format in [CallFormat::Object, CallFormat::Array] {
        for once in [false, true] {
            let grammar = model.grammar(format, true, once, false);
            for seed in 0..40 {
                let (ids, ended) = model.walk(&mut *grammar.begin().unwrap(), 400, &mut chance(seed));
                let all = parsed(&[&model.text(&ids)], ended);
                assert!(ended || all.calls.len() > 1, "{}", model.text(&ids));
                if ended {
                    assert!(!all.calls.is_empty() && all.text.is_empty(), "{all:?}");
                    assert!(!once || all.calls.len() == 1, "{all:?}");
                    names.extend(check(&all));
                }
                several += usize::from(all.calls.len() > 1);
            }
        }
    }
    assert_eq!(names.len(), 3);
    assert!(several > 10, "{several}");
}

#[test]
fn a_call_that_was_named_is_the_one_that_comes() {
    let model = model();
    for name in ["rain", "switch", "now"] {
        let mut request = request();
        request.tool_choice = ToolChoice::Function(name.into());
        let calls = calls(&request, CallFormat::Object, Some(&model.grammars)).unwrap().unwrap().grammar.unwrap();
        let tokenizer = model.tokenizer.clone();
        let grammar = Enforced { calls, tokenizer, format: None, required: true, once: true, thinks: false };
        for seed in 0..5 {
            let (ids, ended) = model.walk(&mut *grammar.begin().unwrap(), 400, &mut chance(seed));
            let all = parsed(&[&model.text(&ids)], ended);
            assert!(ended && check(&all) == BTreeSet::from([name.to_string()]), "{all:?}");
        }
    }
}

/// A model that writes text, and in its middle a tag.
#[test]
fn a_call_is_held_to_its_grammar_from_the_tag_on() {
    let model = model();
    for (before, is_call) in [
        ("Let me see.\\n<tool_call>", true),
        ("<tool_call>\\n", true),
        ("a < b <tool_ <tool_call>", true),
        ("<think>a <tool_call>", false),
        ("<think>a</think><tool_call>", true),
        ("<tool_cal>", false),
    ] {
        let before = before.replace("\\n", "\n");
        let grammar = model.grammar(CallFormat::Object, false, false, false);
        let mut constraint = grammar.begin().unwrap();
        assert!(constraint.may_end());
        for id in model.tokenizer.encode(&before, false).unwrap() {
            let mut mask = vec![0; mask_words(model.vocab_size)];
            constraint.mask(&mut mask).unwrap();
            let forced = constraint.forced().unwrap();
            assert!((forced.is_empty() || forced == [id]) && allows(&mask, id), "{before:?}");
            constraint.accept(id).unwrap();
        }
        assert_eq!(constraint.may_end(), !is_call, "{before:?}");
        if is_call {
            let mut sample = chance(5);
            let mut parser = Parser::new(usize::MAX, false);
            parser.push(&before);
            let mut text = before.clone();
            while parser.calls() == 0 {
                let (ids, _) = model.walk(&mut *constraint, 1, &mut sample);
                let more = model.text(&ids);
                parser.push(&more);
                text.push_str(&more);
                assert!(text.len() < 1000, "{text}");
            }
            check(&parsed(&[&text], true));
        }
    }
}

/// Behind a thought stands a line end, not the rest of a token.
#[test]
fn a_token_is_not_half_of_a_thought() {
    let model = model();
    for (required, is_held) in [(true, true), (false, false)] {
        let grammar = model.grammar(CallFormat::Object, required, false, true);
        let mut constraint = grammar.begin().unwrap();
        model.tokenizer.encode_plain("So</think").unwrap().iter().for_each(|id| constraint.accept(*id).unwrap());
        let mut mask = vec![0; mask_words(model.vocab_size)];
        constraint.mask(&mut mask).unwrap();
        for id in 0..model.vocab_size {
            let bytes = model.tokenizer.token_bytes(id).unwrap_or_default();
            let astride = bytes.len() > 1 && bytes[0] == b'>' && !bytes[1..].iter().all(u8::is_ascii_whitespace);
            assert_eq!(allows(&mask, id), !(astride && is_held), "{bytes:?}");
        }
    }
}

#[test]
fn a_token_is_not_half_of_a_call() {
    let model = model();
    let grammar = model.grammar(CallFormat::Object, false, false, false);
    let spelled = model.tokenizer.encode_plain("<tool_call").unwrap();
    let mut constraint = grammar.begin().unwrap();
    spelled.iter().for_each(|id| constraint.accept(*id).unwrap());
    let mut mask = vec![0; mask_words(model.vocab_size)];
    constraint.mask(&mut mask).unwrap();
    for id in 0..model.vocab_size {
        let bytes = model.tokenizer.token_bytes(id).unwrap_or_default();
        let astride = bytes.len() > 1 && bytes[0] == b'>' && !bytes[1..].iter().all(u8::is_ascii_whitespace);
        assert_eq!(allows(&mask, id), !astride, "{bytes:?}");
    }
}

/// Half of the answers begin with a call; the others are of the format, whatever their texts spell.
#[test]
fn an_answer_is_a_call_or_of_its_format() {
    let model = model();
    let schema = json!({ "type": "object", "additionalProperties": false, "required": ["note", "kind"], "properties": {
        "note": { "type": "string", "maxLength": 60 }, "kind": { "enum": ["<tool_call>", "<think>"] } } });
    let judge = jsonschema::validator_for(&schema).unwrap();
    let format = Spec::JsonSchema { schema, strict: true };
    for thinks in [false, true] {
        let grammar = model.beside(&format, thinks);
        let (mut called, mut formatted) = (0, 0);
        for seed in 0..60_u64 {
            let mut constraint = grammar.begin().unwrap();
            if thinks {
                for id in model.tokenizer.encode_plain("Is it <tool_call>?</think>").unwrap() {
                    assert!(!constraint.may_end());
                    constraint.accept(id).unwrap();
                }
                let line = constraint.forced().unwrap();
                line.iter().for_each(|id| constraint.accept(*id).unwrap());
                assert_eq!(model.text(&line), "\n");
            }
            assert!(constraint.forced().unwrap().is_empty() && !constraint.may_end());
            let first = if seed % 2 == 0 { "<tool_call>\n" } else { "{" };
            let first = model.tokenizer.encode(first, false).unwrap()[0];
            constraint.accept(first).unwrap();
            let (mut ids, ended) = model.walk(&mut *constraint, 400, &mut chance(seed));
            ids.insert(0, first);
            let text = model.text(&ids);
            let mut parser = Parser::new(usize::MAX, false).at_the_beginning();
            let mut all = All::default();
            all.add(parser.push(&text));
            all.add(parser.finish(ended));
            if seed % 2 == 0 {
                assert!(all.text.is_empty() && !all.calls.is_empty(), "{text}");
                if ended {
                    check(&all);
                    called += 1;
                }
            } else if ended {
                assert!(all.calls.is_empty() && judge.is_valid(&serde_json::from_str(&all.text).unwrap()), "{text}");
                assert_eq!(all.text, text);
                formatted += 1;
            }
        }
        assert!(called > 15 && formatted > 15, "{called} {formatted}");
    }
}

#[test]
fn a_format_that_may_begin_as_a_call_is_refused_beside_tools() {
    let model = model();
    let error = model.beside(&Spec::Regex("<[a-z_]+>.*".into()), false).begin().err().unwrap();
    assert!(error.to_string().contains("may begin as <tool_call> does"), "{error}");
    let empty = model.beside(&Spec::Choice(vec!["yes".into(), "no".into()]), false);
    assert!(empty.begin().is_ok());
}

#[test]
fn a_thought_comes_before_a_call_that_must_be() {
    let model = model();
    let grammar = model.grammar(CallFormat::Object, true, true, true);
    let mut constraint = grammar.begin().unwrap();
    for id in model.tokenizer.encode_plain("Hm. <tool_call> is how.</think>").unwrap() {
        assert!(!constraint.may_end());
        constraint.accept(id).unwrap();
    }
    let (ids, ended) = model.walk(&mut *constraint, 400, &mut chance(3));
    let all = parsed(&[&model.text(&ids)], true);
    assert!(ended && all.calls.len() == 1, "{all:?}");
}
