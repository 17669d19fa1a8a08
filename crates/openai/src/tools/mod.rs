//! Calls of tools: found in what a model writes, while it writes.

mod call;
mod json;
mod parser;

pub use self::parser::{CallNews, News, Parser};

#[cfg(test)]
mod tests;
