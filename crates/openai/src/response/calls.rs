//! Calls of tools.

use serde::Serialize;

use crate::tools::CallNews;

/// A call of a tool, or a piece of one that is streamed: the first has all fields, those after it
/// the index and more of the arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ToolCall {
    /// Of streamed ones: which of the answer's calls, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// No other call of any response has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<&'static str>,
    /// What is called.
    pub function: CalledFunction,
}

/// What is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CalledFunction {
    /// Its name, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// JSON, as the model wrote it; or a piece of that.
    pub arguments: String,
}

impl ToolCall {
    /// A piece. `id`: where it is the first of its call.
    pub(crate) fn piece(news: CallNews, id: impl Fn(usize) -> String) -> Self {
        let is_first = news.name.is_some();
        Self {
            index: Some(news.index),
            id: is_first.then(|| id(news.index)),
            r#type: is_first.then_some("function"),
            function: CalledFunction { name: news.name, arguments: news.arguments },
        }
    }

    /// Pieces put together: what a response has that is not streamed.
    pub(crate) fn join(calls: &mut Vec<Self>, pieces: Vec<Self>) {
        for piece in pieces {
            match calls.last_mut().filter(|_| piece.id.is_none()) {
                Some(call) => call.function.arguments.push_str(&piece.function.arguments),
                None => calls.push(Self { index: None, ..piece }),
            }
        }
    }
}
