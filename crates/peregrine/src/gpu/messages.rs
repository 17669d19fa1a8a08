//! In a browser the processor computes on the thread that hears messages, so whoever waits for it
//! lets them in from time to time: a call that stops an answer, the next piece of a download.

use std::cell::Cell;

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::Instant;

/// Seconds after which it is time. A turn of the event loop costs some hundredths of a millisecond.
const PATIENCE: f64 = 0.04;

#[wasm_bindgen]
extern "C" {
    /// A task of its own, unlike a promise, and at once, unlike a timer. Workers, pages and Node
    /// have it.
    type MessageChannel;
    #[wasm_bindgen(constructor)]
    fn new() -> MessageChannel;
    #[wasm_bindgen(method, getter)]
    fn port1(this: &MessageChannel) -> MessagePort;
    #[wasm_bindgen(method, getter)]
    fn port2(this: &MessageChannel) -> MessagePort;

    type MessagePort;
    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &MessagePort, message: &JsValue);
    #[wasm_bindgen(method)]
    fn close(this: &MessagePort);
}

/// When messages were let in last.
pub(super) struct Messages(Cell<Instant>);

impl Messages {
    pub fn new() -> Self {
        Self(Cell::new(Instant::now()))
    }

    /// Lets them in, if it is time.
    pub async fn let_in(&self) {
        if Instant::now().since(self.0.get()) < PATIENCE {
            return;
        }
        let channel = MessageChannel::new();
        let (here, there) = (channel.port1(), channel.port2());
        let heard = Promise::new(&mut |resolve: Function, _| {
            // Setting a property of a fresh port cannot fail.
            let _ = Reflect::set(&here, &"onmessage".into(), &resolve);
            there.post_message(&JsValue::NULL);
        });
        let _ = JsFuture::from(heard).await;
        // Node does not end while a port is open.
        here.close();
        self.0.set(Instant::now());
    }
}
