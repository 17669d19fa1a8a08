//! `peregrine`: Falcon-H1 language models on the desktop's GPU. A thin shell: everything is done by
//! the library.
//!
//! Exit status: 0 done, 1 a run failed (device, memory, network, disk), 2 bad arguments or bad
//! input. Errors are one line on stderr.

mod bench;
mod bench_state;
mod bench_table;
mod chat;
mod check;
mod common;
mod environment;
mod failure;
mod fidelity;
mod format;
mod generate;
mod hub;
mod info;
mod input;
mod logits;
mod lora;
mod lost;
mod merge;
mod perplexity;
mod prefill;
mod quantize;
mod self_checks;
mod serve;
mod signals;
mod state;
mod synth;
mod terminal;
mod tokenize;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::{Failure, Outcome};

/// Falcon-H1 language models on WebGPU.
///
/// MODEL is a GGUF file, a Hugging Face folder, the http(s) address of a GGUF file, or an id on the
/// Hugging Face hub: org/repo, org/repo:FILE, or org/repo:Q4_K_M.
#[derive(Parser)]
#[command(name = "peregrine", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What a model file is; without MODEL, the GPU adapters of this machine
    Info(info::Args),
    /// Talk with a model
    Chat(chat::Args),
    /// Continue a text
    Generate(generate::Args),
    /// Read a prompt once and keep the state it leaves as a file
    Prefill(prefill::Args),
    /// Answer OpenAI's API over HTTP
    Serve(serve::Args),
    /// Token ids of a text, on one line
    Tokenize(tokenize::Args),
    /// Logits of given tokens as a NumPy file, f32 [T, V]
    Logits(logits::Args),
    /// Speed of prefill and decode
    Bench(bench::Args),
    /// Speed of random models of official shapes, checked in the same run: tables in Markdown
    BenchTable(bench_table::Args),
    /// Compare a device with the CPU twin, stage by stage
    Check(check::Args),
    /// How exact the logits are: the GPU against the CPU in f64
    Fidelity(fidelity::Args),
    /// How well a model predicts a text
    Perplexity(perplexity::Args),
    /// Convert a model to GGUF, or requantize a GGUF file
    Quantize(quantize::Args),
    /// Put LoRA adapters into the weights of their base model, as one GGUF file
    Merge(merge::Args),
    /// Make a model of an official shape with random weights
    Synth(synth::Args),
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Info(args) => info::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Prefill(args) => prefill::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchTable(args) => bench_table::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Fidelity(args) => fidelity::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Synth(args) => synth::run(&args),
    }
}

/// The arguments, or what to say instead of running.
fn parse() -> Result<Command, ExitCode> {
    // A negative number is a value wherever there are values, if only to be told that it is out of
    // range.
    let takes_numbers = |command: clap::Command| {
        command.mut_args(|arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        })
    };
    let parsed = Cli::command().mut_subcommands(takes_numbers).try_get_matches();
    let error = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => return Ok(cli.command),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Help into a closed pipe is no failure.
            let _ = error.print();
            Err(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::input("no command was given; try 'peregrine --help'").report())
        }
        _ => {
            // The first paragraph is the reason; usage and hints follow after an empty line.
            let text = error.to_string();
            let reason = text.lines().take_while(|line| !line.is_empty());
            let reason = reason.collect::<Vec<_>>().join(" ");
            Err(Failure::input(reason.trim_start_matches("error: ")).report())
        }
    }
}

fn main() -> ExitCode {
    // A bug is reported in one line, too.
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("no message");
        let at = info.location().map(|at| format!(" at {at}")).unwrap_or_default();
        Failure::run(format!("internal error, please report it: {text}{at}")).report();
    }));
    signals::catch();
    let outcome = std::panic::catch_unwind(|| match parse() {
        Ok(command) => match run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
        Err(code) => code,
    });
    outcome.unwrap_or(ExitCode::from(1))
}
