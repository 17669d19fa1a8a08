//! `serve`: OpenAI's API over HTTP.
//!
//! This thread owns the GPU and answers one request after the other ([`worker`]); another one has
//! all connections ([`listen`], [`http`]) and checks what they ask ([`answers`]). Between them are
//! a bounded queue of requests ([`queue`]) and, for each answer, a bounded channel of chunks
//! ([`tell`], [`events`]).

mod answers;
mod body;
mod connection;
mod events;
mod guard;
mod hosts;
mod http;
mod io;
mod job;
mod listen;
mod metrics;
mod queue;
mod sender;
#[cfg(test)]
mod tests;
mod worker;

use std::env::VarError;
use std::io::Write;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use peregrine::LoadOptions;
use peregrine::checkpoint::Checkpoint;
use peregrine::constraint::Compiler;
use peregrine::session::{Engine, Session};
use peregrine_grammar::Grammars;
use peregrine_openai::response::Model;
use peregrine_openai::{Admission, Offered};
use pollster::block_on;
use tokio::sync::watch;

use self::guard::{Key, Origins};
use self::hosts::Hosts;
use self::http::{Server, router};
use self::metrics::Metrics;
use self::queue::Queue;
use self::worker::{FIRST_WAIT, Loads, Worker};
use crate::common::GpuArgs;
use crate::failure::{Failure, Outcome};
use crate::signals;
use crate::terminal::{self, note};

/// Where the key may be, so that it need not be in a command that others see.
const KEY_VARIABLE: &str = "PEREGRINE_API_KEY";

#[derive(clap::Args)]
pub struct Args {
    /// GGUF file, Hugging Face folder, http(s) address, or org/repo[:FILE] on the hub
    model: String,
    /// Address to listen at; 0.0.0.0 is every one that this machine has
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen at; 0 takes one that is free
    #[arg(long, value_name = "PORT", default_value_t = 8318)]
    port: u16,
    /// What clients must send as "Authorization: Bearer KEY"; or in the variable PEREGRINE_API_KEY
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    api_key: Option<String>,
    /// Pages that may ask, as in https://a.example,http://localhost:5173; * is all of them (none)
    #[arg(long, value_name = "ORIGINS", value_parser = Origins::parse)]
    allowed_origins: Option<Origins>,
    /// Requests that may wait while another one is answered; more get 429 and a Retry-After
    #[arg(long, value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(..=i64::from(listen::MOST_WAITING)))]
    queue: u32,
    /// Seconds that the answer which is being made may still take when the server is to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    grace: u32,
    #[command(flatten)]
    gpu: GpuArgs<LoadOptions>,
}

pub fn run(args: &Args) -> Outcome {
    let key = key(args)?;
    // What is wrong with the address shows before gigabytes are loaded; who connects by then waits.
    let at = format!("{}:{}", args.host, args.port);
    let listening = |error| Failure::run(format!("cannot listen at {at}: {error}"));
    let listener = TcpListener::bind((args.host.trim_matches(['[', ']']), args.port)).map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    if !address.ip().is_loopback() && key.is_none() {
        note(&format!("warning: whoever can reach {address} can ask; give a key with --api-key or {KEY_VARIABLE}"));
    }
    let mut loads = Loading { args, checkpoint: args.gpu.open(&args.model)?, grammars: None, adapters: Vec::new() };
    let engine = loads.engine(0)?;
    loads.adapters = args.gpu.lora.offered(&engine);
    let session = loads.session(&engine)?;
    let context_length = engine.model().context_length();
    let admission = Admission::new(&loads.checkpoint, context_length)?.with_adapters(loads.adapters.clone());
    let grammars = Arc::new(Grammars::new(admission.shared_tokenizer()));
    loads.grammars = Some(grammars.clone());
    let metrics = Arc::new(Metrics::default());
    let (stop, stopping) = watch::channel(false);
    let (answered, last_answer) = watch::channel(false);
    let model = Model::new(&loads.checkpoint.name, http::now(), context_length);
    let shared = Arc::new(Server {
        queue: Arc::new(Queue::new(args.queue as usize, metrics.clone())),
        metrics,
        healthy: Arc::new(AtomicBool::new(true)),
        admission: admission.with_compiler(grammars),
        memory: body::memory(),
        hosts: (address.ip().is_loopback() && key.is_none()).then(|| Hosts::local(&args.host)),
        key: key.as_deref().map(Key::new),
        origins: args.allowed_origins.clone().unwrap_or_default(),
        model,
        stopping,
    });

    let queue = shared.queue.clone();
    signals::on(move |signal| {
        // Whoever asks twice means it.
        if stop.send_replace(true) {
            signals::end(signal);
        }
        queue.stop();
    });
    let worker = Worker {
        loads,
        queue: shared.queue.clone(),
        metrics: shared.metrics.clone(),
        healthy: shared.healthy.clone(),
        engine: Some(engine),
        session: Some(session),
        wait: FIRST_WAIT,
        losses: 0,
    };
    // No timer is made and no connection taken before `block_on`. Two threads read what is asked:
    // it takes memory.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(2).build().map_err(listening)?;
    let grace = Duration::from_secs(args.grace.into());
    let connections = std::thread::spawn(move || {
        // Without connections there is nothing to answer, also where they end with a panic.
        let _ends = Ends(shared.queue.clone());
        runtime.block_on(listen::serve(listener, router(shared.clone()), shared, last_answer, grace))
    });
    // With standard output closed there is nobody to tell, and the server serves.
    let _ = writeln!(terminal::stdout(), "http://{address}");
    worker.run();
    answered.send_replace(true);
    match connections.join() {
        Ok(served) => served.map_err(listening),
        Err(_) => Err(Failure::run("the connections ended with an internal error")),
    }
}

/// The key that clients must give, where they must.
fn key(args: &Args) -> Outcome<Option<String>> {
    let (key, from) = match &args.api_key {
        Some(key) => (key.clone(), "--api-key"),
        None => match std::env::var(KEY_VARIABLE) {
            Ok(key) => (key, KEY_VARIABLE),
            Err(VarError::NotPresent) => return Ok(None),
            Err(VarError::NotUnicode(_)) => {
                return Err(Failure::input(format!(
                    "{KEY_VARIABLE}: the key is not UTF-8, so no client could send it"
                )));
            }
        },
    };
    match key.trim() {
        "" => Err(Failure::input(format!("{from}: the key is empty: give another one, or none"))),
        key => Ok(Some(key.to_string())),
    }
}

/// Ends the answers when it goes.
struct Ends(Arc<Queue>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.stop();
        self.0.abort();
    }
}

/// What the command line asks for.
struct Loading<'a> {
    args: &'a Args,
    checkpoint: Checkpoint,
    grammars: Option<Arc<Grammars>>,
    adapters: Vec<Offered>,
}

impl Loads for Loading<'_> {
    fn engine(&self, losses: u32) -> Outcome<Rc<Engine>> {
        let gpu = &self.args.gpu;
        let engine = gpu.load_after(losses, &self.checkpoint, &gpu.options())?;
        // Each answers when it is asked for.
        block_on(engine.use_adapters(&[]))?;
        Ok(engine)
    }

    fn session(&self, engine: &Rc<Engine>) -> peregrine::Result<Session> {
        Session::new(engine)
    }

    fn adapters(&self) -> Vec<Offered> {
        self.adapters.clone()
    }

    fn compiler(&self) -> Option<Arc<dyn Compiler + Send + Sync>> {
        self.grammars.clone().map(|grammars| grammars as Arc<dyn Compiler + Send + Sync>)
    }
}
