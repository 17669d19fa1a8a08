//! Answers drawn at random from what is allowed: their calls are right, and everything else is free.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use peregrine::chat::CallFormat;
use peregrine::checkpoint::Checkpoint;
use peregrine::constraint::{Constraint, Grammar, allows, mask_words};
use peregrine::tokenizer::Tokenizer;
use peregrine_grammar::Grammars;
use pollster::block_on;
use serde_json::{Value, json};

use super::super::{Enforced, Parser, calls};
use super::{All, parsed};
use crate::request::{ChatRequest, ToolChoice};

struct Model {
    tokenizer: Arc<Tokenizer>,
    grammars: Grammars,
    vocab_size: u32,
}

fn model() -> Model {
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
        Rc::new(Enforced { calls, tokenizer: self.tokenizer.clone(), required, once, thinks })
    }

    fn text(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, true).unwrap()
    }

    /// Up to so many tokens, drawn by `draw` where there is a choice; whether the answer has ended.
    fn walk(
        &self,
        constraint: &mut dyn Constraint,
        most: usize,
        draw: &mut dyn FnMut(&[u32]) -> u32,
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
                next = vec![draw(&may)];
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
        let grammar = Enforced { calls, tokenizer, required: true, once: true, thinks: false };
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
            let mut draw = chance(5);
            let mut parser = Parser::new(usize::MAX, false);
            parser.push(&before);
            let mut text = before.clone();
            while parser.calls() == 0 {
                let (ids, _) = model.walk(&mut *constraint, 1, &mut draw);
                let more = model.text(&ids);
                parser.push(&more);
                text.push_str(&more);
                assert!(text.len() < 1000, "{text}");
            }
            check(&parsed(&[&text], true));
        }
    }
}

#[test]
fn a_token_is_not_half_of_a_call() {
    let model = model();
    let grammar = model.grammar(CallFormat::Object, false, false, false);
    let spelt = model.tokenizer.encode_plain("<tool_call").unwrap();
    let mut constraint = grammar.begin().unwrap();
    spelt.iter().for_each(|id| constraint.accept(*id).unwrap());
    let mut mask = vec![0; mask_words(model.vocab_size)];
    constraint.mask(&mut mask).unwrap();
    for id in 0..model.vocab_size {
        let bytes = model.tokenizer.token_bytes(id).unwrap_or_default();
        let astride = bytes.len() > 1 && bytes[0] == b'>' && !bytes[1..].iter().all(u8::is_ascii_whitespace);
        assert_eq!(allows(&mask, id), !astride, "{bytes:?}");
    }
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

/// Each can be compiled, but all of them are too large.
#[test]
fn tools_that_cannot_be_held_together_are_left_to_the_model() {
    let model = model();
    let tool = |i: usize, strict: bool| {
        let values: Vec<String> = (0..900).map(|value| format!("{i}-{value}")).collect();
        let parameters = json!({ "type": "object", "properties": { "of": { "enum": values } } });
        json!({ "type": "function",
            "function": { "name": format!("f{i}"), "parameters": parameters, "strict": strict } })
    };
    let found = |choice: Value, strict: bool| {
        let tools: Vec<Value> = (0..24).map(|i| tool(i, strict && i == 3)).collect();
        let messages = json!([{ "role": "user", "content": "Hi" }]);
        let request = json!({ "messages": messages, "tools": tools, "tool_choice": choice });
        let request = ChatRequest::parse(&request).unwrap();
        calls(&request, CallFormat::Object, Some(&model.grammars)).map(Option::unwrap)
    };
    let free = found(json!("auto"), false).unwrap();
    assert!(free.grammar.is_none());
    assert_eq!(free.warnings.len(), 1, "{:?}", free.warnings);
    assert!(free.warnings[0].starts_with("tools: calls are not enforced"), "{:?}", free.warnings);
    for (choice, strict) in [("required", false), ("required", true), ("auto", true)] {
        let error = found(json!(choice), strict).err().unwrap();
        assert_eq!((error.status(), error.param.as_deref()), (400, Some("tools")), "{choice} {strict}: {error}");
    }
    let named = json!({ "type": "function", "function": { "name": "f5" } });
    let one = found(named, false).unwrap();
    assert!(one.grammar.is_some() && one.warnings.is_empty());
}
