//! A model that answers requests of OpenAI's API.

use std::fmt;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use peregrine::checkpoint::Checkpoint;
use peregrine::gpu::Gpu;
use peregrine::session::{Engine, Session};
use peregrine_grammar::Grammars;
use peregrine_openai::{ApiError, Head, Request, answer};
use pollster::block_on;
use serde_json::{Value, json};

/// What is wrong, in one line.
pub struct Failure(String);

impl From<String> for Failure {
    fn from(line: String) -> Self {
        Self(line)
    }
}

impl From<peregrine::Error> for Failure {
    fn from(error: peregrine::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error.to_string())
    }
}

/// As `main` prints it.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One conversation with it.
pub struct Model {
    session: Session,
    grammars: Rc<Grammars>,
    asked: u64,
}

impl Model {
    /// Loads it onto the GPU.
    pub fn open(path: &str) -> Result<Self, Failure> {
        let gpu = block_on(Gpu::new(&Default::default()))?;
        let checkpoint = block_on(Checkpoint::open(path))?;
        let engine = block_on(Engine::load(&gpu, &checkpoint, &Default::default(), &mut |_| {}))?;
        let grammars = Rc::new(Grammars::new(engine.shared_tokenizer()));
        Ok(Self { session: Session::new(&engine)?, grammars, asked: 0 })
    }

    /// A chat completion, whole.
    pub fn ask(&mut self, body: &Value) -> Result<Value, Failure> {
        let mut body = body.clone();
        // The likeliest words: a tool is no place for chance.
        body["temperature"] = json!(0);
        body["max_tokens"] = json!(256);
        let request = Request::chat(&body)?;
        self.asked += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = Head { id: self.asked.to_string(), created: now.as_secs(), model: "local".into(), seed: self.asked };
        let grammars = self.grammars.clone();
        let done = block_on(answer(&mut self.session, &request, &head, &mut |_| true, None, Some(&*grammars)))?;
        serde_json::to_value(done.whole).map_err(|error| Failure(error.to_string()))
    }
}
