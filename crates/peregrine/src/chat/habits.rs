//! What a chat template makes of tools, found out by giving it small conversations; and
//! conversations changed so that nothing of them is lost.
//!
//! Templates of Falcon-H1 have faults: with tools the system's turn is never closed, calls of
//! earlier turns are not written, the answers of tools have no frame, and system messages after the
//! first are left out. What a template does right is left to it.

use serde_json::{Value, json};

use super::calls::{CALL_TAGS, CallFormat, instructions};
use super::message::{CALLS, Message};
use super::{ChatTemplate, Result};

// Words that no template has.
const TOOL: &str = "peregrine_probe";
const SYSTEM: &str = "peregrine-system";
const LATER: [&str; 2] = ["peregrine-second", "peregrine-third"];
const QUESTION: &str = "peregrine-question";
const ARGUMENT: &str = "peregrine-argument";
const RESULT: &str = "peregrine-result";
const ROLE: &str = "peregrine-role";

/// Who tells the model of its tools.
#[derive(Debug)]
enum ToolPrompt {
    /// The template.
    Template,
    /// The template, in a system turn that it does not close: its words are taken for the system's
    /// message.
    Unclosed(Frame),
    /// The template does not know tools: words of ours.
    Ours,
}

/// What stands before the text of a system turn, and between it and the question.
#[derive(Debug)]
struct Frame {
    before: String,
    between: String,
}

/// What a template does with tools, or without any.
#[derive(Debug)]
pub(super) struct Habits {
    tool_prompt: ToolPrompt,
    format: CallFormat,
    /// Writes calls of earlier turns behind what begins the assistant's turn.
    calls: bool,
    /// Writes what a tool has answered in a way of its own.
    results: bool,
    /// Writes system messages that are not the first.
    later: bool,
}

impl Habits {
    /// `tools`: of a conversation that has any.
    pub fn of(template: &ChatTemplate, tools: bool) -> Self {
        let parameters = json!({ "type": "object", "properties": { "x": { "type": "string" } }, "required": ["x"] });
        let function = json!({ "name": TOOL, "description": "A function.", "parameters": parameters });
        let tools = if tools { json!([{ "type": "function", "function": function }]) } else { Value::Null };
        let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
        // What a template refuses it does not write.
        let write = |messages: &[Value], tools: &Value, generation| {
            template.render_values(&json!(messages), tools, generation).unwrap_or_default()
        };
        let call = json!({ "id": "call00000", "type": "function",
            "function": { "name": TOOL, "arguments": { "x": ARGUMENT } } });
        let called = json!({ "role": "assistant", "content": "", "tool_calls": [call] });
        let asked = [turn("system", SYSTEM), turn("user", QUESTION)];
        let told = write(&asked, &tools, false);
        let after_calls = write(&[turn("user", QUESTION), called.clone()], &tools, false);
        let (tool_prompt, format) = if tools.is_null() {
            (ToolPrompt::Template, CallFormat::Object)
        } else if told.contains(TOOL) && [&told, &after_calls].iter().any(|text| text.contains(CALL_TAGS.0)) {
            let unclosed = Frame::of(&write(&asked, &Value::Null, false)).filter(|frame| frame.is_open(&told));
            (unclosed.map_or(ToolPrompt::Template, ToolPrompt::Unclosed), format_of(&told))
        } else {
            (ToolPrompt::Ours, CallFormat::Object)
        };
        let tools = if matches!(tool_prompt, ToolPrompt::Template) { tools } else { Value::Null };
        let asked = [turn("user", QUESTION)];
        let begun = write(&asked, &tools, true);
        let after_calls = write(&[asked[0].clone(), called.clone()], &tools, false);
        let behind = after_calls.strip_prefix(&begun).filter(|_| !begun.is_empty()).unwrap_or_default();
        let calls = behind.find(CALL_TAGS.0).is_some_and(|at| behind[at..].contains(TOOL) && behind.contains(ARGUMENT));
        let said = if calls { called } else { turn("assistant", "peregrine-call") };
        let answered = |role: &str| {
            let mut result = turn(role, RESULT);
            result["tool_call_id"] = json!("call00000");
            write(&[asked[0].clone(), said.clone(), result], &tools, false)
        };
        let (known, unknown) = (answered("tool"), answered(ROLE));
        let results = known.contains(RESULT) && unknown.replace(ROLE, "tool") != known;
        let [second, third] = LATER.map(|text| turn("system", text));
        let all = [turn("system", SYSTEM), second, asked[0].clone(), turn("assistant", "x"), third, asked[0].clone()];
        let all = write(&all, &tools, false);
        Self { tool_prompt, format, calls, results, later: LATER.iter().all(|text| all.contains(text)) }
    }

    pub fn format(&self) -> CallFormat {
        self.format
    }

    /// The messages as the template should get them, and the tools.
    pub fn mend(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        tools: &[Value],
        format: Option<CallFormat>,
    ) -> Result<(Vec<Message>, Value)> {
        let format = format.unwrap_or(self.format);
        // In another format than its own the template is not asked.
        let is_own = format == self.format;
        let mut turns = if self.results { messages.to_vec() } else { framed(messages) };
        for turn in turns.iter_mut().filter(|turn| !(self.calls && is_own || turn.calls().is_empty())) {
            let written = format.write(turn.calls());
            let between = if turn.content.is_empty() { "" } else { "\n" };
            turn.content = format!("{}{between}{written}", turn.content);
            turn.fields.shift_remove(CALLS);
        }
        if !self.later {
            merge_system_turns(&mut turns);
        }
        let told = json!(tools);
        match &self.tool_prompt {
            _ if tools.is_empty() => Ok((turns, Value::Null)),
            ToolPrompt::Template if is_own => Ok((turns, told)),
            ToolPrompt::Unclosed(frame) if is_own => {
                let mut asked: Vec<Message> =
                    turns.first().filter(|turn| turn.role == "system").cloned().into_iter().collect();
                asked.push(Message::new("user", QUESTION));
                let text = template.render_values(&json!(asked), &told, false)?;
                let Some(text) = frame.text(&text) else { return Ok((turns, told)) };
                match turns.first_mut().filter(|turn| turn.role == "system") {
                    Some(system) => system.content = text,
                    None => turns.insert(0, Message::new("system", text)),
                }
                Ok((turns, Value::Null))
            }
            _ => {
                append(&mut turns, &instructions(tools, format));
                Ok((turns, Value::Null))
            }
        }
    }
}

impl Frame {
    /// Of a system's turn and a question without tools.
    fn of(plain: &str) -> Option<Self> {
        let (before, rest) = plain.split_once(SYSTEM)?;
        let (between, _) = rest.split_once(QUESTION)?;
        Some(Self { before: before.into(), between: between.into() })
    }

    /// Whether the same turn begins in the same way when it tells of tools, but does not end so.
    fn is_open(&self, told: &str) -> bool {
        let text = told.split(QUESTION).next().unwrap_or_default();
        text.starts_with(&self.before) && !text.ends_with(&self.between)
    }

    /// What the turn says before the question.
    fn text(&self, told: &str) -> Option<String> {
        let (told, _) = told.rsplit_once(QUESTION)?;
        let text = told.strip_prefix(&self.before)?;
        // As much of what is between them as there is, from the beginning of a control token or a
        // line end on.
        let begins = self.between.match_indices(['<', '\n']).map(|(at, _)| &self.between[at..]);
        let between = begins.filter(|rest| text.ends_with(rest)).max_by_key(|rest| rest.len());
        Some(text[..text.len() - between.map_or(0, str::len)].into())
    }
}

/// Whether the model is told to write an array between the tags.
fn format_of(told: &str) -> CallFormat {
    match told.split(CALL_TAGS.0).skip(1).any(|rest| rest.trim_start().starts_with('[')) {
        true => CallFormat::Array,
        false => CallFormat::Object,
    }
}

/// With what tools have answered as turns of the user, in tags: those that follow each other in one
/// turn.
fn framed(messages: &[Message]) -> Vec<Message> {
    let mut framed: Vec<Message> = Vec::with_capacity(messages.len());
    let mut open = false;
    for message in messages {
        let is_result = message.role == "tool";
        if !is_result {
            framed.push(message.clone());
        } else {
            let text = format!("<tool_response>\n{}\n</tool_response>", message.content);
            match framed.last_mut().filter(|_| open) {
                Some(turn) => turn.content = format!("{}\n{text}", turn.content),
                None => framed.push(Message::new("user", text)),
            }
        }
        open = is_result;
    }
    framed
}

/// Puts what the system says later on behind what it says first.
fn merge_system_turns(turns: &mut Vec<Message>) {
    let mut said = Vec::new();
    let mut first = true;
    turns.retain(|turn| {
        let stays = turn.role != "system" || first;
        if !stays {
            said.push(turn.content.clone());
        }
        first = false;
        stays
    });
    said.iter().for_each(|text| append(turns, text));
}

fn append(turns: &mut Vec<Message>, text: &str) {
    match turns.first_mut().filter(|turn| turn.role == "system") {
        Some(system) if system.content.is_empty() => system.content = text.into(),
        Some(system) => system.content = format!("{}\n\n{text}", system.content),
        None => turns.insert(0, Message::new("system", text)),
    }
}
