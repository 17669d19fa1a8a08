//! What goes wrong on a device, and who hears of it: the innermost scope of the thread that waits
//! for this kind, or the handler.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

struct Scope {
    filter: wgpu::ErrorFilter,
    first: Option<wgpu::Error>,
}

/// Of one device.
#[derive(Default)]
pub struct Faults {
    scopes: Mutex<HashMap<ThreadId, Vec<Scope>>>,
    handler: Mutex<Option<Arc<dyn wgpu::UncapturedErrorHandler>>>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faults")
    }
}

impl Faults {
    /// The next ones go to a scope of this thread; its place among them.
    pub fn push(&self, filter: wgpu::ErrorFilter) -> u32 {
        let Ok(mut scopes) = self.scopes.lock() else { return 0 };
        let mine = scopes.entry(std::thread::current().id()).or_default();
        mine.push(Scope { filter, first: None });
        mine.len() as u32 - 1
    }

    /// The first that the scope heard of; it ends, with those inside it.
    pub fn pop(&self, index: u32) -> Option<wgpu::Error> {
        let mut scopes = self.scopes.lock().ok()?;
        let id = std::thread::current().id();
        let mine = scopes.get_mut(&id)?;
        let ended = mine.split_off((index as usize).min(mine.len()));
        if mine.is_empty() {
            scopes.remove(&id);
        }
        ended.into_iter().next()?.first
    }

    /// Who hears of what no scope does.
    pub fn set_handler(&self, handler: Arc<dyn wgpu::UncapturedErrorHandler>) {
        if let Ok(mut slot) = self.handler.lock() {
            *slot = Some(handler);
        }
    }

    /// Something that was asked for makes no sense.
    pub fn invalid(&self, description: String) {
        self.report(
            wgpu::ErrorFilter::Validation,
            wgpu::Error::Validation { source: description.clone().into(), description },
        );
    }

    /// A buffer found no room.
    pub fn out_of_memory(&self) {
        let source = "the system has no memory for a buffer".into();
        self.report(wgpu::ErrorFilter::OutOfMemory, wgpu::Error::OutOfMemory { source });
    }

    fn report(&self, kind: wgpu::ErrorFilter, error: wgpu::Error) {
        if let Ok(mut scopes) = self.scopes.lock() {
            let mine = scopes.get_mut(&std::thread::current().id());
            if let Some(scope) = mine.and_then(|mine| mine.iter_mut().rev().find(|scope| scope.filter == kind)) {
                scope.first.get_or_insert(error);
                return;
            }
        }
        let handler = self.handler.lock().ok().and_then(|handler| handler.clone());
        if let Some(handler) = handler {
            handler(error);
        }
    }
}
