//! Calls of tools: found in what a model writes, while it writes.

mod call;
mod enforce;
mod grammar;
mod json;
mod news;
mod parser;
mod schema;
mod tags;

pub(crate) use self::enforce::Enforced;
pub(crate) use self::grammar::{Calls, calls};
pub use self::news::{CallNews, News};
pub use self::parser::Parser;
pub use self::schema::call_schema;

#[cfg(test)]
mod tests;
