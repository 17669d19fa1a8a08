//! Falcon-H1 inference on WebGPU: the runtime, the same natively and on wasm.
//!
//! Falcon-H1 (TII, 2025) puts two mixers side by side in every layer: attention heads and Mamba-2
//! state-space heads read the
//! same normalized input, and their outputs are added; a SwiGLU MLP follows. This crate reads a
//! checkpoint, streams it to the
//! GPU, and runs it.
//!
//! ```no_run
//! use peregrine::{Checkpoint, Engine, Gpu, Message, Result, Session};
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
//! The twelve names at the root are all that such a program needs; modules have the rest.
//!
//! # Features
//!
//! On by default: `cpu` (the processor as a device), and natively `http` ([`Checkpoint::open`]
//! takes addresses) and `hub` (what ids on the Hugging Face hub mean). `clap` makes the options
//! flags of a program. `internals` opens what this repository's own workbench and tests look at; no
//! version promises any of it.
//!
//! # Glossary
//!
//! | word | what it means here |
//! |---|---|
//! | checkpoint | a model's files, opened: sizes, tokenizer, chat template, a directory of tensors; the weights are read when they are wanted |
//! | engine | a model on a device with its tokenizer and chat template; sessions share it |
//! | session | one sequence of tokens over an engine: it reads (prefill), it answers (decode) |
//! | prompt, answer | the tokens that a session is given; those that it samples |
//! | prefill, chunk | reading many tokens at once; how many |
//! | decode | reading the newest token alone, and sampling the next |
//! | logits | a number for each token of the vocabulary, of which the next token is sampled |
//! | sampling | from logits to a token: greedy, or at random by temperature and cut-offs |
//! | piece | a token of an answer, and the text that it completes |
//! | state | what a sequence leaves behind in the model: keys and values, and for each layer the states of its convolution and of its SSM heads |
//! | page | 128 positions of keys and values of all layers: what sessions share and copy |
//! | snapshot | a copy of the states that do not grow, at a place to go back to |
//! | fork | a second session that goes on from where the first one is |
//! | mixer | attention heads or SSM heads: what mixes tokens in a layer |
//! | block format | how a matrix's values are stored in a file: Q4_0, Q4_K, F16 |
//! | adapter | LoRA: two thin matrices beside a large one; of a GPU: the hardware behind a device, in wgpu's words |
//! | constraint | which tokens may come next, by a grammar |
//! | self-check | the pipelines that a model will use, compared with the CPU before the first answer |
//! | reference | the same model on the CPU, written to be right and to be read; each kernel has a twin there |
//!
//! **Stopping** has one meaning, whichever way it is asked for: `on_piece` that returns `false`,
//! after that piece, and [`GenerateOptions::cancel`] that returns `true`, between two steps. The
//! answer ends with [`Finish::Cancelled`](session::Finish); all that was read and sampled until
//! then stays read, and the next request goes on from there.
//!
//! # The map
//!
//! | module | what |
//! |---|---|
//! | [`checkpoint`], [`config`], [`mod@format`] | files: byte sources, GGUF, HF folders; sizes and multipliers; block formats |
//! | [`gpu`] | the device |
//! | [`options`] | what a model is loaded with, and what is asked of the device: each option once |
//! | [`model`] | **the page**: the forward pass, one line a dispatch; progress of loading; what a model needs |
//! | `cpu` | the processor as a device of its own, behind wgpu's interface: the kernels once more, in Rust (feature `cpu`) |
//! | [`adapter`] | LoRA beside the weights: PEFT's folders, GGUF adapters |
//! | [`session`] | a conversation: what was read and written, snapshots, saved sessions; its `Decoder` drives the device |
//! | [`tokenizer`], [`chat`], [`sampling`], [`constraint`] | text in and out |
//! | [`selfcheck`] | the pipelines that a model will use, tried on the device before the first answer |
//! | `ops`, `kernels`, `plan`, `weights` | the operations with their kernels, variants and twins; pipelines; recorded dispatches; matrices in parts |
//! | `state`, `text` | what a conversation leaves behind; tokens to text, stop texts |
//! | `reference`, `inspect` | the CPU twin; a step looked at from inside, to be compared with it |
//!
//! # Five ideas
//!
//! 1. The model is one page, `Model::record`; `reference::model` has the same lines.
//! 2. The parallel hybrid is parallel in the code: for a token, attention heads and SSM heads are
//!    workgroups of one dispatch (`mixer_step`); prompts go through them in tiles and chunks
//!    (`attention_tile`, `ssd_output`).
//! 3. A plan is recorded once and replayed for every token: pipelines and bind groups are
//!    ready-made.
//! 4. Bytes go from the source to the GPU in pieces: no complete checkpoint ever lies in host
//!    memory.
//! 5. What a conversation leaves behind is a value apart from the weights: `state::State`.
//!
//! # Letters
//!
//! T tokens, D hidden size, H heads, P SSM head dim, N SSM state size, G groups, F feed-forward
//! width, V vocabulary; d = H P, the
//! width of the SSM branch; K taps of its convolution; hd, nh, nkv: attention's head dim, heads,
//! key and value heads.

// Without them, some of what only the workbench and the tests call is called by nobody.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unused_imports))]

pub mod adapter;
pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod constraint;
#[cfg(feature = "cpu")]
mod cpu;
pub mod error;
pub use peregrine_formats as format;
pub mod gpu;
pub mod model;
pub mod options;
pub mod sampling;
pub mod selfcheck;
pub mod session;
pub mod tokenizer;

/// What this repository's workbench and tests look at, where the feature `internals` opens it. Its
/// files lie beside this one, and everybody here names its modules as if they stood at the root.
#[path = "."]
mod internals {
    pub mod inspect;
    pub mod kernels;
    pub mod ops;
    pub mod plan;
    pub mod reference;
    pub mod state;
    pub mod text;
    pub mod weights;
}
#[cfg(not(feature = "internals"))]
use self::internals::*;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use self::internals::*;

pub use self::chat::Message;
pub use self::checkpoint::Checkpoint;
pub use self::error::{Error, Result};
pub use self::gpu::{Gpu, GpuOptions};
pub use self::model::LoadOptions;
pub use self::sampling::SamplingOptions;
pub use self::session::{Engine, GenerateOptions, Piece, Session};
