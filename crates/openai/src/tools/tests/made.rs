//! Answers with calls, as models write them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// An answer, and what is in it.
#[derive(Clone, Debug)]
pub struct Made {
    pub text: String,
    pub content: String,
    pub calls: Vec<(String, Value)>,
}

pub fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000i32..1000).prop_map(|n| json!(f64::from(n) / 8.0)),
        "\\PC{0,12}".prop_map(Value::from),
        "[\\n\\t\\\\\"'<>{}\\[\\],:a-c é😀]{0,12}".prop_map(Value::from),
        Just(json!("</tool_call>\n<tool_call>")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            objects(inner).prop_map(Value::Object),
        ]
    })
}

fn objects(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("[a-z_]{1,6}|name|arguments|\\PC{1,6}", inner, 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

/// How one call is written.
#[derive(Clone, Debug)]
struct Style {
    arguments_first: bool,
    as_text: bool,
    python: bool,
    pretty: bool,
    more: bool,
}

fn styles() -> impl Strategy<Value = Style> {
    any::<[bool; 5]>().prop_map(|[arguments_first, as_text, python, pretty, more]| Style {
        arguments_first,
        as_text,
        python,
        pretty,
        more,
    })
}

fn written(name: &str, arguments: &Value, style: &Style) -> String {
    let print = |value: &Value| match (style.python, style.pretty) {
        (true, _) => python(value),
        (false, true) => serde_json::to_string_pretty(value).unwrap(),
        (false, false) => value.to_string(),
    };
    let arguments = match style.as_text {
        true => Value::from(if style.pretty { print_pretty(arguments) } else { arguments.to_string() }),
        false => arguments.clone(),
    };
    let (name, arguments) = (("name", json!(name)), ("arguments", arguments));
    let mut fields = if style.arguments_first { vec![arguments, name] } else { vec![name, arguments] };
    if style.more {
        fields.insert(1, ("id", json!(["x", { "name": 1 }])));
    }
    print(&Value::Object(fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect()))
}

fn print_pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// As Python prints it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::String(text) => {
            let json = value.to_string();
            // Python takes the other quotes where there is one of these.
            match text.contains('\'') {
                true => json,
                false => format!("'{}'", json[1..json.len() - 1].replace("\\\"", "\"")),
            }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let one = |(name, value): (&String, &Value)| format!("{}: {}", python(&json!(name)), python(value));
            format!("{{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        number => number.to_string(),
    }
}

/// One to four calls, in tags of their own or in an array, with text before them and behind, and
/// perhaps without the last tag.
pub fn calls_of() -> impl Strategy<Value = Made> {
    let call = ("[a-zA-Z0-9_-]{1,12}", objects(json_values()), styles());
    let space = || prop_oneof![Just(""), Just("\n"), Just(" "), Just("\n\n  ")];
    let before = prop_oneof![Just(String::new()), ordinary().prop_map(|text| text.trim_end().to_string())];
    let behind = prop_oneof![3 => Just(String::new()), 1 => ordinary().prop_map(|text| text.trim().to_string())];
    (before, prop::collection::vec(call, 1..5), space(), any::<bool>(), any::<bool>(), behind).prop_map(
        |(before, made, space, array, closed, behind)| {
            let objects: Vec<String> =
                made.iter().map(|(name, arguments, style)| written(name, &arguments.clone().into(), style)).collect();
            let mut text = match array {
                true => format!("<tool_call>{space}[{}]{space}</tool_call>", objects.join(&format!(",{space}"))),
                false => {
                    let tagged: Vec<String> =
                        objects.iter().map(|call| format!("<tool_call>{space}{call}{space}</tool_call>")).collect();
                    tagged.join(space)
                }
            };
            if behind.is_empty() && !closed {
                text.truncate(text.len() - "</tool_call>".len());
            }
            let calls = made.into_iter().map(|(name, arguments, _)| (name, Value::Object(arguments))).collect();
            Made { text: format!("{before}{space}{text}{behind}"), content: before + &behind, calls }
        },
    )
}

/// Text without a call, with what looks like the beginning of one.
pub fn ordinary() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "\\PC{0,16}",
        "[ \\n<>/_a-e{}\\[\\]\"]{0,12}",
        Just("<".to_string()),
        Just("<tool".to_string()),
        Just("<tool_call".to_string()),
        Just("</tool_call>".to_string()),
        Just("<tool_call>x".to_string()),
        Just("<tool_call>{\"name\": x".to_string()),
        Just("<tool_call>{\"name\": 1}</tool_call>".to_string()),
        Just("日本語 ünï 😀".to_string()),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}
