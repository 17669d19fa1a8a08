//! How calls of tools are written, and how a model is told of tools by a template that knows none.

use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Serializer, Value, json};

/// What stands before a call, and after it.
pub const CALL_TAGS: (&str, &str) = ("<tool_call>", "</tool_call>");

/// How a model writes the calls of one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallFormat {
    /// An object with `name` and `arguments` between the tags, for each call.
    #[default]
    Object,
    /// One pair of tags with an array of them.
    Array,
}

impl CallFormat {
    const NAMES: [(Self, &str); 2] = [(Self::Object, "object"), (Self::Array, "array")];

    /// `object` or `array`.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self == Self::Array)].1
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(format, _)| *format)
    }

    /// The calls of a message, as the model would have written them.
    pub(super) fn write(self, calls: &[Value]) -> String {
        let (open, close) = CALL_TAGS;
        let objects: Vec<String> = calls.iter().map(object).collect();
        match self {
            Self::Object => {
                let calls: Vec<String> = objects.iter().map(|call| format!("{open}\n{call}\n{close}")).collect();
                calls.join("\n")
            }
            Self::Array => format!("{open}\n[\n  {}\n]\n{close}", objects.join(",\n  ")),
        }
    }
}

fn object(call: &Value) -> String {
    let function = call.get("function").unwrap_or(call);
    let arguments = function.get("arguments").cloned().unwrap_or_else(|| json!({}));
    line(&json!({ "name": function.get("name"), "arguments": arguments }))
}

/// What a model is told whose template does not know tools.
pub(super) fn instructions(tools: &[Value], format: CallFormat) -> String {
    let (open, close) = CALL_TAGS;
    let signatures: Vec<String> = tools.iter().map(line).collect();
    let (signatures, call) = (signatures.join("\n"), "{\"name\": <name of the function>, \"arguments\": <object>}");
    let how = match format {
        CallFormat::Object => format!("Write each call so:\n{open}\n{call}\n{close}"),
        CallFormat::Array => format!("Write all calls of an answer so:\n{open}\n[{call}, ...]\n{close}"),
    };
    format!("You can call functions:\n<tools>\n{signatures}\n</tools>\n{how}")
}

/// JSON in one line, spaced as in Python: what models have read most.
fn line(value: &Value) -> String {
    let mut out = Vec::new();
    // Values of JSON can always be written.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, Spaced));
    String::from_utf8_lossy(&out).into_owned()
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}
