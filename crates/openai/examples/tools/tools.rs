//! A calculator, a clock, and a search in notes.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::agent::Tool;

/// Notes, one a paragraph.
pub const NOTES: &str = "\
The bicycle is in the shed; its lock opens with 4127.

Grandmother's pancakes: 3 eggs, 250 g of flour, half a litre of milk, a pinch of salt.

The train to Bergen leaves Oslo at 08:25 and takes 6 hours and 50 minutes.";

/// The three of them; the search looks into `notes`.
pub fn tools(notes: &'static str) -> Vec<Tool> {
    vec![
        Tool::new(
            "calculator",
            "Computes an expression, as 3 * (2 + 4) ^ 2 or sqrt(2).",
            json!({ "expression": { "type": "string", "maxLength": 60 } }),
            &["expression"],
            |given| compute(text(given, "expression")),
        ),
        Tool::new(
            "clock",
            "The date and the time now, in a time zone as Europe/Oslo, or here.",
            json!({ "zone": { "type": "string", "maxLength": 40 } }),
            &[],
            |given| now(given["zone"].as_str()),
        ),
        Tool::new(
            "search_notes",
            "Finds notes of the user's by words in them.",
            json!({ "words": { "type": "string", "minLength": 1, "maxLength": 60 } }),
            &["words"],
            |given| Ok(found(notes, text(given, "words"))),
        ),
    ]
}

fn text<'a>(given: &'a Value, name: &str) -> &'a str {
    given[name].as_str().unwrap_or_default()
}

fn compute(expression: &str) -> Result<String, String> {
    let value: f64 = exmex::eval_str(expression).map_err(|error| error.to_string())?;
    match value.is_finite() {
        true => Ok(value.to_string()),
        false => Err("this is no number, or one that is too large".into()),
    }
}

fn now(zone: Option<&str>) -> Result<String, String> {
    let zone = zone.map_or_else(|| Ok(TimeZone::system()), TimeZone::get).map_err(|error| error.to_string())?;
    Ok(Timestamp::now().to_zoned(zone).strftime("%A, %-d %B %Y, %H:%M:%S %Z").to_string())
}

/// The three notes with most of the words.
fn found(notes: &str, words: &str) -> String {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let hits = |note: &str| words.iter().filter(|word| note.to_lowercase().contains(*word)).count();
    let mut notes: Vec<(usize, &str)> = notes.split("\n\n").map(|note| (hits(note), note)).collect();
    notes.retain(|(hits, _)| *hits > 0);
    notes.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
    let best: Vec<&str> = notes.iter().take(3).map(|(_, note)| *note).collect();
    if best.is_empty() { "No note has these words.".into() } else { best.join("\n\n") }
}
