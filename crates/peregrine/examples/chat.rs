//! A conversation in the terminal: `cargo run --release -p peregrine --example chat -- MODEL`. An
//! empty line ends it.

use std::io::{BufRead, Write};

use peregrine::{Checkpoint, Engine, GenerateOptions, Gpu, GpuOptions, LoadOptions, Message, Piece, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1).ok_or("which model? A GGUF file, a folder, or an address")?;
    pollster::block_on(chat(&model))
}

async fn chat(model: &str) -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::new(&GpuOptions::default()).await?;
    // A GPU, or the processor where there is none: then it says why.
    eprintln!("on {}{}", gpu.name(), gpu.why().map(|why| format!(", since {why}")).unwrap_or_default());
    let checkpoint = Checkpoint::open(model).await?;
    let engine = Engine::load(&gpu, &checkpoint, &LoadOptions::default(), &mut |_| {}).await?;
    let mut session = Session::new(&engine)?;
    let options = GenerateOptions { max_tokens: 512, ..GenerateOptions::default() };
    let mut messages = Vec::new();
    let mut lines = std::io::stdin().lock().lines();
    print!("> ");
    std::io::stdout().flush()?;
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        messages.push(Message::new("user", line));
        let mut show = |piece: Piece| {
            print!("{}", piece.text);
            std::io::stdout().flush().is_ok()
        };
        // What the session has read already is not read again.
        let answer = session.chat(&messages, &options, &mut show).await?;
        messages.push(Message::new("assistant", answer.text));
        print!("\n> ");
        std::io::stdout().flush()?;
    }
    println!();
    Ok(())
}
