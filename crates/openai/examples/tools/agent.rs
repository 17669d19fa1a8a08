//! The loop: ask, make the calls that the answer has, say what came of them, and ask again, until
//! there is a text.

use serde_json::{Value, json};

/// What a tool does with its arguments. An error is told to the model.
type Run = Box<dyn Fn(&Value) -> Result<String, String>>;

/// Something that a model may call.
pub struct Tool {
    name: &'static str,
    description: &'static str,
    /// A JSON schema.
    parameters: Value,
    run: Run,
}

impl Tool {
    /// `properties` are its arguments, of which those must be given that are `required`.
    pub fn new(
        name: &'static str,
        description: &'static str,
        properties: Value,
        required: &[&str],
        run: impl Fn(&Value) -> Result<String, String> + 'static,
    ) -> Self {
        let parameters = json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        });
        Self { name, description, parameters, run: Box::new(run) }
    }

    fn described(&self) -> Value {
        let Self { name, description, parameters, .. } = self;
        json!({
            "type": "function",
            "function": { "name": name, "description": description, "parameters": parameters },
        })
    }

    /// What a model writes is no more to be trusted than what a stranger sends.
    fn call(&self, arguments: &str) -> Result<String, String> {
        let given: Value = serde_json::from_str(arguments).map_err(|_| "the arguments are not JSON")?;
        jsonschema::validate(&self.parameters, &given).map_err(|error| format!("the arguments are wrong: {error}"))?;
        (self.run)(&given)
    }
}

/// What happens on the way.
pub enum Step<'a> {
    /// The model calls a tool.
    Call { name: &'a str, arguments: &'a str },
    /// What came of it.
    Result(&'a str),
}

/// Answers the last of the `messages` and adds what comes of it, the answer at the end. `ask` sends
/// a chat completion and gives the response; `choice` is the first round's `tool_choice`, later
/// ones are the model's own; after `rounds` of them it must answer.
///
/// # Errors
/// Those of `ask`, and for a call that was cut off.
pub fn answer<E: From<String>>(
    ask: &mut dyn FnMut(&Value) -> Result<Value, E>,
    tools: &[Tool],
    messages: &mut Vec<Value>,
    choice: &Value,
    rounds: usize,
    on_step: &mut dyn FnMut(Step),
) -> Result<String, E> {
    let described: Vec<Value> = tools.iter().map(Tool::described).collect();
    for round in 0.. {
        let choice = match round {
            _ if round >= rounds => &json!("none"),
            0 => choice,
            _ => &json!("auto"),
        };
        let response = ask(&json!({ "messages": messages, "tools": described, "tool_choice": choice }))?;
        let (message, end) = (&response["choices"][0]["message"], &response["choices"][0]["finish_reason"]);
        messages.push(message.clone());
        let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
        if calls.is_empty() {
            return Ok(message["content"].as_str().unwrap_or_default().to_string());
        }
        if end != "tool_calls" {
            return Err("the answer was cut off in the middle of a call: allow it more tokens".to_string().into());
        }
        for call in calls {
            let text = |name: &str| call["function"][name].as_str().unwrap_or_default();
            let (name, arguments) = (text("name"), text("arguments"));
            on_step(Step::Call { name, arguments });
            let result = match tools.iter().find(|tool| tool.name == name) {
                Some(tool) => tool.call(arguments),
                None => Err(format!("there is no tool {name}")),
            };
            // The model may do better the next time.
            let result = result.unwrap_or_else(|error| format!("Error: {error}"));
            on_step(Step::Result(&result));
            messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": result }));
        }
    }
    Ok(String::new())
}
