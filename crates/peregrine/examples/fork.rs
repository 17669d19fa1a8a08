//! One beginning, several continuations:
//! `cargo run --release -p peregrine --example fork -- MODEL`.
//!
//! The beginning is read once. What it leaves behind, keys and values and the SSM states, is kept
//! on the GPU as a snapshot; each question goes on from there.

use peregrine::{Checkpoint, Engine, GenerateOptions, Gpu, GpuOptions, LoadOptions, SamplingOptions, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1).ok_or("which model? A GGUF file, a folder, or an address")?;
    pollster::block_on(fork(&model))
}

async fn fork(model: &str) -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::new(&GpuOptions::default()).await?;
    // A GPU, or the processor where there is none: then it says why.
    eprintln!("on {}{}", gpu.name(), gpu.why().map(|why| format!(", since {why}")).unwrap_or_default());
    let checkpoint = Checkpoint::open(model).await?;
    let engine = Engine::load(&gpu, &checkpoint, &LoadOptions::default(), &mut |_| {}).await?;
    let tokenizer = engine.tokenizer();
    let mut session = Session::new(&engine)?;
    session.prefill(&tokenizer.encode("Once upon a time there was a falcon who", true)?).await?;
    let beginning = session.snapshot()?;
    let options = GenerateOptions { max_tokens: 24, sampling: SamplingOptions::greedy(), ..GenerateOptions::default() };
    for more in [" lived in the mountains and", " could not fly, so", " met a fox, who said:"] {
        session.go_to(&beginning)?;
        let from = session.position();
        session.prefill(&tokenizer.encode(more, false)?).await?;
        let answer = session.generate(&options, &mut |_| true).await?;
        println!("from token {from}:{more}{}", answer.text);
    }
    Ok(())
}
