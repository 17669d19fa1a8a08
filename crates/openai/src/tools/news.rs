//! What there is to tell of an answer.

/// What is new of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Ordinary text.
    pub text: String,
    /// Of calls, each at most once, in order.
    pub calls: Vec<CallNews>,
}

/// What is new of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallNews {
    /// Which of the answer's calls, from 0.
    pub index: usize,
    /// There when nothing of this call was told before.
    pub name: Option<String>,
    /// A piece of its arguments: JSON.
    pub arguments: String,
}
