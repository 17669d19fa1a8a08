//! The adapters of an engine, and the choices of them that sessions have made.

use std::collections::HashMap;
use std::rc::{Rc, Weak};

use super::Adapter;
use crate::error::{Error, Result};
use crate::model::turns::Turns;
use crate::ops::lora::Adapted;

/// An adapter of an engine. No other of that engine ever has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(u32);

/// An adapter that a session uses, and how strongly.
#[derive(Clone)]
pub struct Chosen {
    /// Which.
    pub id: AdapterId,
    /// Under which name the engine has it.
    pub name: Rc<str>,
    /// What is multiplied to all that it adds; never 0.
    pub scale: f32,
    pub(crate) adapter: Rc<Adapter>,
}

impl Chosen {
    /// The adapter.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }
}

impl PartialEq for Chosen {
    /// The same matrices under the same scale, whatever they are called.
    fn eq(&self, other: &Self) -> bool {
        self.scale.to_bits() == other.scale.to_bits() && self.adapter.fingerprint() == other.adapter.fingerprint()
    }
}

/// What an engine has.
#[derive(Default)]
pub(crate) struct Registry {
    entries: Vec<(AdapterId, Rc<str>, Rc<Adapter>)>,
    next: u32,
    /// Choices that are on the GPU.
    made: Vec<Weak<Adapted>>,
    /// Whether choices of a layout may publish A x, where the self-check has looked at one.
    pub layouts: HashMap<u64, bool>,
    /// Whose choice it looks at: one at a time, since a choice is computed one way and the other
    /// meanwhile.
    pub checking: Rc<Turns>,
    /// What a new session begins with.
    pub default: Option<Rc<Adapted>>,
}

impl Registry {
    pub fn add(&mut self, name: &str, adapter: Rc<Adapter>) -> Result<AdapterId> {
        if self.by_name(name).is_some() {
            return Err(Error::Argument {
                field: "adapter".into(),
                expected: "a name that no other adapter has".into(),
                found: format!("{name:?} twice"),
            });
        }
        let id = AdapterId(self.next);
        self.next += 1;
        self.entries.push((id, name.into(), adapter));
        Ok(id)
    }

    pub fn remove(&mut self, id: AdapterId) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(other, ..)| *other != id);
        self.default = self.default.take().filter(|adapted| adapted.chosen.iter().all(|chosen| chosen.id != id));
        self.entries.len() < before
    }

    pub fn by_name(&self, name: &str) -> Option<AdapterId> {
        self.entries.iter().find(|(_, other, _)| **other == *name).map(|(id, ..)| *id)
    }

    pub fn all(&self) -> &[(AdapterId, Rc<str>, Rc<Adapter>)] {
        &self.entries
    }

    /// A choice in an order of its own, so that the same choice is always the same sum: without
    /// those whose scale is 0.
    pub fn choose(&self, wanted: &[(AdapterId, f32)]) -> Result<Vec<Chosen>> {
        let wrong =
            |expected: &str, found: String| Error::Argument { field: "lora".into(), expected: expected.into(), found };
        let mut chosen: Vec<Chosen> = Vec::new();
        for (id, scale) in wanted {
            let entry = self.entries.iter().find(|(other, ..)| other == id);
            let Some((_, name, adapter)) = entry else {
                return Err(wrong("an adapter that is loaded", "one that was removed, or another engine's".into()));
            };
            if !scale.is_finite() {
                return Err(wrong("a finite scale", format!("{scale} for {name:?}")));
            }
            if chosen.iter().any(|other| other.id == *id) {
                return Err(wrong("each adapter once", format!("{name:?} twice")));
            }
            let (name, adapter) = (name.clone(), adapter.clone());
            chosen.push(Chosen { id: *id, name, scale: *scale, adapter });
        }
        chosen.retain(|chosen| chosen.scale != 0.0);
        chosen.sort_by(|a, b| {
            let key = |c: &Chosen| (c.adapter.fingerprint().to_string(), c.scale.to_bits());
            key(a).cmp(&key(b))
        });
        Ok(chosen)
    }

    /// The same choice on the GPU, where somebody still has it.
    pub fn made(&mut self, chosen: &[Chosen]) -> Option<Rc<Adapted>> {
        self.made.retain(|made| made.strong_count() > 0);
        self.made.iter().filter_map(Weak::upgrade).find(|made| made.chosen == chosen)
    }

    /// Bytes of all choices that are on the GPU.
    pub fn bytes(&self) -> u64 {
        self.made.iter().filter_map(Weak::upgrade).map(|made| made.bytes()).sum()
    }

    pub fn keep(&mut self, adapted: &Rc<Adapted>) {
        self.made.push(Rc::downgrade(adapted));
    }
}
