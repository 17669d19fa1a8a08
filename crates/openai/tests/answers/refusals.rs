//! Requests that are refused before anything is read, and listeners who hear no more.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use peregrine::checkpoint::Checkpoint;
use peregrine_openai::{Admission, Cancel, Code, read};
use pollster::block_on;
use serde_json::{Value, json};

use crate::engine::{chat, completion, streamed, with_session};

#[test]
fn all_prompts_are_looked_at_before_the_first_is_answered() {
    with_session(|session| {
        let long = "word ".repeat(500);
        for (second, code) in [
            (json!([10_000_000]), Code::InvalidValue),
            (json!(vec![5; 300]), Code::ContextLength),
            (json!(long), Code::ContextLength),
        ] {
            let request = completion(json!({ "prompt": ["Once", second], "stream": true }));
            let (chunks, done) = streamed(session, &request, usize::MAX, None);
            let error = done.unwrap_err();
            assert_eq!((error.code, error.status(), error.param.as_deref()), (code, 400, Some("prompt[1]")));
            assert!(chunks.is_empty() && session.position() == 0);
            assert_eq!(block_on(read(session, &request, None)).unwrap_err(), error);
        }
        // Where somebody stops it between two prompts, nothing is read, either.
        let request = completion(json!({ "prompt": ["Once", "upon"] }));
        let asked = Cell::new(0);
        let cancel: Cancel = Rc::new(move || asked.replace(asked.get() + 1) == 1);
        let done = streamed(session, &request, usize::MAX, Some(cancel)).1.unwrap();
        assert!(done.is_cancelled() && done.whole.is_none() && session.position() == 0);
    });
}

#[test]
fn requests_are_admitted_as_they_are_answered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
    let checkpoint = block_on(Checkpoint::open(path.to_str().unwrap())).unwrap();
    let admission = Arc::new(Admission::new(&checkpoint, 256).unwrap());
    assert_eq!(admission.context_length(), 256);
    with_session(move |session| {
        let turns = |turns: usize, last: &str| {
            let mut messages = vec![json!({ "role": "user", "content": "word ".repeat(20) }); turns];
            messages.push(json!({ "role": "user", "content": last }));
            json!({ "messages": messages })
        };
        let auto = |mut body: Value| {
            body["truncation"] = json!("auto");
            body
        };
        let long = "word ".repeat(300);
        for request in [
            chat(json!({})),
            chat(turns(30, "Hi")),
            chat(auto(turns(30, "Hi"))),
            chat(auto(turns(30, &long))),
            chat(auto(turns(0, &long))),
            chat(json!({ "logit_bias": { "10000000": 1 } })),
            completion(json!({})),
            completion(json!({ "prompt": [10_000_000] })),
            completion(json!({ "prompt": vec![5; 256] })),
            completion(json!({ "prompt": vec![5; 255] })),
            completion(json!({ "prompt": ["Once", vec![5; 256]] })),
        ] {
            let answered = streamed(session, &request, usize::MAX, None).1.map(|_| ());
            // In any thread.
            let admission = admission.clone();
            let admitted = std::thread::spawn(move || admission.check(&request)).join().unwrap();
            assert_eq!(admitted, answered);
        }
    });
}

#[test]
fn nothing_is_told_after_what_nobody_heard() {
    with_session(|session| {
        let told = |chunks: &[Value]| -> Vec<Value> { chunks.iter().map(|chunk| chunk["choices"].clone()).collect() };
        let fields = |kind: &str| {
            let base = json!({ "max_tokens": 2, "n": 2, "stream": true, "stream_options": { "include_usage": true } });
            if kind == "chat" { chat(base) } else { completion(base) }
        };
        for kind in ["chat", "completion"] {
            let request = fields(kind);
            let (all, done) = streamed(session, &request, usize::MAX, None);
            assert!(!done.unwrap().is_cancelled());
            // Two tokens and an end of each answer, the counts, and where there are roles, their
            // chunk.
            assert_eq!(all.len(), if kind == "chat" { 9 } else { 7 });
            for most in 1..=all.len() {
                let (chunks, done) = streamed(session, &request, most, None);
                let done = done.unwrap();
                assert!(done.is_cancelled() && done.whole.is_none(), "{most}: {done:?}");
                // Not another chunk, and not another answer.
                assert_eq!(told(&chunks), told(&all[..most]));
                let per_answer = (all.len() - 1) / 2;
                assert_eq!(done.finishes.len(), if most <= per_answer { 1 } else { 2 }, "{most}: {done:?}");
            }
        }
    });
}
