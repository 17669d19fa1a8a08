//! How PEFT names modules: by the end of their path, or by a regular expression.

pub(super) use self::engine::Pattern;
use super::pairs::malformed;
use crate::error::Result;

/// A choice of modules.
pub(super) enum Modules {
    /// All linear layers.
    All,
    /// Each of them by its path or the end of it.
    Named(Vec<String>),
    /// Those whose whole path it matches.
    Matching(Box<Pattern>),
}

impl Modules {
    /// Whether it names this path.
    pub fn name(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| ends_with(path, name)),
            Self::Matching(pattern) => pattern.is_match(path),
        }
    }
}

fn ends_with(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// A regular expression that must match a whole path.
pub(super) fn whole(file: &str, field: &str, pattern: &str) -> Result<Box<Pattern>> {
    regex(file, field, pattern, &format!("^(?:{pattern})$"))
}

/// One of a pattern's keys (`rank_pattern`, `alpha_pattern`), which must match the end of a path
/// from a dot on.
pub(super) fn end(file: &str, field: &str, pattern: &str) -> Result<Box<Pattern>> {
    regex(file, field, pattern, &format!(r"^(?:.*\.)?(?:{pattern})$"))
}

fn regex(file: &str, field: &str, pattern: &str, whole: &str) -> Result<Box<Pattern>> {
    let found = |error| malformed(file, field, "a regular expression", format!("{pattern:?}: {error}"));
    Pattern::new(whole).map(Box::new).map_err(found)
}

/// Natively an engine of its own.
#[cfg(not(target_arch = "wasm32"))]
mod engine {
    /// A regular expression.
    pub struct Pattern(fancy_regex::Regex);

    impl Pattern {
        pub fn new(pattern: &str) -> Result<Self, String> {
            fancy_regex::Regex::new(pattern).map(Self).map_err(|error| error.to_string())
        }

        pub fn is_match(&self, text: &str) -> bool {
            self.0.is_match(text).unwrap_or(false)
        }
    }
}

/// In a browser its own: what people write for Python means the same there.
#[cfg(target_arch = "wasm32")]
mod engine {
    use wasm_bindgen::prelude::*;

    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_name = RegExp)]
        type RegExp;
        #[wasm_bindgen(constructor, catch, js_class = "RegExp")]
        fn new(pattern: &str, flags: &str) -> Result<RegExp, JsValue>;
        #[wasm_bindgen(method)]
        fn test(this: &RegExp, text: &str) -> bool;
    }

    /// A regular expression.
    pub struct Pattern(RegExp);

    impl Pattern {
        pub fn new(pattern: &str) -> Result<Self, String> {
            let message = |thrown: JsValue| js_sys::Reflect::get(&thrown, &"message".into()).ok()?.as_string();
            // By code points, and what is not JavaScript's (\A and \Z) is an error and no letter.
            RegExp::new(pattern, "u").map(Self).map_err(|thrown| message(thrown).unwrap_or_default())
        }

        pub fn is_match(&self, text: &str) -> bool {
            self.0.test(text)
        }
    }
}
