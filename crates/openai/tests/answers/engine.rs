//! One engine for all tests, the requests that they make, and what comes back.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};

use peregrine::checkpoint::Checkpoint;
use peregrine::constraint::Compiler;
use peregrine::gpu::{Gpu, GpuOptions};
use peregrine::model::LoadOptions;
use peregrine::session::{Engine, Session};
use peregrine_grammar::Grammars;
use peregrine_openai::{ApiError, Cancel, Done, Head, Request, answer};
use pollster::block_on;
use serde_json::{Value, json};

type Task = Box<dyn FnOnce(&Rc<Engine>) + Send>;

/// The thread that has the engine.
const THREAD: &str = "engine";

thread_local! {
    /// What failed there last.
    static FAILURE: RefCell<String> = const { RefCell::new(String::new()) };
}

static ENGINE: LazyLock<Mutex<Sender<Task>>> = LazyLock::new(|| {
    let (tasks, queue) = channel::<Task>();
    let engine = std::thread::Builder::new().name(THREAD.into());
    let run = move || {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny/peregrine-tiny-chat-Q4_0.gguf");
        let checkpoint = block_on(Checkpoint::open(path.to_str().unwrap())).unwrap();
        let gpu = block_on(Gpu::new(&GpuOptions::default()))
            .expect("tests need a Vulkan adapter; mesa-vulkan-drivers has one in software");
        let options = LoadOptions { context_length: Some(256), ..LoadOptions::default() };
        let engine = block_on(Engine::load(&gpu, &checkpoint, &options, &mut |_| {})).unwrap();
        // From here on, what fails is told by the test whose task it was.
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match std::thread::current().name() {
            Some(THREAD) => FAILURE.set(info.to_string()),
            _ => tell(info),
        }));
        queue.iter().for_each(|task| task(&engine));
    };
    engine.spawn(run).unwrap();
    Mutex::new(tasks)
});

/// Runs a test with a session of its own, and fails where it fails.
pub fn with_session(test: impl FnOnce(&mut Session) + Send + 'static) {
    let (done, result) = channel();
    let task: Task = Box::new(move |engine| {
        let run = || test(&mut Session::new(engine).unwrap());
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        let _ = done.send(run.map_err(|_| FAILURE.take()));
    });
    ENGINE.lock().unwrap().send(task).unwrap();
    if let Err(failure) = result.recv().expect("the engine has a thread") {
        panic!("{failure}");
    }
}

pub fn head() -> Head {
    Head { id: "7".into(), created: 1_790_000_000, model: "tiny".into(), seed: 11 }
}

/// The chunks as JSON, and how it went.
pub fn streamed(
    session: &mut Session,
    request: &Request,
    most: usize,
    cancel: Option<Cancel>,
) -> (Vec<Value>, Result<Done, ApiError>) {
    told(session, request, most, cancel, None)
}

/// The same by grammars of the model.
pub fn enforced(session: &mut Session, request: &Request) -> (Vec<Value>, Result<Done, ApiError>) {
    let grammars = Grammars::new(session.engine().shared_tokenizer());
    enforced_by(session, request, &grammars)
}

/// The same by somebody's grammars.
pub fn enforced_by(
    session: &mut Session,
    request: &Request,
    grammars: &dyn Compiler,
) -> (Vec<Value>, Result<Done, ApiError>) {
    told(session, request, usize::MAX, None, Some(grammars))
}

fn told(
    session: &mut Session,
    request: &Request,
    most: usize,
    cancel: Option<Cancel>,
    grammars: Option<&dyn Compiler>,
) -> (Vec<Value>, Result<Done, ApiError>) {
    let mut chunks = Vec::new();
    let mut on_event = |chunk| {
        chunks.push(serde_json::to_value(&chunk).unwrap());
        chunks.len() < most
    };
    let done = block_on(answer(session, request, &head(), &mut on_event, cancel, grammars));
    (chunks, done)
}

/// The same by grammars of the model.
pub fn whole_enforced(session: &mut Session, request: &Request) -> Value {
    serde_json::to_value(enforced(session, request).1.unwrap().whole.unwrap()).unwrap()
}

/// The whole response as JSON.
pub fn whole(session: &mut Session, request: &Request) -> Value {
    let (chunks, done) = streamed(session, request, usize::MAX, None);
    assert!(chunks.is_empty());
    serde_json::to_value(done.unwrap().whole.unwrap()).unwrap()
}

pub fn chat(fields: Value) -> Request {
    let mut body = json!({
        "messages": [{ "role": "user", "content": "What is the capital of France?" }],
        "max_tokens": 12, "temperature": 0, "ignore_eos": true,
    });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Request::chat(&body).unwrap()
}

pub fn completion(fields: Value) -> Request {
    let mut body = json!({ "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, "ignore_eos": true });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    Request::completion(&body).unwrap()
}

/// The choice of each chunk that has one.
pub fn choices(chunks: &[Value]) -> impl Iterator<Item = &Value> {
    chunks.iter().filter_map(|chunk| chunk["choices"].get(0))
}
