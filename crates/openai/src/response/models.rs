//! Which models there are: one, and its adapters.

use serde::Serialize;

/// `GET /v1/models`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Models {
    /// `list`
    pub object: &'static str,
    /// What can be asked.
    pub data: Vec<Model>,
}

impl Models {
    /// There is one.
    pub fn one(model: Model) -> Self {
        Self::all(vec![model])
    }

    /// All of them.
    pub fn all(data: Vec<Model>) -> Self {
        Self { object: "list", data }
    }
}

/// `GET /v1/models/ID`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// `model`
    pub object: &'static str,
    /// Seconds since 1970: when it was loaded.
    pub created: u64,
    /// `peregrine`
    pub owned_by: &'static str,
    /// Not OpenAI's: tokens that a conversation may have.
    pub context_length: u32,
    /// Of an adapter: the model that it is beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

impl Model {
    /// The loaded one.
    pub fn new(id: &str, created: u64, context_length: u32) -> Self {
        Self { id: id.into(), object: "model", created, owned_by: "peregrine", context_length, parent: None }
    }

    /// An adapter beside this one.
    pub fn adapter(&self, id: &str) -> Self {
        Self { id: id.into(), parent: Some(self.id.clone()), ..self.clone() }
    }
}
