//! The grammar of a request's calls.

use std::rc::Rc;

use peregrine::Error;
use peregrine::chat::CallFormat;
use peregrine::constraint::{Compiler, Grammar, Spec};
use serde_json::json;

use super::schema::{arguments, call_schema};
use crate::error::{ApiError, Code};
use crate::request::{ChatRequest, Request, Tool, ToolChoice};

/// What calls must be, and what of that is not enforced.
pub(crate) struct Calls {
    /// None where the tools cannot be held together, and nothing must be called: then calls are
    /// what the model makes of them.
    pub grammar: Option<Rc<dyn Grammar>>,
    pub warnings: Vec<String>,
}

/// Of a request that may call tools; none without `grammars`, where nothing must be called.
///
/// # Errors
/// 400: a call that cannot be enforced here; a strict tool's schema that cannot be, by itself or
/// beside the others.
pub(crate) fn calls(
    request: &ChatRequest,
    format: CallFormat,
    grammars: Option<&dyn Compiler>,
) -> Result<Option<Calls>, ApiError> {
    let must = request.must_call();
    let Some(grammars) = grammars.filter(|_| request.may_call()) else {
        let message = "a call cannot be enforced here, since there are no grammars; use \"auto\"";
        return if must { Err(ApiError::at(Code::Unsupported, "tool_choice", message)) } else { Ok(None) };
    };
    let may_be = |tool: &Tool| match &request.tool_choice {
        ToolChoice::Function(name) => tool.name == *name,
        _ => true,
    };
    let mut tools: Vec<(usize, Tool)> =
        request.tools.iter().cloned().enumerate().filter(|(_, tool)| may_be(tool)).collect();
    let one = !request.parallel_tool_calls;
    let compile = |tools: &[(usize, Tool)]| {
        let tools: Vec<&Tool> = tools.iter().map(|(_, tool)| tool).collect();
        grammars.compile(&Spec::JsonSchema { schema: call_schema(&tools, format, one), strict: false })
    };
    if !tools.iter().any(|(_, tool)| is_strict(tool))
        && let Some(grammar) = compile(&tools).ok().filter(|grammar| grammar.warnings().is_empty())
    {
        return Ok(Some(Calls { grammar: Some(grammar), warnings: Vec::new() }));
    }
    // Each by itself, to tell which it is.
    let mut warnings = Vec::new();
    for (i, tool) in &mut tools {
        let path = format!("tools[{i}].function.parameters");
        let spec = Spec::JsonSchema { schema: arguments(tool, "#"), strict: is_strict(tool) };
        match grammars.compile(&spec) {
            Ok(grammar) => warnings.extend(grammar.warnings().iter().map(|line| format!("{path}: {line}"))),
            Err(error) if is_strict(tool) => {
                let message = format!("cannot be enforced, as strict asks: {}", place(&error));
                return Err(ApiError::at(Code::InvalidValue, &path, &message));
            }
            Err(error) => {
                warnings.push(format!("{path}: not enforced: {}", place(&error)));
                tool.parameters = json!({ "type": "object", "additionalProperties": true }).as_object().cloned();
            }
        }
    }
    // Beside a format there are calls by a grammar, or none.
    let insists = must || tools.iter().any(|(_, tool)| is_strict(tool)) || request.generation.response_format.is_some();
    match compile(&tools) {
        Ok(grammar) => Ok(Some(Calls { grammar: Some(grammar), warnings })),
        Err(error) if insists => {
            let message = format!("cannot be enforced together: {}", place(&error));
            Err(ApiError::at(Code::InvalidValue, "tools", &message))
        }
        Err(error) => {
            let line = format!("tools: calls are not enforced, since they cannot be together: {}", place(&error));
            Ok(Some(Calls { grammar: None, warnings: vec![line] }))
        }
    }
}

fn is_strict(tool: &Tool) -> bool {
    tool.strict == Some(true)
}

impl ChatRequest {
    /// Whether the answer has a call.
    pub(crate) fn must_call(&self) -> bool {
        matches!(self.tool_choice, ToolChoice::Required | ToolChoice::Function(_))
    }
}

impl Request {
    /// Whether it is refused where there are no grammars: for a format, a call that must be, a
    /// strict tool. Other calls are then what the model makes of them.
    pub fn insists_on_grammars(&self) -> bool {
        let insists = |chat: &ChatRequest| chat.may_call() && (chat.must_call() || chat.tools.iter().any(is_strict));
        matches!(self, Self::Chat(chat) if insists(chat)) || self.generation().response_format.is_some()
    }
}

/// What is wrong, and where in the schema.
fn place(error: &Error) -> String {
    match error {
        Error::Grammar { place, detail } => format!("{detail} ({place})"),
        other => other.to_string(),
    }
}
