//! Constructs of chat templates against Hugging Face's own environment (text/jinja.py makes the
//! golden).

use std::collections::BTreeSet;

use peregrine::chat::ChatTemplate;
use serde_json::{Value, json};

use crate::text::list;

/// What is not as in Python, and why. Each is tested to be so: an entry that is no longer needed
/// fails.
const DIFFERENT: &[(&str, &str)] = &[
    ("{{ -true }}", "an error here: nobody negates a bool"),
    ("{{ 1 < 'a' }}", "an order between kinds, where Python fails"),
    ("{{ none < 1 }}", "an order between kinds, where Python fails"),
    ("{{ missing < 1 }}", "an order between kinds, where Python fails"),
    ("{{ l | sort }}", "an order between kinds, where Python fails"),
    ("{{ 1 in 'abc' }}", "false, where Python fails"),
    ("{{ '\\N{BULLET}' }}", "names of characters are not known"),
    ("{{ rows | map(attribute='v') | tojson }}", "a list, where Python fails for a generator"),
    ("{{ lipsum is callable }}", "there is no lipsum"),
    ("{{ s.upper is callable }}", "methods are only there when they are called"),
    ("{{ self is defined }}", "blocks have no name to be called by"),
    ("{{ rows | groupby('k') }}", "the groups are printed as lists"),
];

/// Filters and tests that are refused by their names.
const REFUSED: &[&str] = &["wordwrap", "attr", "xmlattr", "urlize", "pprint", "random"];

fn golden() -> Value {
    serde_json::from_str(include_str!("text/jinja.json")).unwrap()
}

fn render(source: &str, context: &Value) -> peregrine::Result<String> {
    ChatTemplate::new(source, "", "")?.render_context(context)
}

#[test]
fn constructs_print_what_python_prints() {
    let golden = golden();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for case in list(&golden, "cases") {
        let source = case["template"].as_str().unwrap();
        let found = render(source, &golden["context"]);
        let same = match (case["text"].as_str(), &found) {
            (Some(text), Ok(found)) => text == found,
            (None, Err(_)) => true,
            _ => false,
        };
        let known = DIFFERENT.iter().any(|(known, _)| *known == source);
        let refused = REFUSED.iter().any(|filter| {
            found.as_ref().is_err_and(|error| error.to_string().contains(&format!("filter {filter} is unknown")))
        });
        let excused = known || refused || LONG.iter().any(|begin| source.starts_with(begin));
        if known && !same {
            seen.insert(source);
        }
        if !same && !excused {
            wrong.push(format!(
                "{source}\n  expected {}\n  found {found:?}",
                case.get("text").unwrap_or(&case["error"])
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    let stale: Vec<_> = DIFFERENT.iter().filter(|(known, _)| !seen.contains(known)).collect();
    assert!(stale.is_empty(), "no longer different: {stale:?}");
}

/// Lines of several constructs, of which one differs: varargs of macros, the arguments' names as a
/// tuple, groups of mixed kinds.
const LONG: &[&str] =
    &["{% macro m(a, b=2, c='x') %}", "{% macro m() %}{{ varargs }}", "{% for key, items in rows | groupby('k') %}"];

#[test]
fn the_construct_comparison_can_fail() {
    let golden = golden();
    let found = render("{{ (1,) }}", &golden["context"]).unwrap();
    assert_eq!(found, "(1,)");
    assert_ne!(found, render("{{ [1] }}", &golden["context"]).unwrap());
}

#[test]
fn special_tokens_go_by_their_names() {
    let named = [("pad_token", "<|pad|>"), ("tool_token", "<|tool|>"), ("bos_token", "<x>")];
    let named: Vec<(String, String)> = named.map(|(name, text)| (name.into(), text.into())).into();
    let source = "{{ bos_token }}{{ pad_token }}{{ tool_token }}{{ unk_token }}{{ unk_token is defined }}";
    let template = ChatTemplate::new(source, "<s>", "").unwrap().with_tokens(&named);
    assert_eq!(template.render(&[], false).unwrap(), "<s><|pad|><|tool|>False");
}

/// As transformers does before a template sees the messages.
#[test]
fn null_fields_are_not_there_and_reasoning_goes_by_all_its_names() {
    let source =
        "{% for m in messages %}{{ m.keys() | list }}{{ m.content }}{{ m.tool_calls is defined }};{% endfor %}";
    let template = ChatTemplate::new(source, "", "").unwrap();
    let messages = json!([{"role": "assistant", "content": null, "tool_calls": null}, {"role": "user", "content": ""}]);
    let text = template.render_values(&messages, &Value::Null, false).unwrap();
    assert_eq!(text, "['role']False;['role', 'content']False;");
    let thinking = ChatTemplate::new("{{ messages[0] }}", "", "").unwrap();
    let messages = json!([{"role": "assistant", "content": "x", "reasoning": "r"}]);
    assert_eq!(
        thinking.render_values(&messages, &Value::Null, false).unwrap(),
        "{'thinking': 'r', 'role': 'assistant', 'content': 'x', 'reasoning': 'r', 'reasoning_content': 'r'}"
    );
}

/// One line of a template must not fill the memory or run for ever, whatever it multiplies.
#[test]
fn texts_that_grow_run_out_of_steps_before_memory() {
    let long = "{% set s = 'x' * 100000 %}";
    for grows in [
        "{{ (s | replace('x', s)) | length }}",
        "{{ s.replace('x', s) | length }}",
        "{{ s.replace('', s) | length }}",
        "{{ s.join(s | list) | length }}",
        "{{ s | list | join(s) | length }}",
        "{{ ('\n' * 100000) | indent(s, blank=true) | length }}",
        "{{ ('{0:1000000}' * 1000).format(1) | length }}",
        "{{ (('%(a)1000000d' * 1000) % {'a': 1}) | length }}",
        "{{ ('%(a)1000000d' * 1000) | format(a=1) | length }}",
        "{{ s.translate({120: s}) | length }}",
        "{{ (s | list) | tojson(indent=100000) | length }}",
        "{{ (s | list) | tojson(separators=[s, s]) | length }}",
        "{% for i in range(1000) %}{% set t = 'x'.center(1000000) %}{% endfor %}",
        "{% for i in range(1000) %}{% set t = 'x' | center(1000000) %}{% endfor %}",
        "{% for i in range(1000) %}{% set t = 'x'.ljust(1000000) %}{% endfor %}",
        "{% for i in range(1000) %}{% set t = 'x'.zfill(1000000) %}{% endfor %}",
        "{% for i in range(1000) %}{% set t = '\t'.expandtabs(1000000) %}{% endfor %}",
    ] {
        let error = render(&format!("{long}{grows}"), &json!({})).unwrap_err().to_string();
        assert!(error.contains("come to an end"), "{grows}: {error}");
    }
    // What a conversation needs is far from it.
    let document = "é ".repeat(300_000);
    let text = render("{{ d.replace('é', 'e').strip() | replace('e', 'é') }}", &json!({"d": document})).unwrap();
    assert_eq!(text, document.trim_end());
}

#[test]
fn wide_grouped_numbers_take_no_time() {
    let text = render("{{ '{:01000000,}'.format(1) }}", &json!({})).unwrap();
    // Of 1,000,000 characters the first would be a separator: one digit more, as Python has it.
    assert_eq!((text.len(), &text[..6], &text[text.len() - 8..]), (1_000_001, "0,000,", ",000,001"));
}
