//! `tokenize`: token ids of a text.

use std::io::Write;

use peregrine::tokenizer::Tokenizer;

use crate::common::{open, read_text};
use crate::failure::Outcome;
use crate::terminal;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("input").required(true).args(["text", "file"])))]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// The text
    #[arg(long, allow_hyphen_values = true)]
    text: Option<String>,
    /// A file with the text; - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Put the beginning-of-text token in front
    #[arg(long)]
    bos: bool,
    /// Spell out control tokens that occur in the text instead of recognizing them
    #[arg(long)]
    plain: bool,
}

pub fn run(args: &Args) -> Outcome {
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, file) => read_text(file.as_deref().unwrap_or("-"))?,
    };
    let checkpoint = open(&args.model)?;
    let tokenizer = Tokenizer::new(&checkpoint.tokenizer, checkpoint.config.vocab_size)?;
    let mut ids = match args.plain {
        true => tokenizer.encode_plain(&text)?,
        false => tokenizer.encode(&text, args.bos)?,
    };
    if args.plain && args.bos {
        ids.splice(0..0, tokenizer.bos());
    }
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    writeln!(terminal::stdout(), "{}", words.join(" "))?;
    Ok(())
}
