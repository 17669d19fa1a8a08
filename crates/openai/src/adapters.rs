//! Adapters that requests may ask for: by their name as the model, or in `lora`.

use peregrine::session::Session;

use crate::error::{ApiError, Code};
use crate::request::{Lora, Request};

/// An adapter that can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Offered {
    /// As the engine has it.
    pub name: String,
    /// How strongly it acts where its name is the model's.
    pub scale: f32,
}

/// The adapter whose name a request gives as the model's.
pub fn as_model<'a>(request: &Request, offered: &'a [Offered]) -> Option<&'a Offered> {
    let model = request.generation().model.as_deref()?;
    offered.iter().find(|offered| offered.name == model)
}

/// Whether the adapters that a request asks for are there.
///
/// # Errors
/// 400 that names the field.
pub fn check(request: &Request, offered: &[Offered]) -> Result<(), ApiError> {
    let lora = &request.generation().lora;
    if let (Some(model), false) = (as_model(request, offered), lora.is_empty()) {
        let message = format!("not beside the model {}, which is an adapter itself: ask for both in lora", model.name);
        return Err(ApiError::at(Code::InvalidValue, "lora", &message));
    }
    let unknown = |lora: &Lora| !offered.iter().any(|offered| offered.name == lora.id);
    let Some(at) = lora.iter().position(unknown) else { return Ok(()) };
    let id: String = lora[at].id.chars().take(80).collect();
    let names: Vec<&str> = offered.iter().map(|offered| offered.name.as_str()).collect();
    let there = if names.is_empty() { "there are none".into() } else { format!("there are {}", names.join(", ")) };
    let message = format!("there is no adapter {id}; {there}");
    Err(ApiError::at(Code::InvalidValue, &format!("lora[{at}].id"), &message))
}

/// The session answers with the adapters that a request asks for, and with no others.
///
/// # Errors
/// As [`check`]; the engine's.
pub async fn choose(session: &mut Session, request: &Request, offered: &[Offered]) -> Result<(), ApiError> {
    check(request, offered)?;
    let engine = session.engine().clone();
    let of_model = as_model(request, offered).map(|offered| (offered.name.as_str(), offered.scale));
    let listed = request.generation().lora.iter().map(|lora| (lora.id.as_str(), lora.scale as f32));
    let mut wanted = Vec::new();
    for (name, scale) in of_model.into_iter().chain(listed) {
        let id = engine
            .adapter(name)
            .ok_or_else(|| ApiError::at(Code::InvalidValue, "lora", &format!("the adapter {name} has been removed")))?;
        wanted.push((id, scale));
    }
    session.set_adapters(&wanted).await.map_err(|error| ApiError::of(&error, "lora"))
}
