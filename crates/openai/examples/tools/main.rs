//! An agent in the terminal: a model that may call a calculator, a clock, and a search in notes,
//! until it answers.
//!
//! ```sh
//! cargo run --release --example tools -- MODEL "How much is 17 times 3?" [TOOL_CHOICE]
//! ```
//!
//! MODEL is a GGUF file, a Hugging Face folder, or an address. TOOL_CHOICE is `auto` (the default),
//! `required`, or the name of a tool.

mod agent;
mod model;
mod tools;

use agent::Step;
use serde_json::json;

fn main() -> Result<(), model::Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, question, choice @ ..] = arguments.as_slice() else {
        return Err("usage: tools MODEL QUESTION [TOOL_CHOICE]".to_string().into());
    };
    let choice = match choice.first().map(String::as_str) {
        None => json!("auto"),
        Some(word @ ("auto" | "none" | "required")) => json!(word),
        Some(name) => json!({ "type": "function", "function": { "name": name } }),
    };
    let mut model = model::Model::open(path)?;
    let mut messages = vec![json!({ "role": "user", "content": question })];
    let mut on_step = |step: Step| match step {
        Step::Call { name, arguments } => println!("{name}({arguments})"),
        Step::Result(text) => println!("  {}", text.replace('\n', "\n  ")),
    };
    let tools = tools::tools(tools::NOTES);
    let answer = agent::answer(&mut |body| model.ask(body), &tools, &mut messages, &choice, 4, &mut on_step)?;
    println!("{answer}");
    Ok(())
}
