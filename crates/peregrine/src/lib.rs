//! Falcon-H1 inference on WebGPU: the runtime, the same on native and wasm.
//!
//! Falcon-H1 (TII, 2025) puts two mixers side by side in every layer: attention heads and Mamba-2 state-space heads read the
//! same normalised input, and their outputs are added; a SwiGLU MLP follows. This crate reads a checkpoint, streams it to the
//! GPU, and runs it.
//!
//! ```no_run
//! use peregrine::{Result, checkpoint::Checkpoint, gpu::Gpu, session::{Engine, Session}, chat::Message};
//!
//! async fn ask() -> Result<String> {
//!     let gpu = Gpu::new(&Default::default()).await?;
//!     let checkpoint = Checkpoint::open("model.gguf").await?;
//!     let engine = Engine::load(&gpu, &checkpoint, &Default::default(), &mut |_| {}).await?;
//!     let mut session = Session::new(&engine)?;
//!     let question = Message::new("user", "What is the capital of France?");
//!     let answer = session.chat(&[question], &Default::default(), &mut |piece| {
//!         print!("{}", piece.text);
//!         true
//!     }).await?;
//!     Ok(answer.text)
//! }
//! ```
//!
//! # The map
//!
//! | module | what |
//! |---|---|
//! | [`checkpoint`], [`config`], [`mod@format`] | files: byte sources, GGUF, HF folders; sizes and multipliers; block formats |
//! | [`gpu`], [`kernels`], [`weights`], [`plan`] | the device; pipelines; matrices in parts; recorded dispatches |
//! | `cpu` | the processor as a device of its own, behind wgpu's interface: the kernels once more, in Rust (natively, feature `cpu`) |
//! | [`ops`] | the operations: kernels with typed constants and bindings, their variants, their twins |
//! | [`model`] | **the page**: the forward pass, one line a dispatch |
//! | [`adapter`] | LoRA beside the weights: PEFT's folders, GGUF adapters |
//! | [`state`], [`session`] | what a conversation leaves behind; prefill, decode, stopping |
//! | [`tokenizer`], [`text`], [`chat`], [`sampling`] | text in and out |
//! | [`mod@reference`], [`check`], [`fidelity`], [`perplexity`], [`profile`] | the CPU twin, and two comparisons with it; how well a text is foretold; where a GPU's time goes |
//! | [`selfcheck`] | the pipelines that a model will use, tried on the device before the first answer |
//! | [`quantize`], [`synth`] | making GGUF files: from other files, from random numbers |
//!
//! # Five ideas
//!
//! 1. The model is one page: [`model::Model::record`]; [`reference::model`] has the same lines.
//! 2. The parallel hybrid is parallel in the code: for a token, attention heads and SSM heads are workgroups of one dispatch
//!    (`mixer_step`); prompts go through them in tiles and chunks (`attention_tile`, `ssd_output`).
//! 3. A plan is recorded once and replayed for every token: pipelines and bind groups are ready-made.
//! 4. Bytes go from the source to the GPU in pieces: no complete checkpoint ever lies in host memory.
//! 5. What a conversation leaves behind is a value apart from the weights: [`state::State`].
//!
//! # Letters
//!
//! T tokens, D hidden size, H heads, P SSM head dim, N SSM state size, G groups, F feed-forward width, V vocabulary; d = H P, the
//! width of the SSM branch; K taps of its convolution; hd, nh, nkv: attention's head dim, heads, key and value heads.

pub mod adapter;
pub mod chat;
pub mod check;
pub mod checkpoint;
pub mod config;
pub mod constraint;
#[cfg(all(feature = "cpu", not(target_arch = "wasm32")))]
mod cpu;
pub mod error;
pub mod fidelity;
pub use peregrine_formats as format;
pub mod gpu;
pub mod kernels;
pub mod model;
pub mod ops;
pub mod perplexity;
pub mod plan;
pub mod profile;
pub mod quantize;
pub mod reference;
pub mod sampling;
pub mod selfcheck;
pub mod session;
pub mod state;
pub mod synth;
pub mod text;
pub mod tokenizer;
pub mod weights;

pub use error::{Error, LocalFuture, Result};
