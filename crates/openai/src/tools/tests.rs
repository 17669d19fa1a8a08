//! Calls in what a model writes: found however it comes in pieces, and nothing else is lost.

mod enforced;
mod made;
mod schema;
mod together;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use self::made::{Made, calls_of, json_values, ordinary};
use super::{News, Parser};

/// All of an answer: its text, and names and arguments of its calls.
#[derive(Clone, Debug, Default, PartialEq)]
struct All {
    text: String,
    calls: Vec<(String, String)>,
}

impl All {
    fn add(&mut self, news: News) {
        self.text.push_str(&news.text);
        for call in news.calls {
            match call.name {
                // The first piece has the name, and calls follow each other.
                Some(name) => {
                    assert_eq!(call.index, self.calls.len());
                    self.calls.push((name, call.arguments));
                }
                None => {
                    assert_eq!(call.index + 1, self.calls.len());
                    assert!(!call.arguments.is_empty());
                    self.calls[call.index].1.push_str(&call.arguments);
                }
            }
        }
    }
}

fn parsed(pieces: &[&str], whole: bool) -> All {
    let mut parser = Parser::new(usize::MAX, false);
    let mut all = All::default();
    pieces.iter().for_each(|piece| all.add(parser.push(piece)));
    all.add(parser.finish(whole));
    assert_eq!(parser.calls(), all.calls.len());
    all
}

/// A text in pieces, cut where the fractions say.
fn cut<'a>(text: &'a str, at: &[f64]) -> Vec<&'a str> {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut ends: Vec<usize> = at.iter().map(|at| places[(at * (places.len() - 1) as f64) as usize]).collect();
    ends.extend([0, text.len()]);
    ends.sort_unstable();
    ends.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

fn letters(text: &str) -> Vec<&str> {
    text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect()
}

#[track_caller]
fn found(text: &str, content: &str, calls: &[(&str, &str)]) {
    let calls = calls.iter().map(|(name, arguments)| ((*name).to_string(), (*arguments).to_string())).collect();
    let expected = All { text: content.into(), calls };
    assert_eq!(parsed(&[text], true), expected, "{text}");
    assert_eq!(parsed(&letters(text), true), expected, "letter by letter: {text}");
}

/// Nothing of it is a call.
#[track_caller]
fn kept(text: &str) {
    found(text, text, &[]);
}

const F: &str = r#"{"name": "f", "arguments": {"a": 1}}"#;

#[test]
fn calls_are_found_as_models_write_them() {
    let one = [("f", r#"{"a": 1}"#)];
    let two = [one[0], one[0]];
    let open = "<tool_call>\n";
    found(&format!("{open}{F}\n</tool_call>"), "", &one);
    found(&format!("<tool_call>{F}</tool_call>"), "", &one);
    found(&format!(" \n{open}{F}\n</tool_call>\n\n"), "", &one);
    found(&format!("Let me see.\n{open}{F}\n</tool_call>"), "Let me see.", &one);
    found(&format!("a {open}{F}</tool_call>\nb\n"), "a\nb\n", &one);
    // Several: of their own, in an array, in one pair of tags.
    found(&format!("{open}{F}\n</tool_call>\n{open}{F}\n</tool_call>"), "", &two);
    found(&format!("{open}[\n{F},\n{F}\n]\n</tool_call>"), "", &two);
    found(&format!("{open}[{F}][{F}]</tool_call>"), "", &two);
    found(&format!("{open}{F}\n{F}\n</tool_call>"), "", &two);
    // The other order, as one of the templates wants it; Python's quotes, words and commas.
    found(&format!("{open}{{\"arguments\": {{\"a\": 1}}, \"name\": \"f\"}}</tool_call>"), "", &one);
    found(&format!("{open}{{'arguments': {{'a': 1}}, 'name': 'f'}}</tool_call>"), "", &one);
    found(
        &format!(
            "{open}{{'name': 'f', 'arguments': {{'a': 'it\\'s \"b\"', 'c': [True, False, None,], }},}}</tool_call>"
        ),
        "",
        &[("f", r#"{"a": "it's \"b\"", "c": [true, false, null] }"#)],
    );
    // An argument that is called name; names that stand elsewhere, too.
    found(
        &format!(
            "{open}{{\"arguments\": {{\"name\": \"x\"}}, \"id\": {{\"name\": [1]}}, \"name\": \"f\"}}</tool_call>"
        ),
        "",
        &[("f", r#"{"name": "x"}"#)],
    );
    // Arguments as a text, none, and nothing.
    found(
        &format!(r#"{open}{{"name": "f", "arguments": "{{\"a\": \"\\u00fc \ud83d\ude00\"}}"}}</tool_call>"#),
        "",
        &[("f", r#"{"a": "\u00fc 😀"}"#)],
    );
    let none = [("f", "{}")];
    for rest in ["", ", \"arguments\": {}", ", \"arguments\": \"\"", ", \"arguments\": null", ", 'parameters': None"] {
        found(&format!("{open}{{\"name\": \"f\"{rest}}}</tool_call>"), "", &none);
    }
    // As OpenAI's API has them, and some models.
    found(&format!("{open}{{\"type\": \"function\", \"id\": 5, \"function\": {F}}}</tool_call>"), "", &one);
    found(&format!("{open}{{\"function\": \"f\", \"parameters\": {{\"a\": 1}}}}</tool_call>"), "", &one);
    // Line ends in a string are escaped; what is no escape of JSON's stays what it says.
    found(
        &format!("{open}{{\"name\": \"f\", \"arguments\": {{\"a\": \"x\n\\d\"}}}}</tool_call>"),
        "",
        &[("f", r#"{"a": "x\n\\d"}"#)],
    );
    // The tag in an argument ends nothing.
    found(
        &format!("{open}{{\"name\": \"f\", \"arguments\": {{\"a\": \"</tool_call>\"}}}}</tool_call>"),
        "",
        &[("f", r#"{"a": "</tool_call>"}"#)],
    );
}

#[test]
fn what_is_missing_at_the_end_is_forgiven() {
    let one = [("f", r#"{"a": 1}"#)];
    found(&format!("<tool_call>\n{F}"), "", &one);
    found(&format!("<tool_call>\n{F}\n</tool_c"), "", &one);
    found(&format!("<tool_call>\n[{F}\n"), "", &one);
    found(&format!("<tool_call>\n[{F}\n</tool_call>"), "", &one);
    for missing in 1..=2 {
        let call = &F[..F.len() - missing];
        found(&format!("<tool_call>\n{call}"), "", &one);
        found(&format!("<tool_call>\n{call}</tool_call>\n"), "", &one);
        found(&format!("<tool_call>{call}<tool_call>{call}"), "", &[one[0], one[0]]);
    }
    found("<tool_call>{\"name\": \"f\"", "", &[("f", "{}")]);
    found(&format!("<tool_call>{F} <b>and</b> so on"), " <b>and</b> so on", &one);
    found(&format!("<tool_call>{F} and so on"), " and so on", &one);
    // An answer that was cut off is as far as it came: nobody knows what was to follow.
    let cut_off = parsed(&["<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, 2"], false);
    assert_eq!(cut_off.calls, [("f".to_string(), r#"{"a": [1, "#.to_string())]);
    let cut_off = parsed(&["<tool_call>{\"name\": \"f\", \"argum"], false);
    assert_eq!((cut_off.text.as_str(), cut_off.calls.len()), ("<tool_call>{\"name\": \"f\", \"argum", 0));
    // A string that is open could have been anything.
    let open = parsed(&["<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x"], true);
    assert_eq!(open.calls, [("f".to_string(), r#"{"a": "x"#.to_string())]);
}

#[test]
fn what_is_no_call_is_given_back() {
    for text in [
        "",
        " \n ",
        "Hello, world! \n",
        "<",
        "a < b",
        "<tool",
        "<tool_call",
        "<tool_call>",
        "</tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>\n[]\n</tool_call> ",
        "The tag <tool_call> begins a call.",
        "<<tool_call>x",
        "<tool_<tool_call",
        "  <tool_call>  <tool_call> [ <",
        "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": 5}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": nothing}</tool_call>",
        "<tool_call>{\"name\": \"f\" \"arguments\": {}}</tool_call>",
        "<tool_call>{\"arguments\": {\"a\": 1}}</tool_call>",
        "<tool_call>{\"arguments\": {\"a\": 1}, \"nom\": \"f\"}</tool_call>\n",
        "<tool_call>\nf(a=1)\n</tool_call>",
        "<tool_call>{}</tool_call>",
        "{\"name\": \"f\", \"arguments\": {}}",
        "<think>Shall I write <tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>?",
        "<think>\n<tool_call>{\"name\": \"f\"}</tool_call></think>\nNo.\n",
        "<thin<think></think",
    ] {
        kept(text);
    }
    // What comes after is looked at again.
    let call = format!("<tool_call>{F}</tool_call>");
    for before in [
        "<",
        "<tool_call",
        "<tool_call> <b>",
        "<tool_call>{\"name\" ",
        "x <think>y</think>",
        "<tool_call>[]</tool_call>",
    ] {
        found(&format!("{before}{call}"), before, &[("f", r#"{"a": 1}"#)]);
    }
}

#[test]
fn arguments_that_are_no_json_are_reported_as_they_are() {
    let begin = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1, b";
    found(&format!("{begin} <x>}}}}</tool_call>"), "", &[("f", "{\"a\": 1, b <x>}}")]);
    found(&format!("{begin} </tool_<</tool_call>\nBye"), "\nBye", &[("f", "{\"a\": 1, b </tool_<")]);
    found(begin, "", &[("f", "{\"a\": 1, b")]);
}

#[test]
fn thoughts_that_the_prompt_began_are_none_of_the_calls() {
    let text = format!("I could <tool_call>{F}</tool_call></think>\n<tool_call>{F}</tool_call>");
    let mut parser = Parser::new(usize::MAX, true);
    let mut all = All::default();
    letters(&text).iter().for_each(|piece| all.add(parser.push(piece)));
    all.add(parser.finish(true));
    assert_eq!(all.text, format!("I could <tool_call>{F}</tool_call></think>"));
    assert_eq!(all.calls.len(), 1);
}

#[test]
fn a_parser_is_full_after_the_last_call() {
    let text = format!("So: <tool_call>[{F}, {F}]</tool_call> Done.");
    let mut parser = Parser::new(1, false);
    let mut all = All::default();
    for piece in letters(&text) {
        all.add(parser.push(piece));
        if parser.is_full() {
            break;
        }
    }
    assert!(parser.is_full());
    all.add(parser.push(" and more"));
    all.add(parser.finish(true));
    assert_eq!((all.text.as_str(), all.calls.len(), parser.calls()), ("So:", 1, 1));
}

/// Beside a format calls are at the beginning of an answer, or nowhere.
#[test]
fn a_formatted_answer_has_no_calls_inside() {
    let read = |text: &str| {
        let mut parser = Parser::new(usize::MAX, false).at_the_beginning();
        let mut all = All::default();
        letters(text).iter().for_each(|piece| all.add(parser.push(piece)));
        all.add(parser.finish(true));
        all
    };
    let call = format!("<tool_call>{F}</tool_call>");
    for text in [
        format!("{{\"a\": \"{call}\"}}"),
        format!("<to {call}"),
        format!(" x {call} <think>"),
        format!("<tool_call>x {call}"),
        "<tool_call> <".into(),
    ] {
        assert_eq!(read(&text), All { text: text.clone(), calls: Vec::new() });
    }
    let two = read(&format!(" {call}\n{call}"));
    assert_eq!((two.text.as_str(), two.calls.len()), ("", 2));
}

/// Arguments come in pieces while they are written.
#[test]
fn arguments_stream() {
    let mut parser = Parser::new(usize::MAX, false);
    let mut told = Vec::new();
    for piece in
        ["<tool_call>\n{\"name\": \"f\", ", "\"arguments\": {\"a\": \"On", "ce upon", " a time\"", "}}\n</tool_call>"]
    {
        told.push(parser.push(piece).calls.into_iter().map(|call| call.arguments).collect::<String>());
    }
    assert_eq!(told, ["", "{\"a\": \"On", "ce upon", " a time\"", "}"]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000, failure_persistence: None, rng_seed: RngSeed::Fixed(1818), ..ProptestConfig::default()
    })]

    #[test]
    fn calls_are_found_however_they_are_cut(made in calls_of(), at in prop::collection::vec(0.0..1.0f64, 0..12)) {
        let Made { text, content, calls } = made;
        let whole = parsed(&[&text], true);
        prop_assert_eq!(&parsed(&cut(&text, &at), true), &whole, "{}", text);
        prop_assert_eq!(&parsed(&letters(&text), true), &whole);
        prop_assert_eq!(&whole.text, &content, "{}", text);
        let read = |(name, arguments): &(String, String)| (name.clone(), serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments)));
        let found: Vec<(String, Value)> = whole.calls.iter().map(read).collect();
        prop_assert_eq!(found, calls, "{}", text);
    }

    #[test]
    fn ordinary_text_comes_out_as_it_went_in(text in ordinary(), at in prop::collection::vec(0.0..1.0f64, 0..12), whole in any::<bool>()) {
        let all = parsed(&cut(&text, &at), whole);
        prop_assert_eq!(all, All { text, calls: Vec::new() });
    }

    /// Whatever it is: how it is cut says nothing.
    #[test]
    fn pieces_say_what_the_whole_says(
        parts in prop::collection::vec(prop_oneof![calls_of().prop_map(|made| made.text), ordinary(), json_values().prop_map(|value| value.to_string())], 0..4),
        keep in 0.0..1.0f64,
        at in prop::collection::vec(0.0..1.0f64, 0..12),
        whole in any::<bool>(),
    ) {
        let text = parts.concat();
        let text = cut(&text, &[keep])[0];
        prop_assert_eq!(parsed(&cut(text, &at), whole), parsed(&[text], whole));
    }
}
