//! What a developer of Peregrine works with, on top of the runtime, which knows nothing of it.
//!
//! | module | what |
//! |---|---|
//! | [`mod@check`] | every dispatch and every state of a model against the CPU |
//! | [`fidelity`] | how exact the logits are: against the CPU twin in f64 |
//! | [`mod@perplexity`] | how well a model predicts a text |
//! | `bench` | how fast a model runs here; natively only |
//! | [`mod@profile`] | where a GPU's time goes, and what a token must cost |
//! | [`mod@quantize`] | GGUF files from other files, adapters merged into them |
//! | [`mod@synth`] | models of random numbers, of official shapes |
//! | [`gguf`], [`part_file`] | writing files |

#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
pub mod check;
pub mod fidelity;
pub mod gguf;
#[cfg(not(target_arch = "wasm32"))]
pub mod part_file;
pub mod perplexity;
pub mod profile;
pub mod quantize;
pub mod synth;
